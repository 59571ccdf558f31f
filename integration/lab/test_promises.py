"""What a running lab promises: traffic goes on, whatever happens to an agent or a ruleset.

One lab with the shop (examples/shop, its policies included) serves the whole module.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scratch import took, until

from podwire_core.nft.kernel import Kernel
from podwire_core.nft.objects import State, Table
from podwire_core.objects import ObjectName
from podwire_lab import applied
from podwire_lab.folders import Folders
from podwire_lab.lookup import find_pod
from podwire_lab.machine import cluster, daemons, namespaces
from podwire_lab.overview import Lookout
from podwire_lab.show import reachability
from podwire_lab.topology import Lab, LabNode, plan_lab
from podwire_lab.visit import run
from podwire_lab.workloads import LabPod, LabService
from podwire_policy.policies import Policies
from podwire_proxy.services import TABLES

SHOP = Path(__file__).parents[2] / "examples" / "shop"
ALL_TABLES: list[Table] = [*TABLES, *Policies("any").tables]
V4, V6 = 0, 1


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    planned = plan_lab(f"p{os.getpid()}", 2)
    try:
        cluster.up(planned, [SHOP])
        yield planned
    finally:
        cluster.down(planned.name)


def pod(lab: Lab, name: str) -> LabPod:
    with Lookout(lab) as lookout:
        lookout.look()
        return find_pod(name, lookout.snapshot.all(LabPod))


def service(lab: Lab, namespace: str, name: str) -> LabService:
    with Lookout(lab) as lookout:
        lookout.look()
        found = lookout.snapshot.get(LabService, ObjectName(namespace, name))
    assert found is not None
    return found


def netns(lab: Lab, name: str) -> str:
    return namespaces.pod_netns(lab.name, *pod(lab, name).name)


def status(lab: Lab, node: LabNode) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(daemons.agent_status(lab, node).read_bytes())
    return found


def in_force(node: LabNode) -> State:
    return namespaces.inside(node.netns, lambda: Kernel().read(ALL_TABLES))


_TALK = """
import socket, sys, time
talk = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
while True:
    began = time.monotonic()
    talk.sendall(b"hello\\n")
    answer = talk.recv(4096)
    if not answer:
        sys.exit("the connection broke")
    print(round(time.monotonic() - began, 3), answer.decode().strip(), flush=True)
    time.sleep(0.02)
"""


@contextmanager
def conversation(lab: Lab, source: str, address: str, port: int) -> Iterator[list[str]]:
    """One connection that never ceases to talk; its answers, as they come. It must not break."""
    answers: list[str] = []
    enter = ("nsenter", f"--net={namespaces.path(netns(lab, source))}")
    talk = [*enter, sys.executable, "-I", "-S", "-c", _TALK, address, str(port)]
    with subprocess.Popen(
        talk, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        stdout = client.stdout
        reader = threading.Thread(target=lambda: answers.extend(iter(stdout.readline, "")))
        reader.start()
        try:
            until("the conversation has begun", lambda: len(answers) > 3)
            yield answers
            heard = len(answers)
            until("the conversation goes on", lambda: len(answers) > heard + 3)
            assert client.poll() is None, "the conversation broke"
        finally:
            client.kill()
            reader.join()


def asks(lab: Lab, source: str, address: str, port: int, times: int = 40) -> set[str]:
    """Outcomes of many new connections."""
    answers = reachability.probe(netns(lab, source), [("tcp", address, port)] * times, timeout=5)
    return {outcome for outcome, _ in answers}


def test_killed_agents_stop_no_traffic_and_restart_without_a_transaction(lab: Lab) -> None:
    api = service(lab, "shop", "api").cluster_ips
    with (
        conversation(lab, "deploy/frontend", api[V4], 80),
        conversation(lab, "deploy/frontend", api[V6], 80),
    ):
        before = {node.name: in_force(node) for node in lab.nodes}
        for node in lab.nodes:
            pid = daemons.agent_pid(lab, node)
            assert pid  # 0 would be this very test
            os.kill(pid, signal.SIGKILL)
        until("the agents are dead", lambda: not any(daemons.agent_pid(lab, n) for n in lab.nodes))
        assert asks(lab, "deploy/frontend", api[V4], 80) == {"answered"}
        assert asks(lab, "visitor", api[V4], 80, times=4) == {"silent"}
        for node in lab.nodes:
            daemons.start_agent(lab, node)
        cluster.wait_until_ready(lab)
        for node in lab.nodes:
            assert set(status(lab, node)["transactions"].values()) == {0}
            assert in_force(node) == before[node.name]
        assert asks(lab, "deploy/frontend", api[V4], 80) == {"answered"}


def repaired(node: LabNode) -> float:
    """Seconds until rules that someone flushed are back."""
    before = in_force(node)
    namespaces.inside(node.netns, lambda: subprocess.run(["nft", "flush", "ruleset"], check=True))
    return took("the rules are back", lambda: in_force(node) == before)


def test_a_flushed_ruleset_is_back_within_a_second(lab: Lab) -> None:
    api = service(lab, "shop", "api").cluster_ips[V4]
    with conversation(lab, "deploy/frontend", api, 80):
        for node in lab.nodes:
            assert any(repaired(node) < 1 for _ in range(5)), "never within a second"
        assert asks(lab, "deploy/frontend", api, 80) == {"answered"}


def test_names_resolve_in_every_spelling(lab: Lab) -> None:
    for name in ("api", "api.shop", "api.shop.svc.cluster.local"):
        found = run(lab, "deploy/frontend", ["getent", "ahostsv4", name])
        assert found.stdout.startswith(service(lab, "shop", "api").cluster_ips[V4]), name
    database = run(lab, "deploy/api", ["getent", "ahostsv4", "database.data"])
    assert database.stdout.startswith(service(lab, "data", "database").cluster_ips[V4])
    pods = run(lab, "deploy/api", ["getent", "ahostsv4", "database-pods.data"])
    assert pods.stdout.startswith(pod(lab, "database-0").ips[V4])
    assert run(lab, "deploy/frontend", ["getent", "hosts", "nonsense"]).returncode == 2


def test_the_world_reaches_every_nodes_nodeport(lab: Lab) -> None:
    for node in lab.nodes:
        for address in node.ips[:1]:
            answers = reachability.probe(lab.fabric, [("tcp", address, 30080)] * 40, timeout=5)
            assert {outcome for outcome, _ in answers} == {"answered"}
            assert {line.split()[0] for _, line in answers} == {
                f"pod={each}" for each in frontends(lab)
            }


def frontends(lab: Lab) -> list[ObjectName]:
    with Lookout(lab) as lookout:
        lookout.look()
        return [p.name for p in lookout.snapshot.all(LabPod) if p.labels.get("app") == "frontend"]


def test_an_echo_names_its_pod_its_node_and_its_client(lab: Lab) -> None:
    frontend = pod(lab, "deploy/frontend")
    done = run(lab, "deploy/frontend", ["curl", "--noproxy", "*", "-s", "-4", "http://api"])
    words = dict(word.split("=") for word in done.stdout.split())
    assert words["pod"].startswith("shop/api-")
    assert words["node"] in {"node1", "node2"}
    assert words["client"].rpartition(":")[0] == frontend.ips[V4]


def test_scaling_moves_endpoints_and_breaks_no_conversation(lab: Lab) -> None:
    api = service(lab, "shop", "api").cluster_ips[V4]
    deployment = (SHOP / "api.yaml").read_text()

    def scale(count: int) -> None:
        scaled = Folders.of(lab.name).root / "scaled.yaml"
        scaled.write_text(deployment.replace("replicas: 3", f"replicas: {count}"))
        applied.apply(Folders.of(lab.name), applied.read([scaled]).manifests)
        cluster.wait_until_ready(lab)

    with conversation(lab, "deploy/frontend", api, 80) as answers:
        scale(8)
        until("eight answer", lambda: len(answering(lab, api)) == 8)
        assert len({line.split()[1] for line in answers}) == 1, "a conversation keeps its pod"
    scale(1)
    until("one answers", lambda: len(answering(lab, api)) == 1)
    scale(3)
    until("three answer", lambda: len(answering(lab, api)) == 3)


def answering(lab: Lab, address: str) -> set[str]:
    answers = reachability.probe(netns(lab, "deploy/frontend"), [("tcp", address, 80)] * 120, 3)
    return {line.split()[0] for outcome, line in answers if outcome == "answered"}


def test_a_service_without_endpoints_refuses_at_once(lab: Lab) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "nobody", "namespace": "default"},
        "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 80}]},
    }
    path = Folders.of(lab.name).root / "nobody.json"
    path.write_bytes(msgspec.json.encode(manifest))
    applied.apply(Folders.of(lab.name), applied.read([path]).manifests)
    cluster.wait_until_ready(lab)
    address = service(lab, "default", "nobody").cluster_ips[V4]
    until("it is refused", lambda: asks(lab, "visitor", address, 80, times=5) == {"refused"})


def test_every_cell_is_the_oracles(lab: Lab) -> None:
    with Lookout(lab) as lookout:
        lookout.look()
        answers = reachability.ask(lab, lookout.snapshot)
    assert list(reachability.explain_differences(answers)) == []
    assert set(answers.expected.values()) == {True, False}


@pytest.fixture
def large() -> Iterator[Lab]:
    planned = plan_lab(f"l{os.getpid()}", 5)
    yield planned
    cluster.down(planned.name)


@pytest.mark.timeout(900)
def test_a_hundred_pods_on_five_nodes_all_reach_each_other(large: Lab, tmp_path: Path) -> None:
    web = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 100,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "ports": [{"containerPort": 8080}]}]},
            },
        },
    }
    path = tmp_path / "web.json"
    path.write_bytes(msgspec.json.encode(web))
    began = time.monotonic()
    cluster.up(large, [path], timeout=300)
    print(f"up after {time.monotonic() - began:.1f} s")
    with Lookout(large) as lookout:
        lookout.look()
        answers = reachability.ask(large, lookout.snapshot, patience=60)
    assert len(answers.reached) == 100 * 99 * 2
    assert answers.differences == []
    assert all(answers.reached.values())


def test_nothing_is_left_of_a_lab(large: Lab, tmp_path: Path) -> None:
    del tmp_path
    before = processes_of(large.name)
    assert before == []
    cluster.up(large, [SHOP / "visitor.yaml"])
    assert processes_of(large.name)
    assert cluster.down(large.name)
    assert processes_of(large.name) == []
    assert namespaces.named(large.prefix) == ()
    assert not Folders.of(large.name).root.exists()
    assert not cluster.down(large.name), "twice is silent"


def processes_of(name: str) -> list[int]:
    marks = (f"PODWIRE_ROLE={name}/".encode(), f"PODWIRE_CONTAINER={name}/".encode())
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            pairs = environ.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(pair.startswith(marks) for pair in pairs):
            found.append(int(environ.parent.name))
    return found
