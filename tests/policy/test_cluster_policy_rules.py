"""Whom and what the rules of a ClusterNetworkPolicy mean: subjects, peers, networks, nodes, ports.

When they are asked, and what becomes of a packet then, is in test_cluster_policies; see there for
the topics' source.
"""

from __future__ import annotations

from cluster_policy_model import (
    accept,
    cluster_policy,
    deny,
    named_port,
    networks,
    nodes,
    of_pods,
    sctp,
    tcp,
    udp,
)
from policy_model import NODES, OUTSIDE, match, namespace, pod
from semantics_model import (
    APP,
    APP6,
    DENY_ALL,
    HTTP,
    ICMP,
    NEAR,
    OLD,
    WEB,
    WEB6,
    allowed,
    cluster,
    node,
)
from tier_model import (
    OTHER,
    SHOP,
    TRANSPORTS,
    about_shop,
    both_directions,
    both_tiers,
    every_transport,
    open_,
)

from podwire_core.family import Family
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate, trace

# ----------------------------------------------------------------- subjects and peers


@both_tiers
def test_a_subject_by_pods_is_those_pods_of_those_namespaces(tier: str) -> None:
    near = pod("shop/db", NEAR, labels={"app": "db"})
    rules = {"ingress": [deny(OTHER)]}
    for subject, denied in (
        (of_pods(match(app="web"), match(team="red")), (True, False)),
        (of_pods(match(app="web")), (True, False)),
        (of_pods({}, match(team="red")), (True, True)),
        (of_pods(match(app="web"), match(team="blue")), (False, False)),
        (of_pods({}), (True, True)),
    ):
        made = cluster(near, cluster_policy("c", tier=tier, subject=subject, **rules))
        assert (not allowed(made, APP, WEB), not allowed(made, APP, NEAR)) == denied


@both_tiers
@both_directions
def test_a_peer_by_pods_without_namespace_selector_is_of_every_namespace(
    tier: str, direction: str
) -> None:
    assert not open_(
        cluster(about_shop(tier, direction, deny(of_pods(match(app="app"))))), direction
    )
    assert open_(cluster(about_shop(tier, direction, deny(of_pods(match(app="web"))))), direction)
    in_red = of_pods(match(app="app"), match(team="red"))
    assert open_(cluster(about_shop(tier, direction, deny(in_red))), direction)


@both_tiers
@both_directions
def test_peers_of_a_rule_are_alternatives(tier: str, direction: str) -> None:
    made = cluster(about_shop(tier, direction, deny(SHOP, of_pods(match(app="app")))))
    assert not open_(made, direction)


def test_peers_and_subjects_follow_labels_of_pods_and_namespaces() -> None:
    made = cluster(about_shop("Admin", "ingress", deny(of_pods(match(new="yes")))))
    assert open_(made, "ingress")
    made.apply(pod("other/app", APP, APP6, node="n2", labels={"new": "yes"}))
    assert not open_(made, "ingress")
    made.apply(namespace("shop", team="green"))
    assert open_(made, "ingress"), "shop/web is no subject any more"
    made.apply(namespace("shop", team="red"))
    assert not open_(made, "ingress")


@both_tiers
def test_addresses_outside_of_the_cluster_are_no_pods(tier: str) -> None:
    made = cluster(cluster_policy("c", tier=tier, ingress=[deny()], egress=[deny()]))
    assert allowed(made, OUTSIDE[0], WEB)
    assert allowed(made, WEB, OUTSIDE[0])
    assert not allowed(made, APP, WEB)


# --------------------------------------------------------------- EgressInlineCIDRPeers


@both_tiers
def test_networks_hold_pods_too_and_both_families_stand_side_by_side(tier: str) -> None:
    made = cluster(about_shop(tier, "egress", deny(networks("10.244.2.0/24", "2001:db8:9::/48"))))
    assert not allowed(made, WEB, APP)
    assert allowed(made, WEB6, APP6), "a CIDR of the other family says nothing"
    assert allowed(made, WEB, OUTSIDE[0])
    assert not allowed(made, WEB6, OUTSIDE[1])


@both_tiers
def test_a_narrow_accept_inside_a_wide_deny(tier: str) -> None:
    rules = accept(networks(f"{OUTSIDE[0]}/32")), deny(networks("0.0.0.0/0", "::/0"))
    made = cluster(about_shop(tier, "egress", *rules))
    assert allowed(made, WEB, OUTSIDE[0])
    assert not allowed(made, WEB, "203.0.113.10")
    assert not open_(made, "egress"), "0.0.0.0/0 is everything, pods too"


# ------------------------------------------------------------------ EgressNodePeers


@both_tiers
def test_nodes_are_their_addresses(tier: str) -> None:
    rule = deny(nodes(match(zone="b")))
    made = cluster(node("n1", zone="a"), node("n2", zone="b"), about_shop(tier, "egress", rule))
    for at in (0, 1):
        source = (WEB, WEB6)[at]
        assert not allowed(made, source, NODES["n2"][at])
        assert allowed(made, source, NODES["n1"][at])
    made.apply(node("n1", zone="b"))
    assert not allowed(made, WEB, NODES["n1"][0]), "its own node too: cluster policies forbid it"
    made.apply(node("n2", zone="c"))
    assert allowed(made, WEB, NODES["n2"][0])
    assert open_(made, "egress"), "pods on them are not meant"


def test_its_own_node_is_open_to_a_pod_but_for_cluster_policies() -> None:
    made = cluster(node("n1"), DENY_ALL)
    assert allowed(made, WEB, NODES["n1"][0])
    made.apply(about_shop("Baseline", "egress", deny(nodes({}))))
    assert allowed(made, WEB, NODES["n1"][0]), "a NetworkPolicy isolates, and so it is final"
    made.remove(DENY_ALL)
    assert not allowed(made, WEB, NODES["n1"][0])
    made.apply(about_shop("Admin", "egress", accept(nodes({})), name="a"))
    assert allowed(made, WEB, NODES["n1"][0])


def test_neighbour_discovery_passes_where_everything_to_the_node_is_denied() -> None:
    made = cluster(node("n1"), about_shop("Admin", "egress", deny(networks("0.0.0.0/0", "::/0"))))
    there = NODES["n1"][1]
    assert not allowed(made, WEB6, there, *ICMP)
    rules = made._ruleset("n1")
    for kind, fate in {"133": Fate.ACCEPT, "135": Fate.ACCEPT, "137": Fate.ACCEPT,
                       "128": Fate.DROP}.items():  # fmt: skip
        packet = Packet(Family.IPV6, WEB6, there, "ipv6-icmp", 0, icmp_type=kind)
        assert trace(rules, packet)[-1].fate is fate, kind


def test_the_node_reaches_its_pods_whatever_cluster_policies_say() -> None:
    made = cluster(node("n1"), cluster_policy("c", ingress=[deny(on=[tcp()])]))
    assert allowed(made, NODES["n1"][0], WEB)


# -------------------------------------------------------- {Egress,Ingress}NamedPort, PortRange


@both_tiers
@both_directions
def test_a_named_port_is_the_destination_pods_whatever_its_protocol(
    tier: str, direction: str
) -> None:
    made = cluster(about_shop(tier, direction, deny(OTHER, on=[named_port("dns")])))
    asked = [("UDP", 53), ("TCP", 5353), ("TCP", 53), ("UDP", 5353), ("TCP", 8080)]
    assert [open_(made, direction, way) for way in asked] == [False, False, True, True, True]
    number = HTTP[1][2]
    assert number == 53


@both_tiers
def test_a_named_port_is_another_number_on_each_pod(tier: str) -> None:
    second = pod("other/second", OLD, node="n2", ports=[("http", "TCP", 9090)])
    made = cluster(second, about_shop(tier, "egress", deny(OTHER, on=[named_port("http")])))
    assert not allowed(made, WEB, APP, "TCP", 8080)
    assert not allowed(made, WEB, OLD, "TCP", 9090)
    assert allowed(made, WEB, OLD, "TCP", 8080)


@both_tiers
@both_directions
@every_transport
def test_a_port_range_holds_both_its_ends(tier: str, direction: str, transport: str) -> None:
    made = cluster(about_shop(tier, direction, deny(OTHER, on=[TRANSPORTS[transport](80, 82)])))
    said = [open_(made, direction, (transport, number)) for number in (79, 80, 81, 82, 83)]
    assert said == [True, False, False, False, True]


@both_tiers
@every_transport
def test_a_protocol_without_a_port_is_all_of_it_and_nothing_else(tier: str, transport: str) -> None:
    made = cluster(about_shop(tier, "ingress", deny(OTHER, on=[TRANSPORTS[transport]()])))
    assert [each for each in TRANSPORTS if not open_(made, "ingress", (each, 4321))] == [transport]


@both_tiers
def test_several_protocols_of_a_rule_are_alternatives(tier: str) -> None:
    rule = deny(OTHER, on=[tcp(80), tcp(90, 99), udp(53), named_port("http"), sctp()])
    made = cluster(about_shop(tier, "ingress", rule))
    asked = {("TCP", 80): False, ("TCP", 95): False, ("UDP", 53): False, ("TCP", 8080): False,
             ("SCTP", 7): False, ("TCP", 81): True, ("UDP", 80): True, ICMP: True}  # fmt: skip
    assert {way: open_(made, "ingress", way) for way in asked} == asked
