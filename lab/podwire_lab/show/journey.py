"""One packet's journey in plain words, told by the rules that it really meets.

The desired state of both nodes (the same values the agents give to the kernel) is traced:
nothing here knows what a Service or a policy does, it only tells what each rule did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from podwire_core.family import Family, family_of
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate, Ruleset, Step, Trace, trace
from podwire_core.objects import Node, ObjectName, Pod, Protocol, Service
from podwire_core.snapshot import Snapshot
from podwire_ebpf.records import Frontend, FrontendKey
from podwire_policy.policies import Policies
from podwire_proxy.services import Services
from podwire_proxy.sockets import Sockets

_TCP = 6
Frontends = Mapping[FrontendKey, Frontend | None]


@dataclass(frozen=True)
class Leg:
    """One part of the way: where, and what happens there. `end` is the last one."""

    where: str
    text: str
    end: Fate | None = None


@dataclass(frozen=True)
class _World:
    snapshot: Snapshot
    rulesets: dict[str, Ruleset]
    frontends: dict[str, Frontends]


def journey(
    agents: Snapshot, source: ObjectName, service: ObjectName, port: int, *, sockets: bool = False
) -> list[Leg]:
    """The way of a TCP connection's first packet from a pod to a Service's port.

    agents: the objects as the agents see them. sockets: connect() is answered on every node.
    Of several endpoints, one on another node is chosen, because that way is longer.
    Raises LookupError when the pod or the Service is not there, or the pod has no address of the
    Service's family.
    """
    pod, wanted = agents.get(Pod, source), agents.get(Service, service)
    if pod is None or wanted is None or not wanted.cluster_ips:
        raise LookupError(f"no way from pod {source} to Service {service}")
    family = family_of(wanted.cluster_ips[0])
    address = next((ip for ip in pod.ips if family_of(ip) is family), None)
    if address is None:
        raise LookupError(f"pod {source} has no {family} address to dial {service} from")
    packet = Packet(family, address, wanted.cluster_ips[0], "tcp", port)
    return list(_legs(_world(agents, sockets=sockets), pod, service, packet))


def _world(agents: Snapshot, *, sockets: bool) -> _World:
    """What every node's agent wants in its kernel."""
    rulesets: dict[str, Ruleset] = {}
    frontends: dict[str, Frontends] = {}
    for node in agents.all(Node):
        answered = Sockets()
        services = Services(node.metadata.name, sockets=answered)
        policies = Policies(node.metadata.name)
        services.update(agents, agents.changes())
        policies.update(agents, agents.changes())
        wanted = [*services.wanted.values(), *policies.wanted.values()]
        rulesets[node.metadata.name] = Ruleset(wanted, node.internal_ips)
        frontends[node.metadata.name] = answered.take().frontends if sockets else {}
    return _World(agents, rulesets, frontends)


def _legs(world: _World, pod: Pod, service: ObjectName, packet: Packet) -> Iterator[Leg]:
    here = pod.spec.node_name
    yield from _departure(service, packet)
    dialled, packet = packet, _connected(world, here, packet)
    if packet != dialled:
        yield Leg(
            "the pod",
            f"connect() is answered there: a program at the socket puts {_spelled(packet)} in "
            "its place, before a packet is made",
        )
    yield from _road(pod, packet.family)
    way = _longest(world, here, trace(world.rulesets[here], packet))
    yield from _steps(here, way)
    owner = _owner(world.snapshot, way.packet.daddr)
    if way.fate is not Fate.ACCEPT or owner is None:
        return
    there = owner.spec.node_name
    if there != here:
        via = _gateway(world, there, packet.family)
        yield Leg(here, f"the pods of {there} are behind {via}, says our route: over the fabric")
        (way,) = trace(world.rulesets[there], _arriving(way.packet))
        yield from _steps(there, way)
    if way.fate is Fate.ACCEPT:
        yield from _arrival(here, owner, dialled, packet, way.packet)


#: How a table is built, and what it keeps for others: nothing that happens to the packet.
_INNER = ("jump ", "goto ", "logged ", "remember ")


def _arriving(packet: Packet) -> Packet:
    """On another node: what was translated is known where it was, and to no one else."""
    return replace(packet, dnat=False, original_daddr="", original_dport=0, priority="")


def _departure(service: ObjectName, packet: Packet) -> Iterator[Leg]:
    name = f"{service.name}.{service.namespace}"
    yield Leg("the pod", f"asks DNS for {name}, learns {packet.daddr}, dials {_spelled(packet)}")


def _connected(world: _World, here: str, packet: Packet) -> Packet:
    """The packet as the socket sends it: to an endpoint, where connect() was answered.

    Of several endpoints, one on another node, as of ways.
    """
    found = world.frontends[here].get(FrontendKey(packet.daddr, packet.dport, _TCP))
    if found is None or not found.first:
        return packet
    ways = [replace(packet, daddr=each.address, dport=each.port) for each in found.first]
    owners = [_owner(world.snapshot, each.daddr) for each in ways]
    far = [owner is not None and owner.spec.node_name != here for owner in owners]
    return next((way for way, leaves in zip(ways, far, strict=True) if leaves), ways[0])


def _road(pod: Pod, family: Family) -> Iterator[Leg]:
    gateway = "169.254.1.1" if family is Family.IPV4 else "fe80::1"
    yield Leg(
        "the pod",
        f"has one route, to {gateway}: a neighbour it always knows, the other end of its veth "
        f"on {pod.spec.node_name}",
    )


def _arrival(
    here: str, owner: Pod, dialled: Packet, sent: Packet, arrived: Packet
) -> Iterator[Leg]:
    yield Leg(owner.spec.node_name, f"{arrived.daddr} is behind the veth of {owner.name}")
    back = (
        f"on the way back {here} knows the connection and puts {_spelled(dialled)} back as the "
        "sender"
        if sent == dialled
        else f"on the way back nothing has to be translated, and getpeername() still says "
        f"{_spelled(dialled)}"
    )
    yield Leg("the pod", f"{owner.name.name} answers on port {arrived.dport}; {back}", Fate.ACCEPT)


def _steps(node: str, way: Trace) -> Iterator[Leg]:
    """What the node's rules did, and the end if it ends here."""
    for step in way.steps:
        if not step.effect.startswith(_INNER):
            yield Leg(node, _said(step))
    if way.fate is Fate.REJECT:
        yield Leg(node, "the sender is told at once: connection refused", way.fate)
    elif way.fate is Fate.DROP:
        yield Leg(node, "the packet is gone; the sender hears nothing and gives up", way.fate)


def _longest(world: _World, here: str, ways: Sequence[Trace]) -> Trace:
    """A way that leaves the node, if there is one."""

    def elsewhere(way: Trace) -> bool:
        owner = _owner(world.snapshot, way.packet.daddr)
        return owner is not None and owner.spec.node_name != here

    return next((way for way in ways if elsewhere(way)), ways[0])


def _owner(snapshot: Snapshot, address: str) -> Pod | None:
    return next((pod for pod in snapshot.all(Pod) if address in pod.ips), None)


def _gateway(world: _World, node: str, family: Family) -> str:
    known = world.snapshot.get(Node, ObjectName("", node))
    addresses = known.internal_ips if known else ()
    return next((ip for ip in addresses if family_of(ip) is family), node)


def _said(step: Step) -> str:
    """A step in plain words: at which hook, whose rule, and what it did."""
    table = step.table.partition(" ")[2]
    colon = "" if step.why.endswith("?") else ":"
    is_asked = not colon and table == "podwire-policy"
    return f"{step.hook}, {table}: {step.why}{colon} {_effect(step.effect, is_asked=is_asked)}"


def _effect(effect: str, *, is_asked: bool) -> str:
    """A rule's effect without nft's spelling, where plain words say it. is_asked: as an answer."""
    plain = {"return": "allowed", "accept": "allowed", "drop": "dropped", "reject": "refused"}
    key, _, verdict = effect.partition(" : ")
    if verdict.startswith("goto ") and is_asked:
        return f"yes, {key} is, by chain {verdict.removeprefix('goto ')}"
    if verdict.startswith("goto "):
        return f"{key} goes on to {verdict.removeprefix('goto ')}"
    return plain.get(effect, effect)


def _spelled(packet: Packet) -> str:
    address = f"[{packet.daddr}]" if packet.family is Family.IPV6 else packet.daddr
    return f"{address}:{packet.dport}/{Protocol.TCP}"
