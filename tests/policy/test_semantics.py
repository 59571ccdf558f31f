"""How policies judge: isolation, both sides, replies, nodes, Services. A promise a test.

The promises are those of the API (networking/v1) and its concept page; where those leave a choice
to whoever implements them, the test says podwire's. Oracle and compiled rules both keep each.
What the fields of a policy mean is in test_semantics_of_objects, who owns an address and what
changes in test_semantics_of_pods.
"""

from itertools import product

import pytest
from policy_model import (
    NODES,
    OUTSIDE,
    block,
    match,
    namespaces,
    pod,
    pods,
    policy,
    port,
)
from semantics_model import (
    APP,
    APP6,
    APPS,
    BLUE,
    DENY_ALL,
    ICMP,
    NEAR,
    OLD,
    RED,
    WEB,
    WEB6,
    allowed,
    cluster,
    egress,
    ingress,
)

from podwire_core.nft.tracer import Fate
from podwire_core.objects import ObjectName, PolicyType
from podwire_policy.oracle import RuleName
from podwire_policy.oracle.sides import ITSELF
from podwire_policy.reasons import Kind

# --------------------------------------------------------------------------- isolation


def test_a_pod_that_no_policy_selects_talks_to_everyone() -> None:
    made = cluster(ingress(podSelector=match(app="another")))
    assert allowed(made, APP, WEB)
    assert allowed(made, WEB, OUTSIDE[0])


def test_isolation_of_one_direction_leaves_the_other_open() -> None:
    assert allowed(cluster(ingress()), WEB, APP)
    assert not allowed(cluster(ingress()), APP, WEB)
    assert allowed(cluster(egress()), APP, WEB)
    assert not allowed(cluster(egress()), WEB, APP)


def test_both_sides_have_to_allow() -> None:
    to_app = egress({"to": [BLUE]})
    deny = policy("other/deny", policyTypes=["Ingress"])
    assert allowed(cluster(to_app), WEB, APP)
    assert not allowed(cluster(to_app, deny), WEB, APP)
    assert not allowed(cluster(egress(), policy("other/open", ingress=[{}])), WEB, APP)


def test_egress_and_ingress_of_two_pods_of_one_node_are_both_judged() -> None:
    neighbour = pod("shop/db", NEAR, labels={"app": "db"})
    out = egress({"to": [pods(match(app="db"))]}, podSelector=match(app="web"))
    no_entry = policy("shop/q", podSelector=match(app="db"), policyTypes=["Ingress"])
    assert allowed(cluster(neighbour, out), WEB, NEAR)
    assert not allowed(cluster(neighbour, out, no_entry), WEB, NEAR)


def test_a_denied_packet_is_dropped_and_nobody_is_told() -> None:
    """No ICMP error, no reset: ClusterNetworkPolicy's tests want a timeout, so all do."""
    assert cluster(DENY_ALL).traces(APP, WEB)[-1].fate is Fate.DROP


def test_a_policy_is_enforced_where_its_subjects_are_and_nowhere_else() -> None:
    made = cluster(ingress({"from": [namespaces({})]}))
    rules = {name: each.policies for name, each in made.nodes.items()}
    assert any(each.chain.startswith("ingress-") for each in rules["n1"].reasons.values())
    assert not [each for each in rules["n2"].reasons.values() if each.kind is Kind.ISOLATED]


# ------------------------------------------------------------------- replies and errors


@pytest.mark.parametrize("state", ["established", "related"])
@pytest.mark.parametrize("way", [("TCP", 80), ("UDP", 53), ICMP], ids=str)
def test_replies_and_related_icmp_pass_every_policy(state: str, way: tuple[str, int]) -> None:
    """A connection that was judged is not judged again, also not by a newer policy."""
    made = cluster(DENY_ALL, policy("other/deny", policyTypes=["Ingress", "Egress"]))
    for ends in ((APP, WEB), (WEB, APP), (APP6, WEB6)):
        assert not allowed(made, *ends, *way)
        assert made.reaches(*ends, *way, state=state)


# ------------------------------------------------------------------- the node, and itself


def test_a_pod_and_its_own_node_always_reach_each_other() -> None:
    made = cluster(DENY_ALL)
    for here, there in zip(NODES["n1"], (WEB, WEB6), strict=True):
        for way in (("TCP", 10250), ("UDP", 53), ICMP):
            assert allowed(made, here, there, *way)
            assert allowed(made, there, here, *way)


def test_another_node_is_an_address_like_any_other() -> None:
    made = cluster(DENY_ALL)
    assert not allowed(made, NODES["n2"][0], WEB)
    assert not allowed(made, WEB, NODES["n2"][0])
    made = cluster(ingress({"from": [block(f"{NODES['n2'][0]}/32")]}))
    assert allowed(made, NODES["n2"][0], WEB)


def test_a_pod_always_reaches_itself_by_its_service() -> None:
    """What it sends to its own address never leaves it; a Service's DNAT brings it back."""
    made = cluster(DENY_ALL)
    assert allowed(made, WEB, WEB)
    assert allowed(made, WEB6, WEB6)
    assert made.judge("shop/web", "shop/web").egress.exempt == ITSELF


def test_a_pod_in_the_nodes_network_is_its_node() -> None:
    agent = pod("other/agent", NODES["n2"][0], node="n2", host_network=True)
    made = cluster(agent, ingress({"from": [BLUE]}))
    assert not allowed(made, NODES["n2"][0], WEB), "no selector finds it"
    assert not made.judge("other/agent", "shop/web").allowed
    made = cluster(agent, ingress({"from": [block(f"{NODES['n2'][0]}/32")]}))
    assert allowed(made, NODES["n2"][0], WEB), "a block does"
    assert allowed(cluster(agent, policy("other/p")), WEB, NODES["n2"][0]), "nor is it a subject"
    own = pod("shop/agent", NODES["n1"][0], host_network=True)
    assert allowed(cluster(own, DENY_ALL), NODES["n1"][0], WEB), "on the pod's node it is the node"


def test_neighbours_discover_each_other_under_every_policy() -> None:
    """ICMPv6 types 133 to 137 are the link's own business, between a pod and its node."""
    made = cluster(DENY_ALL)
    assert allowed(made, WEB6, NODES["n1"][1], *ICMP)
    assert allowed(made, NODES["n1"][1], WEB6, *ICMP)


# ------------------------------------------------------------------------------ Services


def test_service_traffic_is_judged_after_dnat() -> None:
    """A Service's address matches nothing: policies see the pod behind it."""
    vip = "10.96.0.10"
    assert not allowed(cluster(egress({"to": [block(f"{vip}/32")]})), WEB, APP)
    assert allowed(cluster(egress({"to": [{**BLUE, **APPS}]})), WEB, APP)
    hooks = {
        each.hook.hook: each.hook.priority
        for each in cluster().nodes["n1"].policies.wanted.values()
        if getattr(each, "hook", None)
    }
    assert hooks["forward"] == 0, "DNAT is at prerouting, SNAT at postrouting"
    assert "postrouting" not in hooks
    assert "output" not in hooks


# --------------------------------------------------------------------------- dual stack


def test_pod_peers_hold_in_both_families() -> None:
    made = cluster(ingress({"from": [BLUE]}))
    assert allowed(made, APP6, WEB6)
    assert allowed(made, APP, WEB)
    assert not allowed(made, OUTSIDE[1], WEB6)


def test_a_rule_with_cidrs_of_the_other_family_only_matches_nobody() -> None:
    """And not everybody, which a rule without peers would."""
    made = cluster(egress({"to": [block("0.0.0.0/0")]}))
    assert allowed(made, WEB, OUTSIDE[0])
    assert not allowed(made, WEB6, OUTSIDE[1])
    made = cluster(ingress({"from": [block("fd00:2::/64")], "ports": [port(80)]}))
    assert allowed(made, APP6, WEB6)
    assert not allowed(made, APP, WEB)


def test_a_pod_of_one_family_is_isolated_in_that_one() -> None:
    made = cluster(pod("shop/six", "fd00:1::6"), DENY_ALL)
    assert not allowed(made, APP6, "fd00:1::6")


# --------------------------------------------------------------------------- questions


def test_a_judgement_names_who_isolates_and_who_allows() -> None:
    made = cluster(
        policy("shop/a", ingress=[{"ports": [port(81)]}, {"ports": [port(80)]}]),
        policy("shop/b"),
    )
    side = made.judge("other/app", "shop/web").ingress
    assert side.isolated_by == (ObjectName("shop", "a"), ObjectName("shop", "b"))
    assert side.allowed_by == (RuleName(ObjectName("shop", "a"), PolicyType.INGRESS, 1),)
    assert str(side.allowed_by[0]) == "shop/a ingress[1]"


@pytest.mark.parametrize(
    ("source", "destination"),
    [("shop/nobody", "shop/web"), (OUTSIDE[1], WEB), ("shop/v4", "other/v6")],
    ids=["no such pod", "two families", "pods without a common family"],
)
def test_a_question_without_an_answer_is_an_error(source: str, destination: str) -> None:
    made = cluster(pod("shop/v4", OLD), pod("other/v6", "fd00::77"))
    with pytest.raises(LookupError):
        made.judge(source, destination)


def test_two_pods_talk_over_the_first_family_that_both_have() -> None:
    made = cluster(pod("shop/v6", "fd00::78"), ingress({"from": [block("fd00:2::/64")]}))
    assert made.judge("other/app", "shop/v6").allowed
    assert not made.judge("other/app", "shop/web").allowed


def test_every_pair_of_families_addresses_and_directions_agrees() -> None:
    made = cluster(ingress({"from": [RED]}, {"ports": [port(443)]}), egress({"to": [RED]}))
    ends = [(WEB, APP, OUTSIDE[0], *NODES["n1"][:1]), (WEB6, APP6, OUTSIDE[1], NODES["n2"][1])]
    for family in ends:
        for source, destination in product(family, family):
            for way in (("TCP", 443), ("UDP", 53), ICMP):
                allowed(made, source, destination, *way)
