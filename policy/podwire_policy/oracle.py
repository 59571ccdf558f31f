"""Who may talk to whom, and why: NetworkPolicy as the API's text has it, without cleverness.

It looks at every policy for every question and shares no code with the compiler, whose
judge it is. It also answers people, so a judgement names policies and rules.

Source: kubernetes.io/docs/concepts/services-networking/network-policies, networking/v1.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import NamedTuple

from podwire_core.family import Family, canonical_address, family_of
from podwire_core.objects import (
    IPBlock,
    NetworkPolicy,
    Node,
    ObjectName,
    Pod,
    PolicyPeer,
    PolicyPort,
    PolicyType,
    Protocol,
)
from podwire_core.snapshot import Snapshot
from podwire_policy.addresses import Right


class RuleName(NamedTuple):
    """One allow rule: `namespace/policy ingress[0]`."""

    policy: ObjectName
    direction: PolicyType
    rule: int

    def __str__(self) -> str:
        return f"{self.policy} {self.direction.lower()}[{self.rule}]"


@dataclass(frozen=True, slots=True)
class Side:
    """One direction of a judgement: the source's egress, or the destination's ingress.

    isolated_by: policies that isolate the pod. allowed_by: their rules that allow this.
    exempt: why no policy has a say here, or "".
    """

    isolated_by: tuple[ObjectName, ...] = ()
    allowed_by: tuple[RuleName, ...] = ()
    exempt: str = ""

    @property
    def isolated(self) -> bool:
        """Whether only what is allowed may pass."""
        return bool(self.isolated_by)

    @property
    def allowed(self) -> bool:
        """Whether this side lets the connection be."""
        return not self.isolated or bool(self.allowed_by) or bool(self.exempt)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Both sides; a connection needs both."""

    egress: Side
    ingress: Side

    @property
    def allowed(self) -> bool:
        """Whether the connection may be made."""
        return self.egress.allowed and self.ingress.allowed


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: its address, and the pod that owns the address, if one does."""

    address: str
    pod: Pod | None = None


@dataclass(frozen=True, slots=True)
class _Connection:
    source: End
    destination: End
    protocol: Protocol
    port: int


def judge(
    snapshot: Snapshot,
    source: ObjectName | str,
    destination: ObjectName | str,
    protocol: Protocol,
    port: int,
) -> Judgement:
    """Judge one new connection, addresses as they are after DNAT and before SNAT.

    source, destination: a pod, or an address, which stands for the pod that owns it. Two
    pods talk over the first family both have; name an address to choose one.
    Raises LookupError when there is no such pod, or no address to talk from or to.
    """
    here, there = _ends(snapshot, source, destination)
    connection = _Connection(here, there, protocol, port)
    return Judgement(
        egress=_side(snapshot, connection, PolicyType.EGRESS),
        ingress=_side(snapshot, connection, PolicyType.INGRESS),
    )


def owner(snapshot: Snapshot, address: str) -> Pod | None:
    """The pod that owns an address; the one with the first right when several name it."""
    pods = [pod for pod in snapshot.all(Pod) if address in pod.ips]
    return min(pods, key=Right.of, default=None)


# ---------------------------------------------------------------------------- both ends


def _ends(
    snapshot: Snapshot, source: ObjectName | str, destination: ObjectName | str
) -> tuple[End, End]:
    theirs = _addresses(snapshot, destination)
    for here in _addresses(snapshot, source):
        for there in theirs:
            if family_of(here) is family_of(there):
                return End(here, owner(snapshot, here)), End(there, owner(snapshot, there))
    raise LookupError(f"{source} and {destination} have no addresses of one family")


def _addresses(snapshot: Snapshot, end: ObjectName | str) -> tuple[str, ...]:
    """Addresses an end can use; IPv4 first, as families are sorted."""
    if isinstance(end, str):
        return (canonical_address(end),)
    pod = snapshot.get(Pod, end)
    if pod is None:
        raise LookupError(f"there is no pod {end}")
    if pod.spec.host_network:
        return _node_addresses(snapshot, pod)
    mine = (ip for ip in pod.ips if owner(snapshot, ip) == pod)
    return tuple(sorted(mine, key=lambda ip: list(Family).index(family_of(ip))))


def _node_addresses(snapshot: Snapshot, pod: Pod) -> tuple[str, ...]:
    node = snapshot.get(Node, ObjectName("", pod.spec.node_name))
    return node.internal_ips if node else ()


# ----------------------------------------------------------------------------- one side


def _side(snapshot: Snapshot, connection: _Connection, direction: PolicyType) -> Side:
    ends = (connection.source, connection.destination)
    subject, peer = ends if direction is PolicyType.EGRESS else ends[::-1]
    if subject.pod is None:
        return Side()
    policies = [
        policy
        for policy in snapshot.all(NetworkPolicy)
        if direction in policy.directions and policy.selects(subject.pod)
    ]
    allowed_by = (
        RuleName(policy.name, direction, index)
        for policy in policies
        for index, rule in enumerate(policy.rules(direction))
        if _any_peer(snapshot, policy, rule.peers, peer) and _any_port(rule.ports, connection)
    )
    isolated_by = tuple(policy.name for policy in policies)
    return Side(isolated_by, tuple(allowed_by), _exempt(snapshot, subject.pod, peer))


def _exempt(snapshot: Snapshot, subject: Pod, peer: End) -> str:
    """What the API always allows: a pod and itself, a pod and the node it runs on."""
    if peer.pod is not None:
        return "a pod always reaches itself" if peer.pod.name == subject.name else ""
    if peer.address in _node_addresses(snapshot, subject):
        return "a pod and its own node always reach each other"
    return ""


def _any_peer(
    snapshot: Snapshot, policy: NetworkPolicy, peers: tuple[PolicyPeer, ...], end: End
) -> bool:
    return not peers or any(_peer(snapshot, policy, peer, end) for peer in peers)


def _peer(snapshot: Snapshot, policy: NetworkPolicy, peer: PolicyPeer, end: End) -> bool:
    if peer.ip_block is not None:
        return _in_block(peer.ip_block, end.address)
    if end.pod is None:
        return False
    namespace = end.pod.name.namespace
    if peer.namespace_selector is None:
        here = namespace == policy.name.namespace
    else:
        here = peer.namespace_selector.matches(snapshot.namespace_labels(namespace))
    return here and (peer.pod_selector is None or peer.pod_selector.matches(end.pod.labels))


def _in_block(block: IPBlock, address: str) -> bool:
    """`in` is false between families, which is the API's answer too."""
    ip = ipaddress.ip_address(address)
    return ip in ipaddress.ip_network(block.cidr) and not any(
        ip in ipaddress.ip_network(hole) for hole in block.except_ or ()
    )


def _any_port(ports: tuple[PolicyPort, ...] | None, connection: _Connection) -> bool:
    return not ports or any(_port(port, connection) for port in ports)


def _port(port: PolicyPort, connection: _Connection) -> bool:
    if port.protocol is not connection.protocol:
        return False
    if port.port is None:
        return True
    if isinstance(port.port, int):
        return port.port <= connection.port <= (port.end_port or port.port)
    pod = connection.destination.pod
    return pod is not None and any(
        (row.name, row.protocol, row.container_port)
        == (port.port, connection.protocol, connection.port)
        for row in pod.ports
    )
