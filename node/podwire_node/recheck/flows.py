"""Whether tracked connections may go on, by the policies of one moment. No effects here.

    source         the client's, as it was sent: before any SNAT
    destination    who answers, and its port: after any DNAT

Those are what the rules saw when the connection began. As the rules do, this judges

* the egress of a source and the ingress of a destination that are this node's pods, or could be;
* nothing of what the node itself sends;
* of what goes to the node itself, no isolation by NetworkPolicies, which have no say there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network

from podwire_core.conntrack import Entry
from podwire_core.conntrack.entry import packed, unpacked
from podwire_core.family import family_of
from podwire_core.objects import Pod, PolicyType, Protocol, Tier
from podwire_node.recheck.mirror import Mirror
from podwire_policy.oracle import Judge, World
from podwire_policy.reasons import Kind

#: Verdicts that are remembered in one run; clients' ports make no new ones.
MAX_REMEMBERED = 262_144
_PROTOCOLS: Mapping[int, str] = {each.number: each for each in Protocol}

_Asked = tuple[bytes, bytes, int, int]


class _Judge(Judge):
    """Knows whose each address is without a walk over all pods."""

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(mirror.snapshot)
        self._mirror = mirror
        self._known: dict[str, Pod | None] = {}

    def claimants(self, address: str) -> Collection[Pod]:
        return self._mirror.claimants(address)

    def owner(self, address: str) -> Pod | None:
        if address not in self._known:
            self._known[address] = World.owner(self, address)
        return self._known[address]

    def is_of(self, node: str, address: str) -> bool:
        """Whether an address is a pod's of this node, or nobody's."""
        pod = self.owner(address)
        return pod is None or pod.spec.node_name == node

    def may_deny(self, address: str, direction: PolicyType) -> bool:
        """Whether a connection of an address could be denied in this direction at all."""
        pod = self.owner(address)
        if pod is None:
            return True
        return bool(self.isolating(pod, direction)) or any(
            self.concerning(pod, tier) for tier in Tier
        )


class Flows:
    """Judges the connections of one run. The mirror must not change meanwhile.

    own: the node's own addresses, packed. concerned: addresses whose connections are to be
    judged; None is all.
    """

    def __init__(
        self, mirror: Mirror, own: frozenset[bytes], concerned: Collection[str] | None = None
    ) -> None:
        self._judge = _Judge(mirror)
        self._own = own
        self._node = mirror.node
        self._local = _packed(mirror.local)
        self._spans = [_span(each) for each in mirror.networks]
        self._concerned = None if concerned is None else _packed(concerned)
        self._here: dict[bytes, bool] = {}
        self._remembered: dict[_Asked, bool] = {}
        self._speaking: dict[tuple[bytes, PolicyType], bool] = {}

    def is_to_be_cut(self, entry: Entry) -> bool:
        """Of one that goes on: whether the change forbids it. What it announced is left alone."""
        ends = (entry.source, entry.reply_source)
        if self._concerned is not None and self._concerned.isdisjoint(ends):
            return False
        return self._is_of_a_pod(entry) and not self.allows(entry) and not entry.expected

    def may_go_on(self, entry: Entry) -> bool:
        """Of one that is cut: whether it is allowed, or none of ours (an address that moved)."""
        return not self._is_of_a_pod(entry) or self.allows(entry)

    def _is_of_a_pod(self, entry: Entry) -> bool:
        return self._is_here(entry.source) or self._is_here(entry.reply_source)

    def allows(self, entry: Entry) -> bool:
        """Whether a connection like it could begin now."""
        asked = (entry.source, entry.reply_source, entry.protocol, entry.reply_port)
        known = self._remembered.get(asked)
        if known is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            known = self._remembered[asked] = self._allows(*asked)
        return known

    def _allows(self, source: bytes, destination: bytes, protocol: int, port: int) -> bool:
        if source in self._own:
            return True
        ends = ((source, PolicyType.EGRESS), (destination, PolicyType.INGRESS))
        sides = [way for end, way in ends if self._is_here(end) and self._may_deny(end, way)]
        if not sides:
            return True
        asked = unpacked(source), unpacked(destination), _PROTOCOLS.get(protocol, "other"), port
        try:
            denials = {self._judge.side(*asked, way).denial for way in sides}
        except (LookupError, ValueError):  # no two addresses that pods could have
            return True
        if destination in self._own:
            denials.discard(Kind.ISOLATED)
        return denials <= {None}

    def _may_deny(self, address: bytes, direction: PolicyType) -> bool:
        """Whether any policy speaks for who has an address here, or nobody knows who has it."""
        asked = (address, direction)
        known = self._speaking.get(asked)
        if known is None:
            known = self._speaking[asked] = self._judge.may_deny(unpacked(address), direction)
        return known

    def _is_here(self, address: bytes) -> bool:
        """Whether our rules judge who has this address: a pod of this node, or nobody known."""
        if not self._may_be_here(address):
            return False
        if address not in self._here:
            self._here[address] = self._judge.is_of(self._node, unpacked(address))
        return self._here[address]

    def _may_be_here(self, address: bytes) -> bool:
        if address in self._own:
            return False
        return address in self._local or any(
            first <= address <= last and len(first) == len(address) for first, last in self._spans
        )


def _packed(addresses: Iterable[str]) -> frozenset[bytes]:
    return frozenset(packed(each, family_of(each)) for each in addresses)


def _span(network: str) -> tuple[bytes, bytes]:
    """First and last address; bytes of one length sort as addresses do."""
    known = ip_network(network)
    return known.network_address.packed, known.broadcast_address.packed
