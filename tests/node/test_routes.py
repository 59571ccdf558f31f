"""Who of the other nodes' pods is reached how: Peers and Reach make a Plan."""

from __future__ import annotations

import itertools

import pytest

from podwire_core.feed.decode import decode
from podwire_core.objects import Node
from podwire_node.pace import Pace
from podwire_node.routes.overlay import (
    DEVICE,
    Address,
    Forward,
    Mode,
    Neighbour,
    OverlaySettings,
    mac_of,
)
from podwire_node.routes.peers import peers_of
from podwire_node.routes.plan import Plan, Route, make_plan
from podwire_node.routes.reach import LOOPBACK, Hop, Reach


def node(name: str, *addresses: str, cidrs: tuple[str, ...] = (), made_at: str = "") -> Node:
    rows = [{"type": "InternalIP", "address": each} for each in addresses]
    document = {
        "metadata": {"name": name, "creationTimestamp": made_at or None},
        "spec": {"podCIDRs": list(cidrs)},
        "status": {"addresses": [{"type": "Hostname", "address": name}, *rows]},
    }
    made = decode(document, Node, "test")
    assert isinstance(made, Node)
    return made


UPLINK = 7
REACH = Reach(
    hops=(
        Hop("192.168.0.0/24", UPLINK, gateway=False),
        Hop("fd00::/64", UPLINK, gateway=False),
        Hop("0.0.0.0/0", UPLINK, gateway=True),
        Hop("::/0", UPLINK, gateway=True),
    ),
    addresses={"192.168.0.1": UPLINK, "fd00::1": UPLINK, "127.0.0.1": LOOPBACK},
)
ONE = node("one", "192.168.0.1", "fd00::1", cidrs=("10.244.1.0/24", "fd00:1::/64"))
TWO = node("two", "192.168.0.2", "fd00::2", cidrs=("10.244.2.0/24", "fd00:2::/64"))
FAR = node("far", "172.16.0.3", "fd99::3", cidrs=("10.244.3.0/24", "fd00:3::/64"))
FAR_MAC = "0a:70:ac:10:00:03"
FAR_FE80 = "fe80::870:acff:fe10:3"


def plan(
    *nodes: Node, mode: str = Mode.AUTO, mtu: int = 0, reach: Reach = REACH, uplink: int = 1500
) -> Plan:
    return make_plan(peers_of(nodes, "one"), OverlaySettings(mode, mtu=mtu), reach, uplink)


def test_a_neighbour_is_reached_by_its_own_address_of_each_family() -> None:
    made = plan(ONE, TWO)
    assert made.routes == {
        "10.244.2.0/24": Route("10.244.2.0/24", "192.168.0.2"),
        "fd00:2::/64": Route("fd00:2::/64", "fd00::2"),
    }
    assert not made.needed


def test_a_peer_behind_a_router_is_reached_through_the_overlay() -> None:
    made = plan(ONE, FAR)
    assert made.routes == {
        "10.244.3.0/24": Route("10.244.3.0/24", "10.244.3.1", DEVICE),
        "fd00:3::/64": Route("fd00:3::/64", FAR_FE80, DEVICE),
    }
    assert set(made.entries.values()) == {
        Address("10.244.1.1/32"),
        Address("fd00:1::1/128"),
        Neighbour("10.244.3.1", FAR_MAC),
        Neighbour(FAR_FE80, FAR_MAC),
        Forward(FAR_MAC, ("172.16.0.3",)),
    }
    assert made.needed
    assert made.device is not None
    assert (made.device.local, made.device.mac) == ("192.168.0.1", "0a:70:c0:a8:00:01")


def test_each_peer_and_each_family_is_for_itself() -> None:
    half = node("half", "192.168.0.4", "fd99::4", cidrs=("10.244.4.0/24", "fd00:4::/64"))
    ways = {route.destination: route.device for route in plan(ONE, TWO, FAR, half).routes.values()}
    assert ways == {
        "10.244.2.0/24": "",
        "fd00:2::/64": "",
        "10.244.3.0/24": DEVICE,
        "fd00:3::/64": DEVICE,
        "10.244.4.0/24": "",
        "fd00:4::/64": DEVICE,
    }


def test_any_of_a_peers_addresses_may_be_the_near_one() -> None:
    two_homed = node("h", "172.16.0.9", "192.168.0.9", cidrs=("10.244.9.0/24",))
    assert plan(ONE, two_homed).routes["10.244.9.0/24"].gateway == "192.168.0.9"


def test_direct_goes_by_the_first_address_wherever_it_is() -> None:
    made = plan(ONE, FAR, mode="direct")
    assert made.routes["10.244.3.0/24"] == Route("10.244.3.0/24", "172.16.0.3")
    assert made.device is None
    assert not made.needed


def test_vxlan_wraps_for_neighbours_too() -> None:
    assert {route.device for route in plan(ONE, TWO, FAR, mode="vxlan").routes.values()} == {DEVICE}


def test_a_plan_does_not_depend_on_the_order_of_nodes() -> None:
    plans = [plan(*order) for order in itertools.permutations((ONE, TWO, FAR))]
    assert all(each == plans[0] for each in plans)
    assert all(list(each.routes) == list(plans[0].routes) for each in plans)


def test_ipv6_alone_is_an_underlay() -> None:
    alone = node("one", "fd00::1", cidrs=("10.244.1.0/24",))
    made = plan(alone, FAR)
    assert made.device is not None
    assert made.device.local == "fd00::1"
    assert made.device.mtu == 1430
    assert Forward(mac_of("fd99::3"), ("fd99::3",)) in made.entries.values()


@pytest.mark.parametrize(
    ("promise", "own", "peer", "words"),
    [
        (
            "no address of the underlay's family",
            ONE,
            node("p", "fd99::3", cidrs=("10.244.3.0/24",)),
            "none is IPv4",
        ),
        (
            "our own address",
            ONE,
            node("p", "192.168.0.1", cidrs=("10.244.3.0/24",)),
            "192.168.0.1 is our own",
        ),
        ("nothing to start from", node("one"), FAR, "our own Node has none"),
    ],
)
def test_a_peer_that_cannot_be_wrapped_for_is_named_once(
    promise: str, own: Node, peer: Node, words: str
) -> None:
    made = plan(own, peer, mode="vxlan")
    assert made.routes == {}, promise
    (problem,) = made.problems
    assert problem.object == f"Node {peer.name}"
    assert words in str(problem)


def test_a_node_needs_no_route_to_itself() -> None:
    made = plan(ONE)
    assert (made.routes, made.problems, made.needed) == ({}, (), False)


@pytest.mark.parametrize("mode", Mode)
def test_a_node_without_cidr_or_address_has_no_route_yet(mode: Mode) -> None:
    made = plan(ONE, node("a", "192.168.0.3"), node("b", cidrs=("10.244.3.0/24",)), mode=mode)
    assert (made.routes, made.problems) == ({}, ())


def test_two_nodes_that_claim_one_cidr_are_settled_by_name() -> None:
    thief = node("aaa", "192.168.0.9", cidrs=("10.244.2.0/24",))
    for order in ([TWO, thief], [thief, TWO]):
        made = plan(ONE, *order)
        assert made.routes["10.244.2.0/24"].gateway == "192.168.0.9"
        (problem,) = made.problems
        assert problem.object == "Node two"


def test_no_new_node_takes_the_pods_of_an_older_one() -> None:
    older = node("two", "192.168.0.2", cidrs=("10.244.2.0/24",), made_at="2026-01-01T00:00:00Z")
    thief = node("aaa", "192.168.0.9", cidrs=("10.244.2.7/32",), made_at="2026-02-01T00:00:00Z")
    for order in ([older, thief], [thief, older]):
        made = plan(ONE, *order)
        assert {each.gateway for each in made.routes.values()} == {"192.168.0.2"}
        (problem,) = made.problems
        assert problem.object == "Node aaa"


@pytest.mark.parametrize(
    ("promise", "cidr"),
    [
        ("loopback", "127.0.0.0/8"),
        ("link-local", "169.254.0.0/16"),
        ("multicast", "224.0.0.0/4"),
        ("our own address", "192.168.0.1/32"),
        ("everything is not a node's pods", "0.0.0.0/0"),
        ("nor is everything of IPv6", "::/0"),
        ("the link that the node itself is on", "192.168.0.0/24"),
        ("our own pods", "10.244.1.0/24"),
        ("a part of our own pods", "10.244.1.128/25"),
        ("a net around our own pods", "10.244.0.0/16"),
        ("a net around our own and another's pods", "10.0.0.0/8"),
    ],
)
def test_a_pod_cidr_that_would_lead_others_astray_is_refused_and_named(
    promise: str, cidr: str
) -> None:
    made = plan(ONE, node("bad", "192.168.0.8", cidrs=(cidr,)))
    assert made.routes == {}, promise
    (problem,) = made.problems
    assert (problem.object, problem.field) == ("Node bad", "spec.podCIDRs")


@pytest.mark.parametrize(
    ("promise", "mode", "others", "configured", "uplink", "pods"),
    [
        ("the uplink's, while no one is wrapped for", "auto", (TWO,), 0, 1500, 1500),
        ("what fits, as soon as one is", "auto", (TWO, FAR), 0, 1500, 1450),
        ("a big frame stays big", "auto", (FAR,), 0, 9000, 8950),
        ("the uplink's, when no one ever is", "direct", (FAR,), 0, 1500, 1500),
        ("what fits, when everyone is", "vxlan", (), 0, 1500, 1450),
        ("the operator's, whatever we think", "auto", (FAR,), 1400, 1500, 1400),
        ("the operator's, also when it is too big", "vxlan", (FAR,), 1500, 1500, 1500),
        ("nothing, while no uplink is known", "auto", (FAR,), 0, 0, 0),
        ("never below what IPv6 needs", "vxlan", (FAR,), 0, 1300, 1280),
    ],
)
def test_mtu_of_new_pods(
    promise: str, mode: str, others: tuple[Node, ...], configured: int, uplink: int, pods: int
) -> None:
    made = plan(ONE, *others, mode=mode, mtu=configured, uplink=uplink)
    assert made.mtu == pods, promise
    assert made.device is None or made.device.mtu <= max(1280, (uplink or 1500) - 50)


@pytest.mark.parametrize(
    ("promise", "hops", "near"),
    [
        ("a link's own subnet is near", [Hop("192.168.0.0/24", 3, gateway=False)], True),
        ("a default route is not", [Hop("0.0.0.0/0", 3, gateway=True)], False),
        ("not even without a gateway", [Hop("0.0.0.0/0", 3, gateway=False)], False),
        ("what is behind a gateway is not", [Hop("192.168.0.0/16", 3, gateway=True)], False),
        ("nor is what only the loopback has", [Hop("192.168.0.0/16", 1, gateway=False)], False),
        (
            "the longer prefix decides",
            [Hop("192.168.0.0/16", 3, gateway=False), Hop("192.168.0.0/24", 3, gateway=True)],
            False,
        ),
        (
            "and of two equals the near one",
            [Hop("192.168.0.0/24", 3, gateway=True), Hop("192.168.0.0/24", 4, gateway=False)],
            True,
        ),
    ],
)
def test_who_is_on_a_link(promise: str, hops: list[Hop], near: bool) -> None:
    assert Reach(tuple(hops)).on_link("192.168.0.2") is near, promise


def test_the_uplink_has_our_address_or_else_the_default_route() -> None:
    default = Hop("0.0.0.0/0", 9, gateway=True)
    assert REACH.uplink("192.168.0.1") == UPLINK
    assert Reach((default,), {"192.168.0.1": LOOPBACK}).uplink("192.168.0.1") == 9
    assert Reach((default,)).uplink("") == 9
    assert Reach().uplink("192.168.0.1") == 0


def test_five_thousand_nodes_are_planned() -> None:
    many = [
        node(
            f"n{n}",
            f"172.{16 + n // 60000}.{n // 250}.{n % 250}",
            cidrs=(f"10.{n // 256}.{n % 256}.0/24",),
        )
        for n in range(5000)
    ]
    made = plan(node("one", "192.168.0.1", cidrs=("10.244.1.0/24",)), *many)
    assert len(made.routes) == 5000


def test_looking_takes_no_more_than_its_share_of_the_time() -> None:
    pace = Pace(burst=1, share=0.1)
    now = spent = 0.0
    while now < 100:
        now = max(now, pace.until)
        pace.looked(now, now + 0.1)
        now, spent = now + 0.1, spent + 0.1
    assert spent == pytest.approx(1 + 9, abs=0.3)


def test_looks_that_are_rare_wait_for_nothing() -> None:
    pace = Pace(burst=1, share=0.1)
    for began in range(1, 100, 5):
        assert pace.until <= began
        pace.looked(began, began + 0.5)
