"""What pods may not send, whoever judges them later: the table over the fake and the tracer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from podwire_core.family import FAMILIES, Family
from podwire_core.feed.decode import decode
from podwire_core.nft.fake import Fake
from podwire_core.nft.owner import Owner
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate, Ruleset, Trace, trace
from podwire_core.objects import Node
from podwire_core.snapshot import Change, Snapshot
from podwire_node.guard import Guard
from podwire_node.routes.overlay import DEVICE

V4, V6 = Family.IPV4, Family.IPV6
PORT = 8472
POD = "pwabcdefghijklm"
STATES = ("new", "established", "related", "invalid")


def node(name: str, *cidrs: str, addresses: tuple[str, ...] = ()) -> Node:
    rows = [{"type": "InternalIP", "address": each} for each in addresses]
    rows.append({"type": "Hostname", "address": name})
    made = decode(
        {
            "metadata": {"name": name},
            "spec": {"podCIDRs": list(cidrs)},
            "status": {"addresses": rows},
        },
        Node,
        "test",
    )
    assert isinstance(made, Node)
    return made


ONE = node("one", "10.244.1.0/24", "fd00:1::/64", addresses=("192.168.7.1", "fd77::1"))
TWO = node("two", "10.244.2.0/24", "fd00:2::/64", addresses=("192.168.7.2", "fd77::2"))
OWN = {V4: "10.244.1.5", V6: "fd00:1::5"}
FAR = {V4: "10.244.2.5", V6: "fd00:2::5"}


class Site:
    """A Guard, and the fake that holds what it wants."""

    def __init__(self, *nodes: Node, port: int = PORT) -> None:
        self.guard = Guard("one", port)
        self.fake = Fake()
        self.owner = Owner(self.fake, self.guard.tables)
        self.snapshot = Snapshot()
        self.take(*nodes)

    def take(self, *nodes: Node) -> None:
        changes = [Change(Node, each.name, each) for each in nodes]
        self.tell([change for change in changes if self.snapshot.apply(change)])

    def tell(self, changes: list[Change]) -> None:
        self.sent = self.owner.change(self.guard.update(self.snapshot, changes))
        assert self.owner.in_force == {
            key: each.fingerprint for key, each in self.guard.wanted.items()
        }

    def trace(self, packet: Packet) -> Trace:
        local = (*ONE.internal_ips, "10.244.1.1", "255.255.255.255")
        (way,) = trace(Ruleset(self.fake.objects(), local), packet)
        return way

    def drops(self, packet: Packet) -> bool:
        return self.trace(packet).fate is Fate.DROP


def sent(source: str, target: str, port: int = 80, iif: str = POD) -> Packet:
    family = V6 if ":" in source else V4
    return Packet(family, source, target, "udp", port, iif=iif)


# ------------------------------------------------------------------------- whose address


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_pod_sends_under_its_own_address_alone(family: Family, state: str) -> None:
    site = Site(ONE, TWO)
    packet = replace(sent(OWN[family], FAR[family]), state=state)
    assert not site.drops(packet)
    way = site.trace(replace(packet, borrowed=True))
    assert way.fate is Fate.DROP
    assert "logged borrowed" in [step.effect for step in way.steps]


@pytest.mark.parametrize("family", FAMILIES)
def test_others_are_not_asked(family: Family) -> None:
    """An asymmetric route is the administrator's business."""
    for iif in ("eth0", DEVICE, "lo"):
        assert not Site(ONE, TWO).drops(
            replace(sent(FAR[family], OWN[family], iif=iif), borrowed=True)
        )


@pytest.mark.parametrize("target", ["255.255.255.255", "192.168.7.1", "8.8.8.8"])
def test_nobody_is_0_0_0_0(target: str) -> None:
    """The kernel's fib takes it, for DHCP: it is not `borrowed`."""
    assert Site(ONE).drops(sent("0.0.0.0", target))
    assert Site(ONE).drops(sent("0.1.2.3", target))


def test_a_solicitation_from_anothers_address_is_borrowed_like_the_rest() -> None:
    """Connection tracking leaves it alone, and with a pod's source it would be forwarded."""
    asking = Packet(V6, OWN[V6], FAR[V6], "ipv6-icmp", 0, iif=POD, icmp_type="135")
    assert not Site(ONE).drops(asking)
    assert Site(ONE).drops(replace(asking, borrowed=True))


@pytest.mark.parametrize("source", ["::", "fe80::1234"])
def test_a_link_local_source_is_for_neighbours_alone(source: str) -> None:
    site = Site(ONE)
    asking = Packet(V6, source, "ff02::1", "ipv6-icmp", 0, iif=POD, borrowed=True)
    for kind, dropped in (("135", False), ("136", False), ("134", True), ("137", True)):
        assert site.drops(replace(asking, icmp_type=kind)) is dropped, kind
    way = site.trace(replace(sent(source, "ff02::fb", 5353), borrowed=True))
    assert way.fate is Fate.DROP
    assert not [step for step in way.steps if "logged" in step.effect], "each pod's stack does so"


# ------------------------------------------------------------------------------ overlay


@pytest.mark.parametrize(
    ("promise", "packet", "dropped"),
    [
        ("to its own node", sent(OWN[V4], "192.168.7.1", PORT), True),
        ("to its own node in IPv6", sent(OWN[V6], "fd77::1", PORT), True),
        ("to its own node's device", sent(OWN[V4], "10.244.1.1", PORT), True),
        ("to everyone on the link", sent(OWN[V4], "255.255.255.255", PORT), True),
        ("to another node", sent(OWN[V4], "192.168.7.2", PORT), True),
        ("to another node in IPv6", sent(OWN[V6], "fd77::2", PORT), True),
        ("to another node's device", sent(OWN[V4], "10.244.2.1", PORT), True),
        ("to another node's device in IPv6", sent(OWN[V6], "fd00:2::1", PORT), True),
        ("to a pod", sent(OWN[V4], FAR[V4], PORT), False),
        ("to a pod in IPv6", sent(OWN[V6], FAR[V6], PORT), False),
        ("to the world", sent(OWN[V4], "8.8.8.8", PORT), False),
        ("to another port", sent(OWN[V4], "192.168.7.2", 4789), False),
        ("by TCP", replace(sent(OWN[V4], "192.168.7.2", PORT), protocol="tcp"), False),
        ("a peer", sent("192.168.7.2", "192.168.7.1", PORT, "eth0"), False),
        ("a peer in IPv6", sent("fd77::2", "fd77::1", PORT, "eth0"), False),
        ("who passes through", sent("192.168.9.9", "192.168.7.2", PORT, "eth0"), False),
        ("inside the overlay", sent(FAR[V4], "192.168.7.1", PORT, DEVICE), True),
        ("a far pod", sent(FAR[V4], OWN[V4], iif=DEVICE), False),
        ("a far node", sent("10.244.2.1", OWN[V4], iif=DEVICE), False),
        ("a pod of ours from afar", sent(OWN[V4], FAR[V4], iif=DEVICE), True),
        ("a pod of ours from afar in IPv6", sent(OWN[V6], OWN[V6], iif=DEVICE), True),
    ],
)
@pytest.mark.parametrize("state", STATES)
def test_who_speaks_for_the_overlay(
    promise: str, packet: Packet, dropped: bool, state: str
) -> None:
    assert Site(ONE, TWO).drops(replace(packet, state=state)) is dropped, promise


@pytest.mark.parametrize("target", ["192.168.7.1", "192.168.7.2"])
def test_a_service_is_no_way_into_the_overlay(target: str) -> None:
    """Where a pod dials a Service of another node, it comes by the uplink, as a peer would."""
    for iif, source in ((POD, OWN[V4]), ("eth0", "192.168.7.9")):
        packet = sent(source, "192.168.7.1", 30000, iif).translated(target, PORT)
        assert Site(ONE, TWO).drops(packet)


def test_routing_direct_has_no_overlay_to_guard() -> None:
    site = Site(ONE, TWO, port=0)
    assert not site.drops(sent(OWN[V4], "192.168.7.1", PORT))
    assert not site.drops(sent(OWN[V4], "192.168.7.2", PORT))
    assert site.drops(replace(sent(OWN[V4], "192.168.7.1"), borrowed=True))
    assert not [key for key in site.guard.wanted if "element" in key]


def test_another_port_is_guarded_instead() -> None:
    site = Site(ONE, TWO, port=4789)
    assert site.drops(sent(OWN[V4], "192.168.7.2", 4789))
    assert not site.drops(sent(OWN[V4], "192.168.7.2", PORT))


# ------------------------------------------------------------------------------ changes


def test_pods_are_guarded_before_any_node_is_known() -> None:
    site = Site()
    assert site.sent
    assert site.drops(replace(sent(OWN[V4], FAR[V4]), borrowed=True))
    assert site.drops(sent(OWN[V4], "192.168.7.1", PORT))


def test_a_node_that_comes_moves_or_goes_is_elements() -> None:
    site = Site(ONE)
    site.take(TWO)
    assert {noun for _, noun in site.sent.counts()} == {"element"}
    site.take(node("two", "10.244.2.0/24", addresses=("192.168.7.22",)))
    assert site.drops(sent(OWN[V4], "192.168.7.22", PORT))
    assert not site.drops(sent(OWN[V4], "192.168.7.2", PORT))
    gone = Change(Node, TWO.name, None)
    site.snapshot.apply(gone)
    site.tell([gone])
    assert {noun for _, noun in site.sent.counts()} == {"element"}
    assert not site.drops(sent(OWN[V4], "192.168.7.22", PORT))


def test_what_changes_nothing_sends_nothing() -> None:
    site = Site(ONE, TWO)
    site.tell([Change(Node, TWO.name, TWO)])
    assert not site.sent
    assert not site.owner.sync(site.guard.wanted)


def test_nodes_that_name_one_address_are_the_same_in_any_order() -> None:
    twin = node("twin", addresses=TWO.internal_ips)
    wanted = [Site(ONE, *others).guard.wanted for others in ((TWO, twin), (twin, TWO))]
    assert wanted[0] == wanted[1]
