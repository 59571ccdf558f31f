from __future__ import annotations

import pytest

from podwire_core.feed.decode import decode
from podwire_core.objects import Node
from podwire_node.routes import Route, routes_to_pods


def node(name: str, *addresses: str, cidrs: tuple[str, ...] = ()) -> Node:
    rows = [{"type": "InternalIP", "address": each} for each in addresses]
    document = {
        "metadata": {"name": name},
        "spec": {"podCIDRs": list(cidrs)},
        "status": {"addresses": [{"type": "Hostname", "address": name}, *rows]},
    }
    made = decode(document, Node, "test")
    assert isinstance(made, Node)
    return made


ONE = node("one", "192.168.0.1", "fd00::1", cidrs=("10.244.1.0/24", "fd00:1::/64"))
TWO = node("two", "192.168.0.2", "fd00::2", cidrs=("10.244.2.0/24", "fd00:2::/64"))


def test_each_family_goes_by_its_own_address() -> None:
    assert routes_to_pods([ONE, TWO], "one")[0] == {
        "10.244.2.0/24": Route("10.244.2.0/24", "192.168.0.2"),
        "fd00:2::/64": Route("fd00:2::/64", "fd00::2"),
    }


def test_a_node_needs_no_route_to_itself() -> None:
    assert routes_to_pods([ONE], "one") == ({}, [])


def test_a_node_without_cidr_or_address_has_no_route_yet() -> None:
    bare = [node("a", "192.168.0.3"), node("b", cidrs=("10.244.3.0/24",))]
    assert routes_to_pods(bare, "one") == ({}, [])


def test_a_node_of_one_family_gets_routes_of_that_family() -> None:
    single = node("s", "192.168.0.4", cidrs=("10.244.4.0/24", "fd00:4::/64"))
    assert list(routes_to_pods([single], "one")[0]) == ["10.244.4.0/24"]


def test_two_nodes_that_claim_one_cidr_are_settled_by_name() -> None:
    thief = node("aaa", "192.168.0.9", cidrs=("10.244.2.0/24",))
    for order in ([TWO, thief], [thief, TWO]):
        routes, (problem,) = routes_to_pods(order, "one")
        assert routes["10.244.2.0/24"].gateway == "192.168.0.9"
        assert problem.object == "Node two"


@pytest.mark.parametrize(
    ("promise", "cidr"),
    [
        ("everything is not a node's pods", "0.0.0.0/0"),
        ("nor is everything of IPv6", "::/0"),
        ("the link that the node itself is on", "192.168.0.0/24"),
        ("our own pods", "10.244.1.0/24"),
        ("a part of our own pods", "10.244.1.128/25"),
        ("a net around our own pods", "10.244.0.0/16"),
    ],
)
def test_a_pod_cidr_that_would_lead_others_astray_is_refused_and_named(
    promise: str, cidr: str
) -> None:
    routes, (problem,) = routes_to_pods([ONE, node("bad", "192.168.0.8", cidrs=(cidr,))], "one")
    assert routes == {}, promise
    assert (problem.object, problem.field) == ("Node bad", "spec.podCIDRs")
