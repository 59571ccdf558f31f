"""A node's runner with the real plugin: pods start, change hands, and leave nothing."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scratch import until

from podwire_core.files import write_json
from podwire_lab.folders import Folders
from podwire_lab.machine import daemons, namespaces, processes
from podwire_lab.report import Phase, PodReport
from podwire_lab.topology import Lab


class Node:
    """The lab's node as a test sees it: objects in, reports out."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.node = lab, lab.nodes[0]
        self.folders = Folders.of(lab.name)
        self.agent_is_ready(ready=True)

    def agent_is_ready(self, *, ready: bool) -> None:
        """No agent runs: the test says what one would say, and lives as long."""
        write_json(daemons.agent_status(self.lab, self.node), {"pid": os.getpid(), "ready": ready})

    def start(self) -> None:
        daemons.start_runner(self.lab, self.node)

    def kill(self) -> None:
        until("the runner runs", lambda: daemons.runner_pid(self.lab, self.node) != 0)
        pid = daemons.runner_pid(self.lab, self.node)
        os.kill(pid, signal.SIGKILL)
        until("the runner is dead", lambda: not processes.alive(pid))

    def want(self, name: str, uid: str = "u1", **spec: Any) -> None:
        spec = {"nodeName": self.node.name, "containers": [{"name": "main"}], **spec}
        metadata = {"name": name, "namespace": "default", "uid": uid}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        write_json(self.folders.objects / f"Pod.default.{name}.json", document)

    def unwant(self, name: str) -> None:
        (self.folders.objects / f"Pod.default.{name}.json").unlink()

    def report(self, name: str) -> PodReport | None:
        file = self.folders.reports / self.node.name / f"default.{name}.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=PodReport)
        except FileNotFoundError:
            return None

    def ready(self, name: str, uid: str = "u1") -> PodReport:
        def holds() -> bool:
            report = self.report(name)
            return report is not None and report.uid == uid and report.ready

        until(f"{name} is ready", holds)
        report = self.report(name)
        assert report is not None
        return report

    def gone(self, name: str) -> None:
        until(f"the report of {name} is gone", lambda: self.report(name) is None)
        assert not namespaces.path(namespaces.pod_netns(self.lab.name, "default", name)).exists()
        assert not self.folders.pod("default", name).exists()

    def pings(self, address: str) -> bool:
        argv = ["ip", "netns", "exec", self.node.netns, "ping", "-c1", "-W1", address]
        return subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.fixture
def node(wired: Lab) -> Node:
    return Node(wired)


def test_a_pod_gets_addresses_of_both_families_that_answer(node: Node) -> None:
    node.want("web", containers=[{"name": "main", "ports": [{"containerPort": 80}]}])
    node.start()
    report = node.ready("web")
    assert len(report.pod_ips) == 2
    assert all(map(node.pings, report.pod_ips))


def test_an_unwanted_pod_leaves_nothing(node: Node) -> None:
    node.want("web", containers=[{"name": "main", "command": ["sleep", "infinity"]}])
    node.start()
    report = node.ready("web")
    node.unwant("web")
    node.gone("web")
    assert not processes.alive(report.containers[0].pid)


def test_a_pod_of_the_same_name_and_another_uid_is_another_pod(node: Node) -> None:
    node.want("web")
    node.start()
    first = node.ready("web")
    node.want("web", uid="u2")
    second = node.ready("web", uid="u2")
    assert first.containers[0].pid != second.containers[0].pid


def test_a_killed_runner_s_pods_live_on_with_the_next_one(node: Node) -> None:
    node.want("web", containers=[{"name": "main", "ports": [{"containerPort": 80}]}])
    node.want("tool", containers=[{"name": "main", "command": ["sleep", "infinity"]}])
    node.want(
        "own", hostNetwork=True, containers=[{"name": "main", "command": ["sleep", "infinity"]}]
    )
    names = ("web", "tool", "own")
    node.start()
    before = [node.ready(name) for name in names]
    node.kill()
    node.want("later")
    node.start()
    node.ready("later")
    assert [node.ready(name) for name in names] == before
    for name in names:
        node.unwant(name)
        node.gone(name)
    assert not any(processes.alive(report.containers[0].pid) for report in before)


def test_a_pod_unwanted_while_no_runner_was_there_is_ended_by_the_next_one(node: Node) -> None:
    node.want("web")
    node.start()
    report = node.ready("web")
    node.kill()
    node.unwant("web")
    node.start()
    node.gone("web")
    assert not processes.alive(report.containers[0].pid)


def test_a_runner_killed_while_pods_start_leaves_them_to_the_next_one(node: Node) -> None:
    names = [f"web-{number}" for number in range(6)]
    for name in names:
        node.want(name)
    node.start()
    until("a pod has begun", lambda: any(map(node.report, names)))
    node.kill()
    node.start()
    ips = [ip for name in names for ip in node.ready(name).pod_ips]
    assert len(set(ips)) == 2 * len(names)
    for name in names:
        node.unwant(name)
    for name in names:
        node.gone(name)


def test_a_failing_plugin_is_in_the_report_and_tried_again(node: Node) -> None:
    state = node.folders.node(node.node.name) / "cni"
    state.write_text("a file where the plugin wants a folder")
    node.want("web")
    node.want("own", hostNetwork=True)
    node.start()
    node.ready("own")

    def told() -> bool:
        report = node.report("web")
        return report is not None and "CNI ADD" in report.message

    until("the report tells of the plugin's error", told)
    state.unlink()
    assert node.ready("web").message == ""


def test_a_pod_that_ends_well_has_succeeded_and_its_network_is_gone(node: Node) -> None:
    script = "echo $POD_IP $NODE_NAME"
    node.want(
        "job", restartPolicy="Never", containers=[{"name": "main", "command": ["sh", "-c", script]}]
    )
    node.start()

    def done() -> bool:
        report = node.report("job")
        return report is not None and report.phase is Phase.SUCCEEDED

    until("the job has succeeded", done)
    netns = namespaces.path(namespaces.pod_netns(node.lab.name, "default", "job"))
    until("its namespace is gone", lambda: not netns.exists())
    report = node.report("job")
    assert report is not None
    log = node.folders.pod("default", "job") / "main.log"
    assert log.read_text() == f"{report.pod_ips[0]} node1\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_readiness_follows_the_probe(node: Node, tmp_path: Path) -> None:
    flag = tmp_path / "fine"
    probe = {
        "exec": {"command": ["grep", "-q", "fine", "/run/podwire-lab-probe"]},
        "periodSeconds": 1,
    }
    script = (
        f"mount -t tmpfs t /run; while [ ! -e {flag} ]; do sleep 0.1; done; "
        "echo fine > /run/podwire-lab-probe; sleep 600"
    )
    command = ["sh", "-c", script]
    node.want("slow", containers=[{"name": "main", "command": command, "readinessProbe": probe}])
    node.start()
    until("it runs", lambda: (r := node.report("slow")) is not None and r.phase is Phase.RUNNING)
    report = node.report("slow")
    assert report is not None
    assert not report.ready
    flag.touch()
    node.ready("slow")


def test_no_pod_is_let_in_before_the_agent_is_ready_and_none_ends_when_it_is_not(
    node: Node,
) -> None:
    node.start()
    node.want("first")
    (main,) = node.ready("first").containers
    node.agent_is_ready(ready=False)
    node.want("second")
    until("the runner has seen it", lambda: node.report("second") is not None)
    waiting = node.report("second")
    assert waiting is not None
    name = node.node.name
    assert waiting.message == f"network not ready: the agent of {name} is not ready"
    assert not namespaces.path(namespaces.pod_netns(node.lab.name, "default", "second")).exists()
    assert node.ready("first").containers == (main,)
    node.agent_is_ready(ready=True)
    node.ready("second")
