"""One allow rule of a policy as nft rules: each way through its peers with each through its ports.

    peers   nothing said, or an ipBlock of everything   no match: anyone
            each pod peer                               ip saddr @peers-…
            all ipBlocks together                       ip saddr @cidrs-…
    ports   nothing said                                no match: any port of any protocol
            a protocol                                  meta l4proto udp
            one number                                  meta l4proto tcp th dport 80
            numbers and ranges of a protocol            meta l4proto tcp th dport @ports-…
            a name      ip daddr . meta l4proto . th dport @named-…

Each ends in `return`: allowed in this direction, let the other one judge. A rule whose CIDRs
are all of the other family becomes nothing at all, never "anyone".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from podwire_core.errors import ObjectError
from podwire_core.family import Family, family_of
from podwire_core.nft.expressions import DPORT, L4PROTO, Field, daddr, saddr
from podwire_core.nft.intervals import Span, span
from podwire_core.nft.objects import Rule
from podwire_core.nft.statements import RETURN, Match
from podwire_core.objects import (
    EgressRule,
    IngressRule,
    IPBlock,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyType,
    Protocol,
)
from podwire_core.selectors import EVERYTHING
from podwire_policy import spans
from podwire_policy.sets import Blocks, NamedPort, PodPeers, PortList

Interned = PodPeers | NamedPort | Blocks | PortList


@dataclass(frozen=True)
class Way:
    """Matches that must all hold, and the set they look into if they look into one."""

    matches: tuple[Match, ...] = ()
    set: Interned | None = None


#: No match at all.
ANY = Way()


@dataclass(frozen=True)
class Compiled:
    """nft rules, and every set they look into."""

    rules: tuple[Rule, ...]
    sets: tuple[Interned, ...]


def compile_policy(policy: NetworkPolicy, direction: PolicyType, family: Family) -> Compiled:
    """All allow rules of one policy in one direction for one family."""
    rules: list[Rule] = []
    sets: list[Interned] = []
    for index, rule in enumerate(policy.rules(direction)):
        why = f"{policy.name} {direction.lower()}[{index}]"
        for peer, port in product(
            peer_ways(policy, direction, rule, family), port_ways(rule.ports or (), family)
        ):
            rules.append(Rule((*peer.matches, *port.matches, RETURN), why))
            sets += [each for each in (peer.set, port.set) if each is not None]
    return Compiled(tuple(rules), tuple(sets))


# -------------------------------------------------------------------------------- peers


def peer_ways(
    policy: NetworkPolicy, direction: PolicyType, rule: IngressRule | EgressRule, family: Family
) -> Sequence[Way]:
    """Ways through a rule's peers, each peer once; none at all when no peer is of the family."""
    if not rule.peers:
        return [ANY]
    field = saddr(family) if direction is PolicyType.INGRESS else daddr(family)
    blocks = [peer.ip_block for peer in rule.peers if peer.ip_block is not None]
    allowed = allowed_spans(blocks, family)
    if allowed == (span(family.everything),):
        return [ANY]
    pods = (pod_peers(policy, peer) for peer in rule.peers if peer.ip_block is None)
    ways = [_look(field, each) for each in {each.name: each for each in pods}.values()]
    return [*ways, _look(field, Blocks(spans.cidrs(allowed, family)))] if allowed else ways


def pod_peers(policy: NetworkPolicy, peer: PolicyPeer) -> PodPeers:
    """A peer of pods: without namespaceSelector those of the policy's own namespace."""
    here = policy.name.namespace if peer.namespace_selector is None else ""
    return PodPeers(here, peer.namespace_selector, peer.pod_selector or EVERYTHING)


def allowed_spans(blocks: Iterable[IPBlock], family: Family) -> tuple[Span, ...]:
    """Addresses of one family that any of the blocks holds; an except cuts its own block only."""
    return spans.merged(
        left
        for block in blocks
        if family_of(block.cidr) is family
        for left in spans.without(span(block.cidr), _holes(block, family))
    )


def _holes(block: IPBlock, family: Family) -> list[Span]:
    return [span(hole) for hole in block.except_ or () if family_of(hole) is family]


def useless_excepts(policy: NetworkPolicy, direction: PolicyType) -> Iterable[ObjectError]:
    """Excepts that cut nothing out of their CIDR.

    The API server refuses them today, old objects may have them: the block counts without.
    """
    word = "from" if direction is PolicyType.INGRESS else "to"
    for at, rule in enumerate(policy.rules(direction)):
        for peer_at, peer in enumerate(rule.peers):
            block = peer.ip_block
            for hole_at, hole in enumerate(block.except_ or () if block else ()):
                if block and not _overlap(hole, block.cidr):
                    peer_path = f"spec.{direction.lower()}[{at}].{word}[{peer_at}]"
                    yield ObjectError(
                        "",
                        f"NetworkPolicy {policy.name}",
                        f"{peer_path}.ipBlock.except[{hole_at}]",
                        f"{hole} is not inside {block.cidr} and cuts nothing out of it",
                    )


def _overlap(one: str, other: str) -> bool:
    if family_of(one) is not family_of(other):
        return False
    (first, last), (start, end) = span(one), span(other)
    return first <= end and start <= last


# -------------------------------------------------------------------------------- ports


def port_ways(ports: Sequence[PolicyPort], family: Family) -> Sequence[Way]:
    """Ways through a rule's ports."""
    if not ports:
        return [ANY]
    return [
        way
        for protocol in Protocol
        for way in _protocol_ways([row for row in ports if row.protocol is protocol], family)
    ]


def _protocol_ways(ports: Sequence[PolicyPort], family: Family) -> Iterable[Way]:
    """Ways for ports of one protocol; one without a number or name is the whole protocol."""
    if not ports:
        return
    protocol = ports[0].protocol
    guard = Match(L4PROTO, (protocol.nft,))
    if any(row.port is None for row in ports):
        yield Way((guard,))
        return
    numbers = [(row.port, row.end_port or row.port) for row in ports if isinstance(row.port, int)]
    listed = spans.ports(spans.merged(numbers))
    if len(listed) == 1 and listed[0].isdigit():
        yield Way((guard, Match(DPORT, listed)))
    elif listed:
        way = _look(DPORT, PortList(listed))
        yield Way((guard, *way.matches), way.set)
    for name in sorted({row.port for row in ports if isinstance(row.port, str)}):
        named = NamedPort(name, protocol)
        yield Way((Match(named.key(family), set=named.name),), named)


def _look(field: Field, into: Interned) -> Way:
    return Way((Match(field, set=into.name),), into)
