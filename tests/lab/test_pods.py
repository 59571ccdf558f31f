"""Pods: who is made, where, who goes, and what is said of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire_core.errors import ObjectError
from podwire_lab.control.manifests import read_manifest
from podwire_lab.report import Phase


def owner(kind: str, name: str, image: str = "v1", more: str = "") -> str:
    return f"""
        apiVersion: apps/v1
        kind: {kind}
        metadata: {{name: {name}, namespace: shop}}
        spec:
          selector: {{matchLabels: {{app: {name}}}}}
          template:
            metadata: {{labels: {{app: {name}}}}}
            spec: {{containers: [{{name: c, image: {image}}}]}}
          {more}
    """


def deployment(name: str = "api", replicas: int = 3, image: str = "v1") -> str:
    return owner("Deployment", name, image, f"replicas: {replicas}")


def stateful_set(image: str = "v1", replicas: int = 3) -> str:
    return owner("StatefulSet", "db", image, f"replicas: {replicas}\n          serviceName: db")


def pod(name: str = "a", spec: str = "", labels: str = "app: a") -> str:
    return f"""
        apiVersion: v1
        kind: Pod
        metadata: {{name: {name}, namespace: shop, labels: {{{labels}}}}}
        spec: {{containers: [{{name: c}}] {spec}}}
    """


def names(cluster, prefix: str = "") -> list[str]:
    return [str(pod.name) for pod in cluster.pods(prefix)]


# -------------------------------------------------------------------------------- placing


def test_pods_of_one_owner_spread_over_the_nodes(cluster):
    cluster.apply(deployment(replicas=4))
    assert sorted(pod.spec.node_name for pod in cluster.pods()) == [*["node1"] * 2, *["node2"] * 2]


def test_a_pod_keeps_its_node_when_others_come(cluster):
    cluster.apply(deployment("api", 3)).settle()
    before = {pod.name: pod.spec.node_name for pod in cluster.pods("shop/api")}
    cluster.apply(deployment("web", 5)).settle()
    assert {pod.name: pod.spec.node_name for pod in cluster.pods("shop/api")} == before


def test_node_name_and_node_selector_are_honoured(cluster):
    cluster.apply(pod("named", ", nodeName: node2"))
    cluster.apply(pod("selected", ", nodeSelector: {kubernetes.io/hostname: node2}"))
    assert [pod.spec.node_name for pod in cluster.pods()] == ["node2", "node2"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (", nodeName: node9", "spec.nodeName: the lab has no node node9"),
        (", nodeSelector: {disk: ssd}", "spec.nodeSelector: no node has disk=ssd"),
    ],
)
def test_a_pod_that_fits_nowhere_stays_pending_and_says_why(cluster, spec, message):
    status = cluster.apply(pod(spec=spec)).pod("shop/a").status
    assert (status.phase, status.message) == ("Pending", message)


def test_a_daemon_set_has_one_pod_on_each_node_it_may_run_on(make_cluster):
    cluster = make_cluster(3).apply(owner("DaemonSet", "agent"))
    assert sorted(pod.spec.node_name for pod in cluster.pods()) == ["node1", "node2", "node3"]


def test_a_stateful_set_names_its_pods_by_number_and_they_know_their_name(cluster):
    cluster.apply(stateful_set(replicas=2))
    assert names(cluster) == ["shop/db-0", "shop/db-1"]
    assert cluster.pod("shop/db-1").spec.hostname == "db-1"
    assert cluster.pod("shop/db-1").spec.subdomain == "db"


def test_a_deployments_pods_carry_the_hash_of_their_template(cluster):
    cluster.apply(deployment(replicas=1))
    (only,) = cluster.pods()
    _, revision, letters = only.name.name.split("-")
    assert only.labels == {"app": "api", "pod-template-hash": revision}
    assert len(letters) == 5


# ------------------------------------------------------------------------ rolling, scaling


def test_a_changed_template_makes_new_pods_at_once_and_old_ones_stay_until_those_are_ready(cluster):
    cluster.apply(deployment(image="v1")).settle()
    old = names(cluster)
    cluster.apply(deployment(image="v2"))
    assert set(old) < set(names(cluster))
    assert len(names(cluster)) == 6
    assert not any(pod.terminating for pod in cluster.pods())


def test_for_each_new_pod_that_is_ready_an_old_one_goes(cluster):
    old = names(cluster.apply(deployment(image="v1")).settle())
    cluster.apply(deployment(image="v2"))
    new = [name for name in names(cluster) if name not in old]
    cluster.play(ready=False).report(*old, ready=True)
    assert not any(pod.terminating for pod in cluster.pods())
    cluster.report(new[0], ready=True)
    assert sum(cluster.pod(name).terminating for name in old) == 1
    assert not any(cluster.pod(name).terminating for name in new)


def test_a_rollout_ends_with_the_new_pods_alone(cluster):
    cluster.apply(deployment(image="v1")).settle()
    old = set(names(cluster))
    cluster.apply(deployment(image="v2")).settle()
    assert len(names(cluster)) == 3
    assert not old & set(names(cluster))


def test_scaling_down_takes_the_unready_then_the_youngest(cluster):
    cluster.apply(deployment(replicas=1)).settle()
    oldest = names(cluster)
    cluster.apply(deployment(replicas=3)).settle()
    cluster.report(oldest[0], ready=False)
    cluster.apply(deployment(replicas=2))
    assert [str(pod.name) for pod in cluster.pods() if pod.terminating] == oldest
    cluster.report(oldest[0], ready=True)
    kept = {str(pod.name) for pod in cluster.pods() if not pod.terminating}
    cluster.settle()
    assert set(names(cluster)) == kept


def test_named_pods_are_replaced_one_at_a_time_while_the_others_are_ready(cluster):
    cluster.apply(stateful_set("v1")).settle()
    cluster.apply(stateful_set("v2"))
    assert [str(pod.name) for pod in cluster.pods() if pod.terminating] == ["shop/db-2"]
    uid = cluster.pod("shop/db-0").metadata.uid
    cluster.settle()
    assert {pod.revision for pod in cluster.pods()} == {cluster.pod("shop/db-2").revision}
    assert cluster.pod("shop/db-0").metadata.uid != uid


# ---------------------------------------------------------------------------------- going


def test_a_pod_told_to_go_stays_until_its_runner_has_nothing_of_it_left(cluster):
    cluster.apply(pod()).play()
    told = cluster.delete("Pod", "shop/a").pod("shop/a").metadata.deletion_timestamp
    assert told
    assert cluster.tick().pod("shop/a").metadata.deletion_timestamp == told
    cluster.reports.clear()
    assert names(cluster.tick()) == []


def test_a_pod_made_anew_waits_for_its_predecessor_and_has_another_uid(cluster):
    cluster.apply(pod()).play()
    before = cluster.pod("shop/a").metadata.uid
    cluster.delete("Pod", "shop/a").apply(pod())
    assert cluster.pod("shop/a").metadata.uid == before
    cluster.reports.clear()
    assert cluster.tick().pod("shop/a").metadata.uid != before


def test_a_report_of_an_earlier_pod_does_not_speak_for_a_later_one(cluster):
    cluster.apply(pod()).play()
    (report,) = (row for row in cluster.reports.values() if row.name == "a")
    cluster.delete("Pod", "shop/a")
    cluster.reports.clear()
    cluster.apply(pod())
    cluster.reports[report.uid] = report
    assert cluster.tick().pod("shop/a").status.phase == "Pending"


def test_labels_of_a_pod_may_change_while_it_runs_but_a_changed_spec_makes_it_anew(cluster):
    cluster.apply(pod()).play()
    uid = cluster.pod("shop/a").metadata.uid
    relabelled = cluster.apply(pod(labels="app: b")).pod("shop/a")
    assert (relabelled.labels, relabelled.metadata.uid) == ({"app": "b"}, uid)
    assert cluster.apply(pod(spec=", nodeName: node2")).pod("shop/a").terminating


def test_pods_of_a_deleted_owner_go(cluster):
    cluster.apply(deployment()).play().delete("Deployment", "shop/api")
    assert all(pod.terminating for pod in cluster.pods())


# --------------------------------------------------------------------------------- status


def test_a_pods_status_is_what_its_runner_reports(cluster):
    cluster.apply(pod()).play()
    status = cluster.objects["Pod.shop.a.json"]["status"]
    assert status["phase"] == "Running"
    assert [row["ip"] for row in status["podIPs"]] == [*cluster.pod("shop/a").ips]
    assert {"type": "Ready", "status": "True"} in status["conditions"]
    assert status["containerStatuses"][0]["state"] == {"running": {}}


def test_a_host_network_pod_has_its_nodes_addresses(cluster):
    cluster.apply(pod(spec=", hostNetwork: true, nodeName: node2")).play()
    rows = cluster.objects["Pod.shop.a.json"]["status"]["podIPs"]
    assert tuple(row["ip"] for row in rows) == cluster.lab.node("node2").ips


def test_a_pod_that_ended_is_not_ready_and_stays(cluster):
    cluster.apply(pod(spec=", restartPolicy: Never")).play()
    ended = cluster.report("shop/a", phase=Phase.SUCCEEDED).pod("shop/a")
    assert (ended.finished, ended.ready, ended.terminating) == (True, False, False)


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}},
            "ConfigMap default/x: kind: is ignored",
        ),
        (
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}},
            "Node x: kind: is ignored",
        ),
        (
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}},
            "Pod default/x: Object missing required",
        ),
        (
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "x"},
                "spec": {"containers": []},
            },
            "spec.containers: a pod needs",
        ),
        (
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "../y"}},
            "metadata.namespace: is no DNS label",
        ),
        (
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x" * 200}},
            "metadata.name: is longer",
        ),
        ({"kind": "Pod"}, "Pod without a name"),
        ({}, "object without a name"),
    ],
)
def test_what_a_lab_cannot_use_is_refused_by_object_and_field(document, words):
    with pytest.raises(ObjectError) as caught:
        read_manifest("f.yaml", document)
    assert words in str(caught.value)


def test_a_selector_that_does_not_match_its_template_is_refused(cluster):
    with pytest.raises(ObjectError, match=r"spec\.selector: does not match"):
        cluster.apply(deployment().replace("matchLabels: {app: api}", "matchLabels: {app: x}"))


# ------------------------------------------------------------------------------- fixpoints

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("scale"), st.integers(0, 4)),
        st.tuples(st.just("roll"), st.sampled_from(["v1", "v2"])),
        st.tuples(st.just("stateful"), st.sampled_from(["v1", "v2"])),
        st.tuples(st.just("pod"), st.sampled_from(["", ", nodeName: node2", ", nodeName: node9"])),
        st.tuples(st.just("delete"), st.none()),
        st.tuples(st.just("play"), st.booleans()),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_desired_of_its_own_output_changes_nothing(make_cluster, actions):
    cluster = make_cluster(2)
    for verb, value in actions:
        act(cluster, verb, value)
        before = cluster.objects
        assert cluster.tick().objects == before
    cluster.settle()


def act(cluster, verb: str, value) -> None:
    match verb:
        case "scale":
            cluster.apply(deployment(replicas=value))
        case "roll":
            cluster.apply(deployment(image=value))
        case "stateful":
            cluster.apply(stateful_set(value))
        case "pod":
            cluster.apply(pod(spec=value))
        case "delete":
            cluster.manifests.clear()
            cluster.tick()
        case "play":
            cluster.play(ready=value)
