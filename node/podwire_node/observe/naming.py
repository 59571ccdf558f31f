"""From a packet that a rule logged to its record: names for addresses, policies for a chain. Pure.

Chains are what the kernel's log names, so policies are those that were in force. Pods' names and
the nearest miss are of the objects as they are known when the record is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec import structs

from podwire_core.nflog import Logged
from podwire_core.objects import PolicyType, Protocol
from podwire_core.selectors import EVERYTHING
from podwire_node.observe import cut
from podwire_node.observe.packet import ICMP, ICMPV6, SCTP, TCP, UDP, Message, Packet, Ports, parse
from podwire_node.observe.record import (
    IP,
    DeniedBy,
    Endpoint,
    EventType,
    L4Message,
    L4Ports,
    Layer4,
    Record,
)
from podwire_policy.oracle import Judge, Judgement, misses
from podwire_policy.reasons import Kind, PolicyName, Reason

#: Policies and labels that one record names; what is more is left out.
MAX_POLICIES = 32
MAX_LABELS = 32
_NAMED = 3  # policies that a sentence names

_NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP", ICMP: "ICMPv4", ICMPV6: "ICMPv6"}
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
_ECHO = {ICMP: 8, ICMPV6: 128}
_DROP_EVENT = 1  # Hubble's MessageTypeDrop
_DENIED, _DENIED_BY_RULE = (133, "POLICY_DENIED"), (181, "POLICY_DENY")  # its DropReason


@dataclass(frozen=True)
class Ground:
    """What names are found in. reasons: by chain, which is the log's prefix.

    node: ours, and its addresses. as_begun: see tracked.py.
    """

    judge: Judge
    reasons: Mapping[str, Reason]
    node: str
    addresses: frozenset[str] = frozenset()
    as_begun: Callable[[Packet], Packet | None] = lambda _: None


def make(logged: Logged, ground: Ground) -> Record | None:
    """The record of a logged packet; None where its bytes are no packet."""
    packet = parse(logged.family, logged.payload)
    if packet is None:
        return None
    reason = ground.reasons.get(logged.prefix)
    kind = reason.kind if reason else None
    direction = (reason.direction if reason else None) or _local_side(packet, ground)
    number, word = _DENIED_BY_RULE if kind is Kind.DENIED else _DENIED
    denied_by = _denying(reason)
    judgement = _judged(ground.judge, packet)
    record = Record(
        time=rfc3339(logged.seconds),
        verdict="DROPPED",
        drop_reason=number,
        ip=IP(packet.source, packet.destination, packet.family),
        l4=_layer4(packet),
        source=endpoint(packet.source, ground),
        destination=endpoint(packet.destination, ground),
        type="L3_L4",
        node_name=ground.node,
        event_type=EventType(_DROP_EVENT, number),
        traffic_direction=direction.upper() if direction else "TRAFFIC_DIRECTION_UNKNOWN",
        drop_reason_desc=word,
        egress_denied_by=denied_by if direction is PolicyType.EGRESS else (),
        ingress_denied_by=denied_by if direction is PolicyType.INGRESS else (),
        summary=_summary(packet),
        kind=kind or "",
        reason=_sentence(reason, packet, judgement, ground),
        nearest_miss=_nearest(reason, judgement, ground),
        chain=logged.prefix,
    )
    return _cut(record, packet, ground) if kind is Kind.CUT else record


# ------------------------------------------------------------------------------ what it was


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 as a record's time."""
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}Z"


def _layer4(packet: Packet) -> Layer4 | None:
    found: dict[str, L4Ports | L4Message]
    match packet.l4:
        case Ports(source, destination, flags):
            names = dict.fromkeys(_flags(flags), True)
            found = {_NAMES[packet.protocol]: L4Ports(source, destination, names)}
        case Message(kind, code):
            found = {_NAMES[packet.protocol]: L4Message(kind, code)}
        case _:
            return None
    return Layer4(**found)  # type: ignore[arg-type]  # parse() gives each protocol its own


def _flags(bits: int) -> list[str]:
    return [name for bit, name in enumerate(_FLAGS) if bits >> bit & 1]


def _summary(packet: Packet) -> str:
    """Hubble's words: `TCP Flags: SYN`, `UDP`, `ICMPv4 EchoRequest`."""
    name = _NAMES.get(packet.protocol, f"IP protocol {packet.protocol}")
    match packet.l4:
        case Ports(_, _, flags) if flags:
            return f"{name} Flags: {', '.join(_flags(flags))}"
        case Message(kind, code):
            echo = kind == _ECHO[packet.protocol]
            return f"{name} {'EchoRequest' if echo else f'type {kind} code {code}'}"
    return name


# -------------------------------------------------------------------------------- who it was


def endpoint(address: str, ground: Ground) -> Endpoint:
    """Who has an address: a pod, or what else is there."""
    pod = ground.judge.owner(address)
    if pod is None:
        return Endpoint(labels=(f"reserved:{_reserved(address, ground)}",))
    labels = sorted(pod.labels.items())[:MAX_LABELS]
    rows = tuple(f"k8s:{key}={value}" for key, value in labels)
    return Endpoint(pod.name.namespace, rows, pod.name.name)


def _reserved(address: str, ground: Ground) -> str:
    """Hubble's word for what is no pod."""
    if address in ground.addresses:
        return "host"
    if address in ground.judge.node_addresses(EVERYTHING):
        return "remote-node"
    return "unmanaged" if ground.judge.home(address) else "world"


def _local_side(packet: Packet, ground: Ground) -> PolicyType | None:
    """Where the chain does not tell whose side denied: whose pod is here."""
    ends = ((packet.source, PolicyType.EGRESS), (packet.destination, PolicyType.INGRESS))
    for address, direction in ends:
        pod = ground.judge.owner(address)
        if pod is not None and pod.spec.node_name == ground.node:
            return direction
    return None


# --------------------------------------------------------------------------------------- why


def _denying(reason: Reason | None) -> tuple[DeniedBy, ...]:
    policies = reason.policies[:MAX_POLICIES] if reason else ()
    return tuple(DeniedBy(each.name.name, each.kind, each.name.namespace) for each in policies)


def _cut(record: Record, packet: Packet, ground: Ground) -> Record:
    """With who denies it now, which its chain does not name."""
    begun = ground.as_begun(packet)
    ways = [begun] if begun else [packet, cut.turned(packet)]
    found = cut.verdict(ground.judge, [_judged(ground.judge, each) for each in ways])
    return structs.replace(
        record,
        egress_denied_by=found.denied_by(PolicyType.EGRESS)[:MAX_POLICIES],
        ingress_denied_by=found.denied_by(PolicyType.INGRESS)[:MAX_POLICIES],
        reason=found.sentence,
        nearest_miss=found.nearest,
    )


def _judged(judge: Judge, packet: Packet) -> Judgement | None:
    """What the oracle says of such a connection now."""
    name = _NAMES.get(packet.protocol, str(packet.protocol))
    if isinstance(packet.l4, Ports):
        port = packet.l4.destination
    elif name in set(Protocol):
        return None  # a later fragment, which has no ports
    else:
        port = 0
    try:
        return judge.judge(packet.source, packet.destination, name, port)
    except LookupError:
        return None


def _nearest(reason: Reason | None, judgement: Judgement | None, ground: Ground) -> str:
    direction = reason.direction if reason and reason.kind is Kind.ISOLATED else None
    if direction is None or judgement is None:
        return ""
    if judgement.side(direction).denial is not Kind.ISOLATED:
        return ""  # the objects have changed since
    return misses(ground.judge, judgement, direction)


def _sentence(
    reason: Reason | None, packet: Packet, judgement: Judgement | None, ground: Ground
) -> str:
    if reason is None:
        return "by a chain that is no more: the policies have changed since"
    if reason.kind is Kind.BORROWED:
        return f"a pod of this node sent it under {packet.source}, which is not its own address"
    if reason.kind is Kind.DENIED:
        return f"{reason.rule or _some(reason.policies)} denies it"
    address = packet.source if reason.direction is PolicyType.EGRESS else packet.destination
    if reason.kind is Kind.UNKNOWN:
        side = judgement.side(reason.direction) if judgement and reason.direction else None
        return (side.unknown if side else "") or f"no pod that is known here has {address}"
    pod = ground.judge.owner(address)
    who = f"pod {pod.name}" if pod else address
    verb, allow = ("isolates", "does") if len(reason.policies) == 1 else ("isolate", "do")
    way = f" for {reason.direction.lower()}" if reason.direction else ""
    return f"{_some(reason.policies)} {verb} {who}{way} and {allow} not allow it"


def _some(policies: Sequence[PolicyName]) -> str:
    """`NetworkPolicy shop/db`; `NetworkPolicies shop/api, shop/db and 7 more`."""
    if len(policies) == 1:
        return str(policies[0])
    kinds = sorted({each.kind for each in policies})
    plural = " and ".join(f"{kind.removesuffix('y')}ies" for kind in kinds)
    more = f" and {len(policies) - _NAMED} more" if len(policies) > _NAMED else ""
    return f"{plural} {', '.join(str(each.name) for each in policies[:_NAMED])}{more}"
