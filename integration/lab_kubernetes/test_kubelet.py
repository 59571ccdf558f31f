"""The lab's kubelet as a member of a real cluster: the API server says what the node does."""

import http.client
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from scratch import until

from podwire_core.feed.api_server import ApiError
from podwire_lab.folders import Folders
from podwire_lab.kubernetes import api, kubectl, plane
from podwire_lab.kubernetes.access import AGENT_ACCESS
from podwire_lab.machine import daemons, namespaces, processes
from podwire_lab.report import PodReport
from podwire_lab.topology import Lab

_PODS = "/api/v1/namespaces/default/pods"


class Cluster:
    """A lab with a real control plane, as its administrator sees it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.made: list[str] = []
        self.folders = Folders.of(lab.name)

    def send(self, method: str, path: str, body: object = None, kind: str = "") -> Any:
        content = kind or "application/json"
        answer = api.ask(self.lab, lambda server: server.send(method, path, body, content))
        return msgspec.json.decode(answer)

    def find(self, path: str) -> dict[str, Any] | None:
        try:
            return dict(self.send("GET", path))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def run(self, name: str, *command: str, node: str = "node1", **spec: Any) -> None:
        """A pod that is bound to a node already, so that only the kubelet has work."""
        main = {"name": "main", "image": "none", **({"command": command} if command else {})}
        whole = {"nodeName": node, "containers": [main], **spec}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole}
        self.send("POST", _PODS, body)
        self.made.append(name)

    def pod(self, name: str) -> dict[str, Any] | None:
        return self.find(f"{_PODS}/{name}")

    def status(self, name: str) -> dict[str, Any]:
        return dict((self.pod(name) or {}).get("status") or {})

    def condition(self, name: str, kind: str) -> str:
        rows = self.status(name).get("conditions") or ()
        return next((str(row["status"]) for row in rows if row["type"] == kind), "")

    def ready(self, name: str, seconds: float = 60) -> dict[str, Any]:
        until(f"{name} is ready", lambda: self.condition(name, "Ready") == "True", seconds)
        return self.status(name)

    def state(self, name: str) -> dict[str, Any]:
        rows = self.status(name).get("containerStatuses") or [{}]
        return dict(rows[0].get("state") or {})

    def delete(self, name: str, grace: int | None = None) -> None:
        self.send("DELETE", f"{_PODS}/{name}", {"gracePeriodSeconds": grace})

    def gone(self, name: str) -> None:
        until(f"the API has no {name}", lambda: self.pod(name) is None)
        netns = namespaces.path(namespaces.pod_netns(self.lab.name, "default", name))
        until(f"the namespace of {name} is gone", lambda: not netns.exists())
        until(f"the report of {name} is gone", lambda: self.report(name) is None)

    def report(self, name: str, node: str = "node1") -> PodReport | None:
        file = self.folders.reports / node / f"default.{name}.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=PodReport)
        except FileNotFoundError:
            return None

    def kubectl(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        argv, environment = kubectl.command(self.lab, arguments)
        return subprocess.run(
            argv,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def kill_runner(self) -> None:
        pid = daemons.runner_pid(self.lab, self.lab.nodes[0])
        assert pid  # 0 would be this very test
        os.kill(pid, signal.SIGKILL)
        until("the runner is dead", lambda: not processes.alive(pid))

    def start_runner(self) -> None:
        daemons.start_runner(self.lab, self.lab.nodes[0])


@pytest.fixture
def k8s(lab: Lab) -> Iterator[Cluster]:
    """The cluster; whatever pods a test leaves are gone after it."""
    cluster = Cluster(lab)
    yield cluster
    if daemons.runner_pid(lab, lab.nodes[0]) == 0:
        cluster.start_runner()
    for name in cluster.made:
        if cluster.pod(name) is not None:
            cluster.delete(name, 0)


# ------------------------------------------------------------------------------- a pod's life


def test_a_pod_is_ready_in_seconds_with_addresses_of_both_families(k8s: Cluster) -> None:
    began = time.monotonic()
    k8s.run("quick")
    status = k8s.ready("quick")
    print(f"ready {time.monotonic() - began:.2f} s after the request")
    assert len(status["podIPs"]) == 2
    assert status["podIP"] == status["podIPs"][0]["ip"]
    assert [row["ip"] for row in status["hostIPs"]] == list(k8s.lab.nodes[0].ips)
    (main,) = status["containerStatuses"]
    assert (main["ready"], main["restartCount"], list(main["state"])) == (True, 0, ["running"])


def test_a_pod_on_the_node_s_network_has_the_node_s_addresses(k8s: Cluster) -> None:
    k8s.run("own", "sleep", "infinity", hostNetwork=True)
    ips = [row["ip"] for row in k8s.ready("own")["podIPs"]]
    assert ips == list(k8s.lab.nodes[0].ips)


def test_a_pod_that_ended_stays_with_its_code_and_its_log_until_it_is_deleted(
    k8s: Cluster,
) -> None:
    k8s.run("done", "sh", "-c", "echo words; exit 3", restartPolicy="Never")
    until("it has failed", lambda: k8s.status("done").get("phase") == "Failed")
    ended = k8s.state("done")["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert ended["startedAt"] <= ended["finishedAt"]
    assert k8s.kubectl("logs", "done").stdout == "words\n"
    k8s.delete("done")
    k8s.gone("done")


def test_a_container_that_keeps_failing_is_in_a_crash_loop(k8s: Cluster) -> None:
    k8s.run("crash", "false")
    until(
        "it restarted",
        lambda: (
            (k8s.status("crash").get("containerStatuses") or [{}])[0].get("restartCount", 0) >= 1
        ),
    )
    until(
        "it waits",
        lambda: k8s.state("crash").get("waiting", {}).get("reason") == "CrashLoopBackOff",
    )
    last = k8s.status("crash")["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 1


def test_init_containers_are_told_of_in_their_order(k8s: Cluster) -> None:
    inits = [
        {"name": "first", "image": "none", "command": ["true"]},
        {"name": "beside", "image": "none", "command": ["sleep", "60"], "restartPolicy": "Always"},
    ]
    k8s.run("inits", "sleep", "60", initContainers=inits)
    first, beside = k8s.ready("inits")["initContainerStatuses"]
    assert (first["name"], list(first["state"]), first["ready"]) == ("first", ["terminated"], True)
    assert (beside["name"], list(beside["state"])) == ("beside", ["running"])


def test_a_pod_that_cannot_be_run_here_says_why_and_others_go_on(k8s: Cluster) -> None:
    k8s.run("odd", terminationGracePeriodSeconds=90_000)
    k8s.run("even")
    k8s.ready("even")
    until("it says so", lambda: k8s.state("odd").get("waiting", {}).get("reason") == "Unusable")
    assert "terminationGracePeriodSeconds" in k8s.status("odd")["message"]
    k8s.delete("odd")
    k8s.gone("odd")


def test_a_condition_that_someone_else_turned_is_turned_back(k8s: Cluster) -> None:
    k8s.run("mine")
    k8s.ready("mine")
    rows = [{"type": "Ready", "status": "False"}]
    kind = "application/strategic-merge-patch+json"
    k8s.send("PATCH", f"{_PODS}/mine/status", {"status": {"conditions": rows}}, kind)
    k8s.ready("mine")


# ----------------------------------------------------------------------------------- its end


def test_a_deleted_pod_leaves_nothing(k8s: Cluster) -> None:
    k8s.run("web", "sleep", "infinity")
    k8s.ready("web")
    report = k8s.report("web")
    assert report is not None
    k8s.delete("web")
    k8s.gone("web")
    assert not processes.alive(report.containers[0].pid)


def test_a_pod_deleted_by_force_leaves_nothing(k8s: Cluster) -> None:
    k8s.run("web", "sleep", "infinity")
    k8s.ready("web")
    k8s.delete("web", 0)
    k8s.gone("web")


def test_a_replica_set_replaces_what_is_deleted(k8s: Cluster) -> None:
    template = {
        "metadata": {"labels": {"app": "set"}},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "set"}}, "template": template}
    path = "/apis/apps/v1/namespaces/default/replicasets"
    whole = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "set"}}
    k8s.send("POST", path, {**whole, "spec": spec})

    def all_ready() -> bool:
        found = k8s.find(f"{path}/set") or {}
        return bool(found["status"].get("readyReplicas") == 2)

    until("both are ready", all_ready)
    (first, second) = (
        row["metadata"]["name"]
        for row in k8s.send("GET", f"{_PODS}?labelSelector=app=set")["items"]
    )
    assert k8s.kubectl("delete", "pod", first).returncode == 0
    until("both are ready again", all_ready)
    names = {
        row["metadata"]["name"]
        for row in k8s.send("GET", f"{_PODS}?labelSelector=app=set")["items"]
    }
    assert second in names
    assert first not in names
    k8s.send("DELETE", f"{path}/set", {"propagationPolicy": "Foreground"})
    until("all is gone", lambda: k8s.find(f"{path}/set") is None)


# ---------------------------------------------------------------------------- a runner's end


def test_a_killed_runner_s_pods_and_what_the_api_says_of_them_stay_as_they_are(
    k8s: Cluster,
) -> None:
    names = [f"stay-{number}" for number in range(3)]
    for name in names:
        k8s.run(name, "sleep", "infinity")
    for name in names:
        k8s.ready(name)
    pids = [k8s.report(name) for name in names]
    before = [(k8s.pod(name) or {})["metadata"]["resourceVersion"] for name in names]
    k8s.kill_runner()
    k8s.start_runner()
    k8s.run("later")
    k8s.ready("later")
    assert [(k8s.pod(name) or {})["metadata"]["resourceVersion"] for name in names] == before
    assert [k8s.report(name) for name in names] == pids


def test_pods_deleted_while_no_runner_was_there_are_ended_by_the_next_one(k8s: Cluster) -> None:
    for name in ("softly", "hardly"):
        k8s.run(name, "sleep", "infinity")
        k8s.ready(name)
    k8s.kill_runner()
    k8s.delete("softly")
    k8s.delete("hardly", 0)
    k8s.start_runner()
    k8s.gone("softly")
    k8s.gone("hardly")


def test_a_runner_killed_while_pods_start_and_while_they_go_leaves_nothing_undone(
    k8s: Cluster,
) -> None:
    names = [f"hasty-{number}" for number in range(8)]
    for name in names:
        k8s.run(name)
    until("a pod has begun", lambda: any(map(k8s.report, names)))
    k8s.kill_runner()
    k8s.start_runner()
    ips = [row["ip"] for name in names for row in k8s.ready(name, 60)["podIPs"]]
    assert len(set(ips)) == 2 * len(names)
    for name in names:
        k8s.delete(name)
    until("a pod has gone", lambda: not all(map(k8s.pod, names)))
    k8s.kill_runner()
    k8s.start_runner()
    for name in names:
        k8s.gone(name)


def test_what_happened_while_the_api_server_was_away_is_told_when_it_is_back(
    k8s: Cluster,
) -> None:
    k8s.run("busy", "sleep", "infinity")
    k8s.ready("busy")
    before = k8s.report("busy")
    assert before is not None
    server = plane.running(k8s.lab)["kube-apiserver"]
    os.kill(server, signal.SIGKILL)
    until("the server is dead", lambda: not processes.alive(server))
    os.kill(before.containers[0].pid, signal.SIGKILL)

    def again() -> bool:
        report = k8s.report("busy")
        return report is not None and report.containers[0].restarts == 1 and report.ready

    until("the container runs again", again)
    plane.wait_until_served(k8s.lab, plane.start(k8s.lab, ("kube-apiserver",)))
    until(
        "the API says so",
        lambda: k8s.status("busy")["containerStatuses"][0]["restartCount"] == 1,
        seconds=60,
    )
    ended = k8s.ready("busy")["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["exitCode"] == 128 + signal.SIGKILL
    k8s.run("next")
    k8s.ready("next", seconds=60)


# --------------------------------------------------------------------------------- the node


def node_ready(k8s: Cluster) -> str:
    node = k8s.find("/api/v1/nodes/node1") or {}
    rows = node["status"]["conditions"]
    return next(str(row["status"]) for row in rows if row["type"] == "Ready")


def test_a_node_without_a_network_is_not_ready_and_its_pods_wait(k8s: Cluster) -> None:
    folder = k8s.folders.node("node1") / "cni-conf"
    (conflist,) = folder.glob("*.conflist")
    aside = folder / "aside"
    agent = daemons.agent_pid(k8s.lab, k8s.lab.nodes[0])
    os.kill(agent, signal.SIGSTOP)  # or it would put the conflist back at once
    conflist.rename(aside)
    try:
        until("the node is not ready", lambda: node_ready(k8s) == "False")
        k8s.run("waits")
        k8s.run("goes")
        until(
            "the pod says what it waits for",
            lambda: "network not ready" in k8s.status("waits").get("message", ""),
        )
        k8s.delete("goes")
        k8s.gone("goes")
    finally:
        aside.rename(conflist)
        os.kill(agent, signal.SIGCONT)
    until("the node is ready", lambda: node_ready(k8s) == "True")
    k8s.ready("waits")


def test_the_lease_is_fresh(k8s: Cluster) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node1"

    def is_fresh() -> bool:
        renewed = datetime.fromisoformat((k8s.find(path) or {})["spec"]["renewTime"])
        return (datetime.now(UTC) - renewed).total_seconds() < 20

    until("it was renewed", is_fresh)


def test_a_deleted_node_comes_back(k8s: Cluster) -> None:
    before = (k8s.find("/api/v1/nodes/node2") or {})["metadata"]["uid"]
    k8s.send("DELETE", "/api/v1/nodes/node2")

    def back() -> bool:
        node = k8s.find("/api/v1/nodes/node2")
        return node is not None and node["metadata"]["uid"] != before

    until("there is another Node of its name", back)


# --------------------------------------------------------------------------------- its server


def test_a_log_is_followed_until_the_run_is_over(k8s: Cluster) -> None:
    script = "for i in 1 2 3 4; do echo $i; sleep 1; done"
    k8s.run("talks", "sh", "-c", script, restartPolicy="Never")
    until("it has begun", lambda: bool({"running", "terminated"} & k8s.state("talks").keys()))
    assert k8s.kubectl("logs", "-f", "talks").stdout == "1\n2\n3\n4\n"


def test_a_log_s_end_and_beginning_can_be_asked_for(k8s: Cluster) -> None:
    k8s.run("talks", "seq", "1000", restartPolicy="Never")
    until("it has ended", lambda: k8s.status("talks").get("phase") == "Succeeded")
    assert k8s.kubectl("logs", "--tail=2", "talks").stdout == "999\n1000\n"
    assert k8s.kubectl("logs", "--tail=0", "talks").stdout == ""
    assert k8s.kubectl("logs", "--limit-bytes=3", "talks").stdout == "1\n2"
    assert "hold no times" in k8s.kubectl("logs", "--timestamps", "talks").stderr
    assert "one log for all runs" in k8s.kubectl("logs", "-p", "talks").stderr


def test_exec_says_what_to_use_instead(k8s: Cluster) -> None:
    k8s.run("web")
    k8s.ready("web")
    assert "podwire lab exec" in k8s.kubectl("exec", "web", "--", "true").stderr


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_the_server_answers_its_api_server_and_no_one_else(k8s: Cluster, family: int) -> None:
    keys, address = k8s.folders.kubernetes, k8s.lab.nodes[0].ips[family]

    def ask(who: str) -> int:
        context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        if who:
            context.load_cert_chain(keys / f"{who}.crt", keys / f"{who}.key")

        def get() -> int:
            connection = http.client.HTTPSConnection(address, 10250, timeout=30, context=context)
            try:
                connection.request("GET", "/healthz")
                return connection.getresponse().status
            finally:
                connection.close()

        return namespaces.inside(k8s.lab.fabric, get)

    assert ask("kubelet-client") == 200
    for stranger in ("", "node2"):  # without a certificate, with one for another purpose
        with pytest.raises(OSError, match=r"(?i)ssl|reset|alert|remote"):
            ask(stranger)


def test_a_program_in_a_pod_talks_to_the_api_as_its_account(k8s: Cluster) -> None:
    at = "/var/run/secrets/kubernetes.io/serviceaccount"
    url = "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/default/pods"
    script = (
        f'curl -sS --noproxy "*" --cacert {at}/ca.crt'
        f' -H "Authorization: Bearer $(cat {at}/token)" {url}; echo; cat {at}/namespace'
    )
    k8s.run("client", "sh", "-c", script, restartPolicy="Never")
    until("it has ended", lambda: k8s.status("client").get("phase") == "Succeeded")
    said = k8s.kubectl("logs", "client").stdout
    assert "system:serviceaccount:default:default" in said, said
    assert said.endswith("\ndefault")


def test_fifty_pods_become_ready(k8s: Cluster) -> None:
    names = [f"many-{number}" for number in range(50)]
    began = time.monotonic()
    for number, name in enumerate(names):
        k8s.run(name, node=f"node{number % 2 + 1}")

    def left() -> int:
        rows = k8s.send("GET", _PODS)["items"]
        return sum(
            {"type": "Ready", "status": "True"}.items() <= row.items()
            for pod in rows
            if pod["metadata"]["name"] in names
            for row in pod["status"].get("conditions") or ()
        )

    until("all are ready", lambda: left() == len(names), seconds=120)
    print(f"{len(names)} pods ready after {time.monotonic() - began:.1f} s")


# ------------------------------------------------------------------------------- the agent


def test_a_node_whose_agent_is_not_ready_takes_no_pod_until_it_is(k8s: Cluster) -> None:
    node = k8s.lab.nodes[1]
    role = AGENT_ACCESS[0]
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    k8s.run("early", node=node.name)
    before = k8s.ready("early")["containerStatuses"]
    k8s.send("DELETE", f"{roles}/{role['metadata']['name']}", {})
    try:
        daemons.stop_agent(k8s.lab, node)
        daemons.start_agent(k8s.lab, node)
        k8s.run("late", node=node.name)
        until("the kubelet has seen it", lambda: k8s.report("late", node.name) is not None)
        report = k8s.report("late", node.name)
        assert report is not None
        assert report.message == f"network not ready: the agent of {node.name} is not ready"
        assert not namespaces.path(namespaces.pod_netns(k8s.lab.name, "default", "late")).exists()
        assert k8s.status("early")["containerStatuses"] == before
    finally:
        k8s.send("POST", roles, role)
    k8s.ready("late", seconds=60)
