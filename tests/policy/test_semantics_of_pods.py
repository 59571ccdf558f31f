"""Whom policies take for whom while pods come, change and go: lives, labels, addresses.

Oracle and compiled rules both keep each promise.
"""

import pytest
from policy_model import (
    NODES,
    OUTSIDE,
    match,
    named,
    namespace,
    namespaces,
    pod,
    pods,
    policy,
    port,
)
from semantics_model import (
    APP,
    APP6,
    BLUE,
    DENY_ALL,
    HTTP,
    NEAR,
    OLD,
    WEB,
    WEB6,
    allowed,
    cluster,
    ingress,
    node,
)

from podwire_core.objects import Attached
from podwire_policy.oracle import Judge
from podwire_policy.reasons import Kind

# ------------------------------------------------------------------------- pods' lives

FROM_OLD = ingress({"from": [{**namespaces({}), **pods(match(app="old"))}]})


def test_a_terminating_pod_counts_until_it_is_gone() -> None:
    going = {"deletionTimestamp": "2030-01-01T00:00:00Z"}
    old = pod("other/old", OLD, node="n2", labels={"app": "old"}, meta=going)
    made = cluster(FROM_OLD, old, policy("other/deny", podSelector=match(app="old")))
    assert allowed(made, OLD, WEB), "as a peer"
    assert not allowed(made, WEB, OLD), "as a subject"
    made.remove(old)
    assert not allowed(made, OLD, WEB)
    assert allowed(made, WEB, OLD)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_completed_pods_address_is_not_its_own_any_more(phase: str) -> None:
    old = pod("other/old", OLD, node="n2", labels={"app": "old"}, phase=phase)
    assert not allowed(cluster(FROM_OLD, old), OLD, WEB), "as a peer"
    new = pod("other/new", OLD, node="n2", labels={"app": "new"})
    deny_old = policy("other/deny", podSelector=match(app="old"))
    for order in ((old, new), (new, old)):
        made = cluster(FROM_OLD, deny_old, *order)
        assert not allowed(made, OLD, WEB), "the next pod has none of its permissions"
        assert allowed(made, WEB, OLD), "and none of its denials"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_completes_gives_its_address_back_to_nobody(phase: str) -> None:
    running = pod("other/old", OLD, node="n2", labels={"app": "old"})
    made = cluster(FROM_OLD, running)
    assert allowed(made, OLD, WEB)
    made.apply(pod("other/old", OLD, node="n2", labels={"app": "old"}, phase=phase))
    assert not allowed(made, OLD, WEB)


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


# ------------------------------------------------------------------------ what changes


def test_a_label_that_changes_makes_a_pod_a_peer_and_unmakes_it() -> None:
    made = cluster(ingress({"from": [{**BLUE, **pods(match(new="yes"))}]}))
    for new in ("no", "yes", "no"):
        made.apply(pod("other/app", APP, APP6, node="n2", labels={"app": "app", "new": new}))
        assert allowed(made, APP, WEB) is (new == "yes")
        assert allowed(made, APP6, WEB6) is (new == "yes")


def test_a_label_that_changes_makes_a_pod_a_subject_and_unmakes_it() -> None:
    made = cluster(ingress(podSelector=match(new="yes")))
    for new in ("no", "yes", "no"):
        made.apply(pod("shop/web", WEB, WEB6, labels={"app": "web", "new": new}, ports=HTTP))
        assert allowed(made, APP, WEB) is (new == "no")


def test_a_namespaces_label_that_changes_makes_its_pods_peers_and_unmakes_them() -> None:
    made = cluster(ingress({"from": [namespaces(match(new="yes"))]}))
    for new in ("no", "yes", "no"):
        made.apply(namespace("other", team="blue", new=new))
        assert allowed(made, APP, WEB) is (new == "yes")


def test_a_policy_that_changes_or_goes_is_in_force_so() -> None:
    deny, open_ = ingress(), ingress({})
    made = cluster(deny)
    assert not allowed(made, APP, WEB)
    made.apply(open_)
    assert allowed(made, APP, WEB)
    made.apply(deny)
    assert not allowed(made, APP, WEB)
    made.remove(deny)
    assert allowed(made, APP, WEB)


def test_a_declared_port_that_changes_is_another_named_port() -> None:
    made = cluster(ingress({"ports": [port("http")]}))
    for number in (8080, 9090):
        made.apply(pod("shop/web", WEB, labels={"app": "web"}, ports=[("http", "TCP", number)]))
        assert [allowed(made, APP, WEB, "TCP", n) for n in (8080, 9090)] == [
            number == 8080,
            number == 9090,
        ]


# -------------------------------------------------------- addresses that nobody knows yet


def test_a_pods_address_that_nobody_knows_is_denied_once_policies_exist() -> None:
    made = cluster(node("n1"), node("n2"))
    assert allowed(made, NEAR, WEB)
    made.apply(policy("quiet/p", podSelector=match(app="nobody")))
    assert not allowed(made, NEAR, WEB), "whoever sends from it"
    assert not allowed(made, WEB, NEAR), "and whoever it is sent to"
    assert made.judge(NEAR, WEB).egress.denial is Kind.UNKNOWN
    assert allowed(made, OUTSIDE[0], WEB), "addresses outside of podCIDRs are no pods'"
    made.apply(pod("other/new", NEAR))
    assert allowed(made, NEAR, WEB)


def test_the_node_reaches_a_pod_that_nobody_knows_yet() -> None:
    made = cluster(node("n1"), DENY_ALL)
    assert allowed(made, NODES["n1"][0], NEAR), "probes begin when kubelet wants them to"
    assert not allowed(made, NEAR, NODES["n1"][0])


def test_an_attached_pod_that_nobody_knows_is_denied_where_its_namespace_has_policies() -> None:
    new = Attached.of("eth0-new", named("shop/new"), (NEAR,), uid="u2")
    made = cluster(node("n1"), new)
    assert allowed(made, NEAR, WEB)
    made.apply(policy("other/p"))
    assert allowed(made, NEAR, WEB), "no policy of its namespace"
    made.apply(policy("shop/p", podSelector=match(app="nobody")))
    assert not allowed(made, NEAR, WEB)
    made.apply(pod("shop/new", NEAR, meta={"uid": "u1"}))
    assert not allowed(made, NEAR, WEB), "that is an earlier pod of its name"
    made.apply(pod("shop/new", NEAR, meta={"uid": "u2"}))
    assert allowed(made, NEAR, WEB)


def test_an_earlier_pods_permissions_do_not_reach_the_one_that_has_its_address_now() -> None:
    old = pod("other/old", NEAR, labels={"app": "old"}, meta={"uid": "u1"})
    made = cluster(node("n1"), FROM_OLD, old)
    assert allowed(made, NEAR, WEB)
    made.apply(Attached.of("eth0-new", named("other/new"), (NEAR,), uid="u2"))
    assert not allowed(made, NEAR, WEB)


def test_no_other_pod_can_claim_an_address_that_was_given_here() -> None:
    """Whatever another node's kubelet writes into a status, however young that pod is."""
    web = Attached.of("eth0-web", named("shop/web"), (WEB,))
    young = {"creationTimestamp": "2030-01-01T00:00:00Z"}
    made = cluster(node("n1"), web, ingress({"from": [BLUE]}))
    made.apply(pod("other/thief", WEB, node="n2", labels={"app": "old"}, meta=young))
    assert allowed(made, APP, WEB)
    assert not allowed(made, OUTSIDE[0], WEB), "its own policies isolate it still"
    owner = Judge(made.snapshot).owner(WEB)
    assert owner is not None
    assert owner.name == named("shop/web")


def test_an_attachment_that_is_no_pods_is_open() -> None:
    made = cluster(node("n1"), DENY_ALL, Attached.of("eth0-tool", None, (NEAR,)))
    assert allowed(made, NEAR, OUTSIDE[0])
    assert allowed(made, OUTSIDE[0], NEAR)
    assert not allowed(made, NEAR, WEB), "but pods are isolated from it"


def test_a_pod_that_waits_for_its_address_has_its_isolation_waiting() -> None:
    """Its start is elements: no chain has to be made while it waits."""
    made = cluster(DENY_ALL, pod("shop/next", phase="Pending", labels={"app": "next"}))
    sent = made.apply(pod("shop/next", NEAR, labels={"app": "next"}))["n1"]
    assert {noun for _, noun in sent.counts()} == {"element"}
    assert not allowed(made, APP, NEAR)
