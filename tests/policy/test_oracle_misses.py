"""What the oracle says to people: why each side decided so, and which rule came closest."""

from typing import Any

import pytest
from cluster_policy_model import accept, cluster_policy, deny, named_port, networks, tcp
from policy_model import (
    NODES,
    OUTSIDE,
    block,
    expression,
    match,
    namespace,
    namespaces,
    node,
    pod,
    pods,
    policy,
    port,
)

from podwire_core.objects import Attached, KubernetesObject, ObjectName, PolicyType
from podwire_core.snapshot import Snapshot
from podwire_policy.oracle import Judge, Judgement, misses
from podwire_policy.reasons import Kind

WEB, DB, APP = "10.244.1.1", "10.244.1.2", "10.244.2.1"
WAY: tuple[Any, ...] = ("TCP", 81)
INGRESS, EGRESS = PolicyType.INGRESS, PolicyType.EGRESS


def judged(*objects: KubernetesObject, source: str = DB, destination: str = WEB,
           way: tuple[Any, ...] = WAY) -> tuple[Judge, Judgement]:  # fmt: skip
    """shop/web hears data/db; other/app is elsewhere."""
    judge = Judge(Snapshot([
        *map(node, NODES),
        namespace("shop", team="red"),
        namespace("data", team="blue"),
        pod("shop/web", WEB, labels={"app": "web"}, ports=[("http", "TCP", 80)]),
        pod("data/db", DB, labels={"app": "db", "tier": "back"}),
        pod("other/app", APP, node="n2"),
        *objects,
    ]))  # fmt: skip
    return judge, judge.judge(source, destination, *way)


def missed(*objects: KubernetesObject, **asked: Any) -> str:
    return misses(*judged(*objects, **asked))


def ingress(*rules: dict[str, Any], name: str = "shop/web") -> KubernetesObject:
    return policy(name, policyTypes=["Ingress"], ingress=list(rules))


FROM_WEB = pods(match(app="web"))
FROM_BLUE = namespaces(match(team="blue"))

ANOTHER_PORT = "but this is port 81/TCP"
ANOTHER_POD = "but the source is data/db (app=db, tier=back)"
OF_NAMESPACE = "but the source is data/db (app=db, tier=back; its namespace: team=blue)"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        pytest.param(
            [{"from": [FROM_BLUE], "ports": [port(80)]}],
            "ingress[0] allows port 80/TCP from every pod in namespaces with team=blue, "
            f"{ANOTHER_PORT}",
            id="the port",
        ),
        pytest.param(
            [{"from": [FROM_WEB], "ports": [port(81)]}],
            f"ingress[0] allows port 81/TCP from app=web, {ANOTHER_POD}",
            id="the peer",
        ),
        pytest.param(
            [{"from": [namespaces(match(team="red"))]}],
            "ingress[0] allows every port from every pod in namespaces with team=red, "
            f"{OF_NAMESPACE}",
            id="the peer, by its namespace",
        ),
        pytest.param(
            [{"from": [FROM_WEB], "ports": [port(80)]}],
            f"ingress[0] allows port 80/TCP from app=web, {ANOTHER_POD} and this is port 81/TCP",
            id="both",
        ),
        pytest.param(
            [{"from": [FROM_WEB], "ports": [port(81)]}, {"ports": [port(80)]}],
            f"ingress[1] allows port 80/TCP from anyone, {ANOTHER_PORT}",
            id="a rule that means the peer comes before one that means the port",
        ),
        pytest.param(
            [{"from": [FROM_WEB], "ports": [port(80)]}, {"from": [FROM_WEB], "ports": [port(81)]}],
            f"ingress[1] allows port 81/TCP from app=web, {ANOTHER_POD}",
            id="one that means the port comes before one that means neither",
        ),
        pytest.param(
            [{"ports": [port(81, "UDP")]}, {"ports": [port(80)]}],
            f"ingress[1] allows port 80/TCP from anyone, {ANOTHER_PORT}",
            id="the same protocol is closer",
        ),
        pytest.param(
            [{"ports": [port(70, end=80), port("http"), port(protocol="SCTP")]}],
            "ingress[0] allows ports 70-80/TCP or port http/TCP or every SCTP port from anyone, "
            f"{ANOTHER_PORT}",
            id="ranges, names, whole protocols",
        ),
        pytest.param(
            [{"from": [block("10.0.0.0/8", "10.244.0.0/16"), pods({})]}],
            "ingress[0] allows every port from 10.0.0.0/8 except 10.244.0.0/16 or "
            f"every pod of shop, {ANOTHER_POD}",
            id="blocks, and pods of the policy's namespace",
        ),
        pytest.param(
            [{"from": [{**namespaces({}), **pods(expression("app", "NotIn", "db"))}]}],
            f"ingress[0] allows every port from app NotIn (db) in every namespace, {OF_NAMESPACE}",
            id="expressions",
        ),
        pytest.param(
            [{"from": [block(f"192.0.2.{n}/32") for n in range(9)]}],
            "ingress[0] allows every port from 192.0.2.0/32 or 192.0.2.1/32 or 192.0.2.2/32 or "
            f"6 more, {ANOTHER_POD}",
            id="a long list is counted",
        ),
    ],
)  # fmt: skip
def test_the_rule_that_came_closest_is_named_with_what_it_lacked(
    rules: list[Any], said: str
) -> None:
    assert missed(ingress(*rules)) == f"NetworkPolicy shop/web {said}"


def test_policies_without_rules_have_nothing_that_came_close() -> None:
    assert (
        missed(ingress()) == "NetworkPolicy shop/web has no ingress rule, and so nobody is allowed"
    )
    assert missed(ingress(name="shop/a"), ingress(name="shop/b")) == (
        "NetworkPolicies shop/a, shop/b have no ingress rule, and so nobody is allowed"
    )


def test_an_allowed_connection_missed_nothing() -> None:
    judge, judgement = judged()
    assert judgement.allowed
    assert misses(judge, judgement) == ""
    assert misses(judge, judgement, INGRESS) == ""


def test_the_side_that_denies_first_on_the_way_is_explained() -> None:
    out = policy("data/out", policyTypes=["Egress"], egress=[{"ports": [port(53, "UDP")]}])
    judge, judgement = judged(ingress(), out)
    assert misses(judge, judgement) == (
        "NetworkPolicy data/out egress[0] allows port 53/UDP to anyone, but this is port 81/TCP"
    )
    assert misses(judge, judgement, INGRESS).startswith(
        "NetworkPolicy shop/web has no ingress rule"
    )


def test_an_address_outside_and_another_protocol_are_said_as_they_are() -> None:
    rule = {"from": [FROM_WEB], "ports": [port(80)]}
    assert missed(ingress(rule), source=OUTSIDE[0], way=("ICMP",)) == (
        "NetworkPolicy shop/web ingress[0] allows port 80/TCP from app=web, "
        "but the source is 203.0.113.9 and this is ICMP"
    )


def test_what_a_cluster_policy_denies_is_told_by_the_rule_that_denies() -> None:
    lock = cluster_policy("lock", ingress=[deny(on=[tcp(81), named_port("x")], name="no admin")])
    judge, judgement = judged(lock)
    assert misses(judge, judgement) == (
        'ClusterNetworkPolicy lock ingress[0] "no admin" denies port 81/TCP or port x from '
        "every pod in every namespace"
    )
    assert judgement.ingress.reason == (
        'ClusterNetworkPolicy lock ingress[0] "no admin" denies it (Admin tier)'
    )
    out = cluster_policy("out", egress=[deny(networks("10.0.0.0/8"))])
    assert missed(out) == "ClusterNetworkPolicy out egress[0] denies every port to 10.0.0.0/8"


def test_a_rule_that_fails_closed_says_which_field_it_was() -> None:
    assert missed(cluster_policy("new", ingress=[deny(on=[tcp(80)], mood="bad")])) == (
        "ClusterNetworkPolicy new ingress[0] denies everything, because spec.ingress[0].mood "
        "is not known here"
    )


# ----------------------------------------------------------------------------- reasons


def reasons(*objects: KubernetesObject, **asked: Any) -> tuple[str, str]:
    _, judgement = judged(*objects, **asked)
    return judgement.egress.reason, judgement.ingress.reason


def test_each_side_has_a_reason_in_one_sentence() -> None:
    free = "no policy denies it to pod data/db"
    assert reasons() == (free, "no policy denies it to pod shop/web")
    assert reasons(ingress({})) == (free, "NetworkPolicy shop/web ingress[0] allows it")
    assert reasons(ingress({}, {}))[1] == (
        "NetworkPolicy shop/web ingress[0], shop/web ingress[1] allow it"
    )
    assert reasons(ingress())[1] == (
        "NetworkPolicy shop/web isolates pod shop/web for ingress and does not allow it"
    )
    both = [ingress(name="shop/a"), ingress(name="shop/b")]
    isolated = "isolate pod shop/web for ingress and do not allow it"
    assert reasons(*both)[1] == f"NetworkPolicies shop/a, shop/b {isolated}"
    many = [ingress(name=f"shop/p{n}") for n in range(7)]
    assert reasons(*many)[1] == (
        f"NetworkPolicies shop/p0, shop/p1, shop/p2, shop/p3, shop/p4 and 2 more {isolated}"
    )
    assert reasons(source=OUTSIDE[0])[0] == (
        "203.0.113.9 is no pod's address, so that no policy speaks for it"
    )
    assert reasons(ingress(), source=NODES["n1"][0])[1] == "a node always reaches its own pods"
    assert reasons(ingress(), source=WEB)[1] == "NetworkPolicies always let a pod reach itself"


def test_an_accepting_rule_and_one_that_passed_are_named() -> None:
    passing = cluster_policy("a", ingress=[{**accept(), "action": "Pass"}])
    last = cluster_policy("b", tier="Baseline", ingress=[accept(name="ok")])
    _, judgement = judged(passing, last)
    assert judgement.ingress.reason == (
        'ClusterNetworkPolicy b ingress[0] "ok" accepts it (Baseline tier)'
    )
    assert [str(each) for each in judgement.ingress.passed] == ["ClusterNetworkPolicy a ingress[0]"]


def test_an_address_that_nobody_knows_says_how_it_came_to_be_one() -> None:
    new = Attached.of("eth0", ObjectName("shop", "new"), ("10.244.9.9",))
    _, judgement = judged(ingress(), new, source="10.244.9.9")
    assert judgement.egress.denial is Kind.UNKNOWN
    assert judgement.egress.reason == (
        "10.244.9.9 was given to shop/new, which is not known here yet"
    )
