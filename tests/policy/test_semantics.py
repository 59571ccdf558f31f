"""What NetworkPolicy means, promise by promise: the oracle and the compiled rules both keep it."""

from collections.abc import Callable
from typing import Any

import pytest
from policy_model import (
    NODES,
    OUTSIDE,
    Cluster,
    block,
    expression,
    match,
    namespace,
    namespaces,
    pod,
    pods,
    policy,
    port,
)

from podwire_core.objects import KubernetesObject, ObjectName, PolicyType
from podwire_policy.oracle import RuleName

WEB, WEB6 = "10.244.1.1", "fd00:1::1"
APP, APP6 = "10.244.2.1", "fd00:2::1"
OLD = "10.244.2.9"
HTTP = [("http", "TCP", 8080), ("dns", "UDP", 53), ("dns", "TCP", 5353)]


def cluster(*objects: KubernetesObject) -> Cluster:
    """shop/web on node 1, other/app on node 2, both with both families."""
    return Cluster(
        [
            namespace("shop", team="red"),
            namespace("other", team="blue"),
            pod("shop/web", WEB, WEB6, labels={"app": "web"}, ports=HTTP),
            pod("other/app", APP, APP6, node="n2", labels={"app": "app"}, ports=HTTP),
            *objects,
        ]
    )


def allowed(made: Cluster, source: str, destination: str, *way: Any) -> bool:
    """What oracle and rules agree on."""
    said = made.judge(source, destination, *way).allowed
    assert made.reaches(source, destination, *way) is said
    return said


def ingress(*rules: dict[str, Any], **spec: Any) -> KubernetesObject:
    return policy("shop/p", policyTypes=["Ingress"], ingress=list(rules), **spec)


def egress(*rules: dict[str, Any], **spec: Any) -> KubernetesObject:
    return policy("shop/p", policyTypes=["Egress"], egress=list(rules), **spec)


# --------------------------------------------------------------------------- isolation


def test_a_pod_that_no_policy_selects_talks_to_everyone() -> None:
    made = cluster(ingress(podSelector=match(app="another")))
    assert allowed(made, APP, WEB)
    assert allowed(made, WEB, OUTSIDE[0])


def test_a_policy_selects_no_pod_of_another_namespace() -> None:
    made = cluster(policy("other/deny", policyTypes=["Ingress"]))
    assert allowed(made, APP, WEB)
    assert not allowed(made, WEB, APP)


@pytest.mark.parametrize(
    ("spec", "isolated"),
    [
        pytest.param({}, "Ingress", id="no policyTypes, no rules: ingress"),
        pytest.param({"egress": []}, "Ingress", id="an empty egress list implies nothing"),
        pytest.param({"egress": [{}]}, "Ingress Egress", id="egress rules imply Egress"),
        pytest.param({"policyTypes": ["Egress"]}, "Egress", id="policyTypes says all"),
        pytest.param(
            {"policyTypes": ["Egress"], "ingress": [{}]}, "Egress", id="a section not named"
        ),
        pytest.param({"policyTypes": ["Ingress", "Ingress"]}, "Ingress", id="named twice"),
    ],
)
def test_directions_that_a_policy_isolates(spec: dict[str, Any], isolated: str) -> None:
    made = cluster(policy("shop/p", **spec))
    judged = made.judge("shop/web", OUTSIDE[0])
    heard = made.judge(OUTSIDE[0], "shop/web")
    assert judged.egress.isolated is ("Egress" in isolated)
    assert heard.ingress.isolated is ("Ingress" in isolated)
    assert made.reaches(WEB, OUTSIDE[0]) is judged.allowed
    assert made.reaches(OUTSIDE[0], WEB) is heard.allowed


def test_both_sides_have_to_allow() -> None:
    to_app = egress({"to": [namespaces(match(team="blue"))]})
    deny = policy("other/deny", policyTypes=["Ingress"])
    assert allowed(cluster(to_app), WEB, APP)
    assert not allowed(cluster(to_app, deny), WEB, APP)


def test_egress_and_ingress_of_two_pods_of_one_node_are_both_judged() -> None:
    neighbour = pod("shop/db", OLD, labels={"app": "db"})
    out = egress({"to": [pods(match(app="db"))]}, podSelector=match(app="web"))
    no_entry = policy("shop/q", podSelector=match(app="db"), policyTypes=["Ingress"])
    assert allowed(cluster(neighbour, out), WEB, OLD)
    assert not allowed(cluster(neighbour, out, no_entry), WEB, OLD)


def test_policies_add_up() -> None:
    one = policy("shop/one", ingress=[{"ports": [port(80)]}])
    two = policy("shop/two", ingress=[{"ports": [port(81)]}])
    made = cluster(one, two)
    assert [allowed(made, APP, WEB, "TCP", n) for n in (80, 81, 82)] == [True, True, False]


# ------------------------------------------------------------------------------- peers


@pytest.mark.parametrize(
    ("peers", "heard"),
    [
        pytest.param([pods({})], False, id="podSelector alone means the policy's namespace"),
        pytest.param([namespaces({})], True, id="an empty namespaceSelector is every namespace"),
        pytest.param([namespaces(match(team="blue"))], True, id="pods of a namespace by label"),
        pytest.param(
            [{**namespaces(match(team="blue")), **pods(match(app="web"))}],
            False,
            id="both in one peer: AND",
        ),
        pytest.param(
            [namespaces(match(team="blue")), pods(match(app="web"))], True, id="in two peers: OR"
        ),
        pytest.param(
            [{**namespaces({}), **pods(expression("app", "NotIn", "web"))}], True, id="NotIn"
        ),
        pytest.param(
            [{**namespaces({}), **pods(expression("x", "NotIn", "web"))}],
            True,
            id="NotIn matches who lacks the key",
        ),
        pytest.param(
            [{**namespaces({}), **pods(expression("app", "DoesNotExist"))}], False, id="no such key"
        ),
        pytest.param([{**namespaces({}), **pods(expression("app", "Exists"))}], True, id="Exists"),
        pytest.param([], True, id="an empty list is everyone"),
        pytest.param([block("10.244.0.0/16")], True, id="an ipBlock holds pods too"),
        pytest.param([block("10.244.0.0/16", "10.244.2.0/24")], False, id="except cuts out"),
        pytest.param([block("fd00:2::/64")], False, id="a block of the other family: nobody"),
        pytest.param([block("0.0.0.0/0")], True, id="the block of every address"),
        pytest.param([block("0.0.0.0/0", "10.244.2.1/32")], False, id="every address but one"),
        pytest.param(
            [block("10.244.0.0/16", "10.244.2.0/24"), block("10.244.2.1/32")],
            True,
            id="another block allows what an except cut",
        ),
        pytest.param([block("10.0.0.0/8", "10.0.0.0/8")], False, id="everything cut out: nobody"),
    ],
)
def test_peers(peers: list[dict[str, Any]], heard: bool) -> None:
    assert allowed(cluster(ingress({"from": peers})), APP, WEB) is heard
    assert allowed(cluster(egress({"to": peers})), WEB, APP) is heard


def test_no_peers_means_everyone_outside_too() -> None:
    made = cluster(ingress({"ports": [port(80)]}))
    assert allowed(made, OUTSIDE[0], WEB)
    assert allowed(made, OUTSIDE[1], WEB6)


def test_pod_peers_hold_in_both_families() -> None:
    made = cluster(ingress({"from": [namespaces(match(team="blue"))]}))
    assert allowed(made, APP6, WEB6)
    assert not allowed(made, OUTSIDE[1], WEB6)


def test_a_rule_with_cidrs_of_the_other_family_only_matches_nothing() -> None:
    made = cluster(egress({"to": [block("0.0.0.0/0")]}))
    assert allowed(made, WEB, OUTSIDE[0])
    assert not allowed(made, WEB6, OUTSIDE[1])


def test_an_except_of_the_other_family_cuts_nothing() -> None:
    made = cluster(egress({"to": [block("::/0", "10.0.0.0/8")]}))
    assert allowed(made, WEB6, "::10.1.2.3")
    assert not allowed(made, WEB, OUTSIDE[0])


def test_an_except_outside_its_cidr_cuts_nothing_and_is_reported() -> None:
    made = cluster(ingress({"from": [block("10.244.2.0/24", "192.0.2.0/24", "fd00::/8")]}))
    assert allowed(made, APP, WEB)
    problems = made.nodes["n1"].policies.problems
    assert [(each.object, each.field) for each in problems] == [
        ("NetworkPolicy shop/p", "spec.ingress[0].from[0].ipBlock.except[0]"),
        ("NetworkPolicy shop/p", "spec.ingress[0].from[0].ipBlock.except[1]"),
    ]
    assert problems[0].reason == (
        "192.0.2.0/24 is not inside 10.244.2.0/24 and cuts nothing out of it"
    )
    assert not made.nodes["n2"].policies.problems, "only where it has subjects"


# ------------------------------------------------------------------------------- ports


@pytest.mark.parametrize(
    ("ports", "open_"),
    [
        pytest.param([], "TCP/80 UDP/80 SCTP/80 TCP/8080", id="no ports: every protocol"),
        pytest.param([port(80)], "TCP/80", id="one port"),
        pytest.param([port(79, end=81)], "TCP/80", id="a range"),
        pytest.param([port(80, end=80)], "TCP/80", id="a range of one"),
        pytest.param([port(1, end=65535)], "TCP/80 TCP/8080", id="every number"),
        pytest.param([port(70, end=90), port(80), port(85, end=8080)], "TCP/80 TCP/8080",
                     id="overlapping ranges"),
        pytest.param([port(protocol="UDP")], "UDP/80", id="a whole protocol"),
        pytest.param([port(80, "SCTP")], "SCTP/80", id="SCTP is no TCP"),
        pytest.param([port("http")], "TCP/8080", id="a named port"),
        pytest.param([port("http", "UDP")], "", id="a named port of another protocol"),
        pytest.param([port("nobody")], "", id="a name that nobody declares"),
        pytest.param([port("http"), port(80)], "TCP/80 TCP/8080", id="names and numbers"),
        pytest.param([port("http"), port()], "TCP/80 TCP/8080", id="a name and its protocol"),
    ],
)  # fmt: skip
def test_ports(ports: list[Any], open_: str) -> None:
    asked = ["TCP/80", "UDP/80", "SCTP/80", "TCP/8080"]
    for made, ends in (
        (cluster(ingress({"ports": ports})), (APP, WEB)),
        (cluster(egress({"ports": ports})), (WEB, APP)),
    ):
        passing = [way for way in asked if allowed(made, *ends, *_way(way))]
        assert passing == open_.split()


def _way(text: str) -> tuple[str, int]:
    protocol, number = text.split("/")
    return protocol, int(number)


def test_one_name_may_be_another_number_on_each_pod() -> None:
    second = pod("other/second", OLD, node="n2", ports=[("http", "TCP", 9090)])
    made = cluster(second, egress({"ports": [port("http")]}))
    assert allowed(made, WEB, APP, "TCP", 8080)
    assert allowed(made, WEB, OLD, "TCP", 9090)
    assert not allowed(made, WEB, OLD, "TCP", 8080)


def test_one_name_for_two_protocols_is_two_ports() -> None:
    made = cluster(egress({"ports": [port("dns", "UDP")]}))
    assert allowed(made, WEB, APP, "UDP", 53)
    assert not allowed(made, WEB, APP, "TCP", 5353)
    assert not allowed(made, WEB, APP, "UDP", 5353)


def test_an_address_without_a_pod_has_no_named_ports() -> None:
    made = cluster(egress({"to": [block("0.0.0.0/0")], "ports": [port("http")]}))
    assert allowed(made, WEB, APP, "TCP", 8080)
    assert not allowed(made, WEB, OUTSIDE[0], "TCP", 8080)


def test_ports_and_peers_of_a_rule_both_have_to_match() -> None:
    made = cluster(ingress({"from": [namespaces(match(team="blue"))], "ports": [port(80)]}))
    assert allowed(made, APP, WEB)
    assert not allowed(made, APP, WEB, "TCP", 81)
    assert not allowed(made, OUTSIDE[0], WEB)


# -------------------------------------------------------------------- nodes and itself

DENY_ALL = policy("shop/deny", policyTypes=["Ingress", "Egress"])


def test_a_pod_always_reaches_itself() -> None:
    made = cluster(DENY_ALL)
    assert allowed(made, WEB, WEB)
    assert allowed(made, WEB6, WEB6)
    assert made.judge("shop/web", "shop/web").egress.exempt == "a pod always reaches itself"


def test_a_pod_and_its_own_node_always_reach_each_other() -> None:
    made = cluster(DENY_ALL)
    for here, there in zip(NODES["n1"], (WEB, WEB6), strict=True):
        assert allowed(made, here, there)
        assert allowed(made, there, here)


def test_another_node_is_an_address_like_any_other() -> None:
    made = cluster(DENY_ALL)
    assert not allowed(made, NODES["n2"][0], WEB)
    assert not allowed(made, WEB, NODES["n2"][0])
    made = cluster(ingress({"from": [block(f"{NODES['n2'][0]}/32")]}))
    assert allowed(made, NODES["n2"][0], WEB)


def test_a_pod_in_the_nodes_network_is_its_node() -> None:
    agent = pod("other/agent", NODES["n2"][0], node="n2", host_network=True)
    made = cluster(agent, ingress({"from": [namespaces(match(team="blue"))]}))
    assert not allowed(made, NODES["n2"][0], WEB)
    assert not made.judge("other/agent", "shop/web").allowed
    assert allowed(cluster(agent, policy("other/p")), WEB, NODES["n2"][0]), "nor is it a subject"


# ------------------------------------------------------------------------- pods' lives

FROM_OLD = ingress({"from": [{**namespaces({}), **pods(match(app="old"))}]})


def test_a_terminating_pod_counts_until_it_is_gone() -> None:
    made = cluster(FROM_OLD, pod("other/old", OLD, node="n2", labels={"app": "old"},
                                 meta={"deletionTimestamp": "2030-01-01T00:00:00Z"}))  # fmt: skip
    assert allowed(made, OLD, WEB)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_owns_no_address(phase: str) -> None:
    old = pod("other/old", OLD, node="n2", labels={"app": "old"}, phase=phase)
    assert not allowed(cluster(FROM_OLD, old), OLD, WEB)
    new = pod("other/new", OLD, node="n2", labels={"app": "new"})
    assert not allowed(cluster(FROM_OLD, old, new), OLD, WEB)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["old first", "new first"])
@pytest.mark.parametrize(
    "old",
    [{"creationTimestamp": "2029-01-01T00:00:00Z"},
     {"creationTimestamp": "2031-01-01T00:00:00Z", "deletionTimestamp": "2031-01-02T00:00:00Z"}],
    ids=["younger wins", "terminating loses"],
)  # fmt: skip
def test_of_two_pods_with_one_address_only_the_new_one_has_it(
    old: dict[str, str], order: tuple[int, int]
) -> None:
    both = [
        pod("other/old", OLD, node="n2", labels={"app": "old"}, meta=old),
        pod("other/new", OLD, node="n2", meta={"creationTimestamp": "2030-01-01T00:00:00Z"}),
    ]
    made = cluster(FROM_OLD)
    for each in order:
        made.apply(both[each])
    assert not allowed(made, OLD, WEB)
    made.remove(both[1])
    assert allowed(made, OLD, WEB), "the one that stays has it"
    made.apply(both[1])
    assert not allowed(made, OLD, WEB)


def test_a_pod_of_this_node_that_lost_its_address_is_reported() -> None:
    made = cluster(pod("shop/twin", WEB, meta={"creationTimestamp": "2030-01-01T00:00:00Z"}))
    assert [str(problem) for problem in made.nodes["n1"].policies.problems] == [
        "Pod shop/web: status.podIPs: 10.244.1.1 is shop/twin's"
    ]


def test_a_pod_in_a_namespace_that_no_object_describes_is_found_by_the_namespaces_name() -> None:
    made = cluster(
        pod("ghost/a", OLD, node="n2"),
        ingress({"from": [namespaces(match(**{"kubernetes.io/metadata.name": "ghost"}))]}),
    )
    assert allowed(made, OLD, WEB)


# --------------------------------------------------------------------- why, and replies


def test_a_judgement_names_who_isolates_and_who_allows() -> None:
    made = cluster(
        policy("shop/a", ingress=[{"ports": [port(81)]}, {"ports": [port(80)]}]),
        policy("shop/b"),
    )
    side = made.judge("other/app", "shop/web").ingress
    assert side.isolated_by == (ObjectName("shop", "a"), ObjectName("shop", "b"))
    assert side.allowed_by == (RuleName(ObjectName("shop", "a"), PolicyType.INGRESS, 1),)
    assert str(side.allowed_by[0]) == "shop/a ingress[1]"


def test_a_drop_names_the_policies_that_isolate() -> None:
    trace = cluster(policy("shop/a"), policy("shop/b")).traces(APP, WEB)[-1]
    assert trace.steps[-1].why == "ingress isolated by shop/a, shop/b"


def test_an_accepted_rule_is_named() -> None:
    trace = cluster(ingress({"ports": [port(80)]})).traces(APP, WEB)[-1]
    assert trace.steps[-1].why == "shop/p ingress[0]"


@pytest.mark.parametrize("state", ["established", "related"])
def test_a_connection_that_was_judged_is_not_judged_again(state: str) -> None:
    made = cluster(DENY_ALL)
    assert not made.reaches(APP, WEB)
    assert made.reaches(APP, WEB, state=state)


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


# --------------------------------------------------------------------------- the rules


@pytest.fixture
def names() -> Callable[[Cluster, str], list[str]]:
    """Names of the sets of node 1 that begin so, in the IPv4 table."""

    def find(made: Cluster, prefix: str) -> list[str]:
        keys = made.nodes["n1"].policies.wanted
        return [key[3] for key in keys if key[:3] == ("ip", "podwire-policy", "set")
                and key[3].startswith(prefix)]  # fmt: skip

    return find


def test_policies_that_say_the_same_share_their_sets(
    names: Callable[[Cluster, str], list[str]],
) -> None:
    rule = {"from": [{**namespaces({}), **pods(match(a="1", b="2"))}, block("10.0.0.0/8")],
            "ports": [port(1), port(3), port("http")]}  # fmt: skip
    turned = {"from": [block("10.128.0.0/9"), block("10.0.0.0/9"),
                       {**namespaces({}), **pods(match(b="2", a="1"))}],
              "ports": [port("http"), port(3), port(1)]}  # fmt: skip
    made = cluster(
        policy("shop/one", ingress=[rule]),
        policy("shop/two", policyTypes=["Egress"], egress=[{**turned, "to": turned.pop("from")}]),
    )
    for prefix in ("peers-", "cidrs-", "ports-", "named-"):
        assert len(names(made, prefix)) == 1, prefix


def test_pods_that_the_same_policies_isolate_share_a_chain() -> None:
    made = cluster(policy("shop/p"), *(pod(f"shop/web{n}", f"10.244.3.{n}") for n in range(1, 9)))
    chains = [key for key in made.nodes["n1"].policies.wanted if key[2:3] == ("chain",)]
    assert len(chains) == 2 * 2, "the base chain and one group, in both families"


def test_a_policy_without_a_subject_on_the_node_costs_nothing_there() -> None:
    made = cluster(ingress({"from": [namespaces({})]}))
    assert made.nodes["n2"].policies.wanted == cluster().nodes["n2"].policies.wanted


@pytest.mark.parametrize(
    "gone",
    [{"phase": "Succeeded"}, {"phase": "Failed"}, {"host_network": True},
     {"host_network": True, "phase": "Pending"}],
    ids=str,
)  # fmt: skip
def test_a_pod_without_a_network_of_its_own_is_nobodys_subject(gone: dict[str, Any]) -> None:
    only = policy("shop/p", podSelector=match(app="job"), policyTypes=["Ingress", "Egress"])
    made = cluster(only, pod("shop/job", OLD, labels={"app": "job"}, **gone))
    assert made.nodes["n1"].policies.wanted == cluster().nodes["n1"].policies.wanted


def test_no_name_is_longer_than_old_tools_take() -> None:
    made = cluster(ingress({"from": [namespaces({})], "ports": [port("http"), port(1, end=9)]}))
    assert max(len(key[3]) for key in made.nodes["n1"].policies.wanted if len(key) > 2) <= 31
