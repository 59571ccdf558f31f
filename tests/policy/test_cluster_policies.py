"""What ClusterNetworkPolicies mean, by the topics of their conformance tests (v1alpha2).

Each topic holds for both tiers, both directions and all protocols, where it can. shop/web is the
subject, other/app its peer. Oracle and compiled rules keep each promise (semantics_model.allowed).

Source: kubernetes-sigs/network-policy-api, conformance/tests; apis/v1alpha2.
"""

from __future__ import annotations

from itertools import product

import pytest
from cluster_policy_model import (
    Row,
    accept,
    cluster_policy,
    deny,
    of_pods,
    pass_,
    tcp,
    udp,
)
from policy_model import NODES, OUTSIDE, match, pod, policy
from semantics_model import (
    APP,
    DENY_ALL,
    ICMP,
    NEAR,
    OLD,
    WEB,
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

from podwire_core.objects import KubernetesObject
from podwire_policy.reasons import Kind

# ------------------------------------- {Admin,Baseline}Tier{Ingress,Egress}{TCP,UDP,SCTP}


@both_tiers
@both_directions
@every_transport
def test_an_accept_before_a_deny_wins_and_after_it_does_not(
    tier: str, direction: str, transport: str
) -> None:
    way = (transport, 80)
    first, last = accept(OTHER), deny(OTHER)
    assert open_(cluster(about_shop(tier, direction, first, last)), direction, way)
    assert not open_(cluster(about_shop(tier, direction, last, first)), direction, way)
    assert not open_(cluster(about_shop(tier, direction, last)), direction, way)
    assert open_(cluster(about_shop(tier, direction, first)), direction, way)


@both_tiers
@both_directions
@every_transport
def test_a_rule_at_a_port_is_about_that_port_of_that_protocol(
    tier: str, direction: str, transport: str
) -> None:
    made = cluster(about_shop(tier, direction, deny(OTHER, on=[TRANSPORTS[transport](80)])))
    for other, number in product(TRANSPORTS, (80, 81)):
        said = open_(made, direction, (other, number))
        assert said is ((other, number) != (transport, 80))
    assert open_(made, direction, ICMP), "nor about ICMP"


@both_tiers
@both_directions
@every_transport
def test_an_accept_at_a_port_and_a_deny_of_the_rest(
    tier: str, direction: str, transport: str
) -> None:
    at_80 = accept(OTHER, on=[TRANSPORTS[transport](80)])
    made = cluster(about_shop(tier, direction, at_80, deny(OTHER)))
    for other, number in product(TRANSPORTS, (80, 81)):
        said = open_(made, direction, (other, number))
        assert said is ((other, number) == (transport, 80))
    assert not open_(made, direction, ICMP), "a rule without protocols is about all of them"


@both_directions
@every_transport
def test_a_pass_skips_the_rest_of_the_tier(direction: str, transport: str) -> None:
    way = (transport, 80)
    passing, last = pass_(OTHER), deny(OTHER)
    assert open_(cluster(about_shop("Admin", direction, passing, last)), direction, way)
    assert not open_(cluster(about_shop("Admin", direction, last, passing)), direction, way)
    later = about_shop("Admin", direction, last, name="later", priority=9)
    assert open_(cluster(about_shop("Admin", direction, passing), later), direction, way)


@both_tiers
@both_directions
def test_what_no_rule_matches_is_left_as_it_was(tier: str, direction: str) -> None:
    """Unlike NetworkPolicies, they isolate nobody."""
    made = cluster(about_shop(tier, direction, deny(SHOP)))
    assert open_(made, direction)
    assert open_(cluster(about_shop(tier, direction)), direction), "no rules at all"


# ----------------------------------------- {Ingress,Egress}Rules{Egress,Ingress}Unaffected


@both_tiers
def test_rules_of_one_direction_leave_the_other_alone(tier: str) -> None:
    into = cluster(about_shop(tier, "ingress", deny(OTHER)))
    assert not open_(into, "ingress")
    assert open_(into, "egress")
    out = cluster(about_shop(tier, "egress", deny(OTHER)))
    assert open_(out, "ingress")
    assert not open_(out, "egress")


@both_tiers
def test_gress_both_directions_of_one_policy_are_judged(tier: str) -> None:
    made = cluster(
        about_shop(tier, "ingress", deny(OTHER, on=[tcp(80)]), egress=[deny(OTHER, on=[udp(53)])])
    )
    assert [open_(made, "ingress", way) for way in (("TCP", 80), ("UDP", 53))] == [False, True]
    assert [open_(made, "egress", way) for way in (("TCP", 80), ("UDP", 53))] == [True, False]


def test_an_accept_is_final_for_its_own_direction_only() -> None:
    made = cluster(
        about_shop("Admin", "egress", accept(OTHER)), policy("other/p", policyTypes=["Ingress"])
    )
    assert not open_(made, "egress"), "other/app's own side denies"
    replies = made.reaches(APP, WEB, state="established")
    related = made.reaches(APP, WEB, *ICMP, state="related")
    assert replies
    assert related


# ------------------------------------------------------------ Priority, SamePriority


def test_priority_the_lowest_number_is_asked_first() -> None:
    for accepts, denies in ((1, 2), (2, 1)):
        made = cluster(
            about_shop("Admin", "ingress", accept(OTHER), name="yes", priority=accepts),
            about_shop("Admin", "ingress", deny(OTHER), name="no", priority=denies),
        )
        assert open_(made, "ingress") is (accepts < denies)


def test_a_priority_that_changes_is_in_force() -> None:
    yes = about_shop("Admin", "ingress", accept(OTHER), name="yes", priority=5)
    made = cluster(yes, about_shop("Admin", "ingress", deny(OTHER), name="no", priority=6))
    assert open_(made, "ingress")
    made.apply(about_shop("Admin", "ingress", deny(OTHER), name="no", priority=4))
    assert not open_(made, "ingress")
    made.apply(about_shop("Admin", "ingress", accept(OTHER), name="no", priority=4))
    assert open_(made, "ingress")


def test_of_one_priority_all_policies_are_applied_by_name() -> None:
    """Which of them is asked first is nowhere specified; here the names' order decides."""
    made = cluster(
        about_shop("Admin", "ingress", deny(OTHER, on=[tcp(80)]), name="a"),
        about_shop("Admin", "ingress", accept(OTHER, on=[tcp(80)]), deny(on=[tcp(81)]), name="b"),
    )
    assert not open_(made, "ingress", ("TCP", 80))
    assert not open_(made, "ingress", ("TCP", 81))
    assert open_(made, "ingress", ("TCP", 82))


# -------------------------------------------------------- Integration: the three tiers

OPEN_NP = policy("shop/open", ingress=[{}], egress=[{}], policyTypes=["Ingress", "Egress"])


@both_directions
def test_admin_decides_before_network_policies(direction: str) -> None:
    assert open_(cluster(about_shop("Admin", direction, accept(OTHER)), DENY_ALL), direction)
    assert not open_(cluster(about_shop("Admin", direction, deny(OTHER)), OPEN_NP), direction)


@both_directions
def test_a_pass_leaves_it_to_network_policies_and_then_to_the_baseline(direction: str) -> None:
    passing = about_shop("Admin", direction, pass_(OTHER), deny(OTHER))
    last = about_shop("Baseline", direction, deny(OTHER), name="last")
    made = cluster(passing, OPEN_NP, last)
    assert open_(made, direction)
    made.apply(DENY_ALL)
    made.remove(OPEN_NP)
    assert not open_(made, direction)
    made.remove(DENY_ALL)
    assert not open_(made, direction), "the baseline is reached now"
    made.remove(last)
    assert open_(made, direction)


@both_directions
def test_a_network_policys_decision_is_final(direction: str) -> None:
    for rule in (accept(OTHER), deny(OTHER)):
        last = about_shop("Baseline", direction, rule)
        assert not open_(cluster(DENY_ALL, last), direction)
        assert open_(cluster(OPEN_NP, last), direction)


def test_the_baseline_is_skipped_only_in_the_direction_that_is_isolated() -> None:
    last = about_shop("Baseline", "ingress", deny(OTHER), egress=[deny(OTHER)])
    made = cluster(last, policy("shop/in", policyTypes=["Ingress"], ingress=[{}]))
    assert open_(made, "ingress")
    assert not open_(made, "egress")


@both_directions
def test_a_pass_of_the_baseline_passes_to_nobody(direction: str) -> None:
    made = cluster(about_shop("Baseline", direction, pass_(OTHER), deny(OTHER)))
    assert open_(made, direction)


@both_directions
def test_an_established_connection_is_not_judged_again(direction: str) -> None:
    made = cluster(about_shop("Admin", direction, deny()))
    ends = (APP, WEB) if direction == "ingress" else (WEB, APP)
    assert not allowed(made, *ends)
    assert made.reaches(*ends, state="established")


# --------------------------------------------------------------------------- Hairpin


@both_tiers
@both_directions
def test_a_pod_that_reaches_itself_by_a_service_is_judged(tier: str, direction: str) -> None:
    made = cluster(about_shop(tier, direction, deny(SHOP)))
    assert not allowed(made, WEB, WEB)
    if tier == "Baseline":
        made.apply(DENY_ALL)
        assert allowed(made, WEB, WEB), "NetworkPolicies, which are final, cannot forbid it"


# --------------------------------------------------------- hostNetwork, completed, unknown


@both_tiers
def test_hostnetwork_pods_are_neither_subjects_nor_peers(tier: str) -> None:
    agent = pod("other/agent", NODES["n2"][0], node="n2", host_network=True)
    made = cluster(agent, cluster_policy("c", tier=tier, ingress=[deny()], egress=[deny()]))
    assert allowed(made, WEB, NODES["n2"][0])
    assert allowed(made, NODES["n2"][0], WEB)


@both_tiers
def test_a_completed_pod_is_neither_subject_nor_peer(tier: str) -> None:
    done = pod("other/old", OLD, node="n2", labels={"app": "old"}, phase="Succeeded")
    rule = deny(of_pods(match(app="old")))
    made = cluster(
        done, about_shop(tier, "ingress", rule), about_shop(tier, "egress", rule, name="d")
    )
    assert allowed(made, OLD, WEB)
    assert allowed(made, WEB, OLD)


def test_an_address_of_the_pods_that_nobody_knows_is_denied_once_a_cluster_policy_exists() -> None:
    made = cluster(node("n1"), node("n2"))
    assert allowed(made, NEAR, WEB)
    made.apply(cluster_policy("c"))
    assert not allowed(made, NEAR, WEB)
    assert made.judge(NEAR, WEB).egress.denial is Kind.UNKNOWN


# --------------------------------------------------------------------- unknown fields


@both_tiers
@both_directions
@pytest.mark.parametrize(
    ("beside", "peer"),
    [
        pytest.param({"mood": "good"}, OTHER, id="a field of the rule"),
        pytest.param({}, {"domainNames": ["example.org"]}, id="a kind of peer"),
        pytest.param({"protocols": [{"quic": {}}]}, OTHER, id="a protocol"),
        pytest.param({"protocols": [{"tcp": {"flags": "syn"}}]}, OTHER, id="a field of a protocol"),
    ],
)
def test_a_rule_with_an_unknown_field_fails_closed(
    tier: str, direction: str, beside: Row, peer: Row
) -> None:
    """Accept matches nothing; Deny and Pass deny everything."""
    accepting = cluster(about_shop(tier, direction, accept(peer, **beside), deny(OTHER)))
    assert not open_(accepting, direction)
    assert open_(cluster(about_shop(tier, direction, accept(peer, **beside))), direction)
    for action in (deny, pass_):
        made = cluster(about_shop(tier, direction, action(peer, **beside), accept()))
        assert not open_(made, direction)
        assert not open_(made, direction, ICMP)
        outside = (OUTSIDE[0], WEB) if direction == "ingress" else (WEB, OUTSIDE[0])
        assert not allowed(made, *outside), "everything, whoever it is"


@both_tiers
def test_an_unknown_subject_is_every_pod(tier: str) -> None:
    made = cluster(cluster_policy("c", tier=tier, subject={"sameLabels": ["x"]}, ingress=[deny()]))
    assert not allowed(made, APP, WEB)
    assert not allowed(made, WEB, APP)


@both_tiers
def test_unknown_fields_are_reported_with_their_path(tier: str) -> None:
    bad = about_shop(tier, "ingress", accept({"domainNames": ["example.org"]}))
    problems = cluster(bad).nodes["n1"].policies.problems
    assert {each.object for each in problems} == {"ClusterNetworkPolicy c"}
    assert "spec.ingress[0].from[0].domainNames" in {each.field for each in problems}


# ----------------------------------------------------------------------- who decided


def test_a_judgement_names_the_rule_that_decided_and_those_that_passed() -> None:
    objects: list[KubernetesObject] = [
        about_shop("Admin", "ingress", deny(SHOP), pass_(OTHER, name="theirs"), name="a"),
        about_shop("Baseline", "ingress", deny(OTHER, name="not here"), name="b"),
    ]
    side = cluster(*objects).judge("other/app", "shop/web").ingress
    assert side.denial is Kind.DENIED
    assert str(side.decision) == 'ClusterNetworkPolicy b ingress[0] "not here"'
    assert [str(each) for each in side.passed] == ['ClusterNetworkPolicy a ingress[1] "theirs"']


def test_a_drops_reason_names_the_rule_that_denied() -> None:
    made = cluster(about_shop("Admin", "ingress", accept(SHOP), deny(OTHER, name="keep out")))
    reasons = [each for each in made.nodes["n1"].policies.reasons.values() if each.rule]
    assert [each.rule for each in reasons] == ['ClusterNetworkPolicy c ingress[1] "keep out"']
    assert reasons[0].rule == str(made.judge("other/app", "shop/web").ingress.decision)
