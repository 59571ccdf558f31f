"""`podwire lab ask`: each node's agent answers for its own node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scratch import until

from podwire_core.objects import Pod
from podwire_lab.machine import cluster, daemons, namespaces
from podwire_lab.show import reachability
from podwire_lab.topology import Lab, plan_lab

SHOP = Path(__file__).parents[2] / "examples" / "shop"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    planned = plan_lab(f"q{os.getpid()}", 2)
    try:
        cluster.up(planned, [SHOP])
        yield planned
    finally:
        cluster.down(planned.name)


def ask(lab: Lab, node: str, *question: str) -> tuple[int, str]:
    argv = [*daemons.podwire_argv(), "lab", "ask", "--name", lab.name, node, *question]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("source", "destination", "code"),
    [
        ("shop/frontend", "shop/api:http", 0),
        ("default/visitor", "shop/api:http", 1),
        ("default/visitor", "shop/frontend:80", 0),
        ("shop/frontend", "data/database", 1),
    ],
)
def test_every_node_gives_the_same_verdict_and_finds_its_kernel_in_order(
    lab: Lab, source: str, destination: str, code: int
) -> None:
    for node in lab.nodes:
        found, output = ask(lab, node.name, "explain", source, destination, "--json")
        answer: dict[str, Any] = json.loads(output)
        assert found == code, output
        assert answer["node"] == node.name
        assert not any(flow["differs"] for flow in answer["flows"])


def test_a_node_that_is_not_there_is_told_with_those_that_are(lab: Lab) -> None:
    code, output = ask(lab, "node9", "explain", "a/b", "c/d")
    assert code == 1
    assert "has no node 'node9': it has node1, node2" in output


def test_a_drop_is_found_on_whatever_node_it_was_made(lab: Lab) -> None:
    """Ingress is dropped on the receiver's node: whoever asks all nodes need not know which."""
    pod = namespaces.pod_netns(lab.name, "default", "visitor")
    snapshot = reachability.as_agents_see(lab)
    homes = {}
    for target in snapshot.all(Pod):
        if target.labels.get("app") == "api":
            reachability.probe(pod, [("tcp", target.ips[0], 8080)])
            homes[target.name.name] = target.spec.node_name
    assert len(set(homes.values())) == 2
    question = ("observe", "--pod", "default/visitor", "--port", "8080", "--last", "50", "--json")

    def heard() -> dict[str, str]:
        code, output = ask(lab, "all", *question)
        assert code == 0
        flows = [json.loads(line) for line in output.splitlines()]
        assert [each["time"] for each in flows] == sorted(each["time"] for each in flows)
        return {each["destination"]["pod_name"]: each["node_name"] for each in flows}

    until("each pod's node tells of it", lambda: heard() == homes)
    code, output = ask(lab, "node1,node2", *question[:-1])
    assert code == 0
    assert " node1 default/visitor" in output
    assert " node2 default/visitor" in output


def test_of_several_nodes_those_answer_that_have_an_end(lab: Lab) -> None:
    code, output = ask(lab, "all", "explain", "visitor", "data/database", "--json")
    nodes = [each.name for each in lab.nodes]
    homes = {str(pod.name): pod.spec.node_name for pod in reachability.as_agents_see(lab).all(Pod)}
    ends = {homes["default/visitor"], homes["data/database-0"]}
    decoder, answers = json.JSONDecoder(), []
    while output.strip():
        answer, end = decoder.raw_decode(output.lstrip())
        answers.append(answer)
        output = output.lstrip()[end:]
    assert code == 1
    assert [each["node"] for each in answers] == [node for node in nodes if node in ends]


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_a_nodes_port_is_judged_as_its_endpoints_see_it(lab: Lab, node: str) -> None:
    """What the kernel does with each, and what the text says, never differ."""
    address = next(each.ips[0] for each in lab.nodes if each.name == node)
    for asked in lab.nodes:
        question = ("explain", "visitor", f"{address}:30080", "--json")
        code, output = ask(lab, asked.name, *question)
        assert code in {0, 1}, output
        flows = json.loads(output)["flows"]
        assert {each["dialled"] for each in flows} == {f"Service shop/frontend {address}:30080"}
        assert {each["seenAs"] for each in flows} == {"", address}


def test_an_agent_that_does_not_run_is_told_with_what_starts_it(lab: Lab) -> None:
    node = lab.nodes[1]
    daemons.stop_agent(lab, node)
    try:
        code, output = ask(lab, node.name, "observe")
        assert code == 2
        assert f"podwire lab agent start {node.name} --name {lab.name}" in output
        code, output = ask(lab, "all", "observe", "--json")
        assert code == 0
        assert "is not asked" in output
    finally:
        cluster.restart_agent(lab, node.name)


def test_the_questions_own_mistakes_are_passed_on(lab: Lab) -> None:
    code, output = ask(lab, "node1", "policy", "audit", "/nowhere.yaml")
    assert code == 2
    assert "/nowhere.yaml: No such file" in output


def test_the_doctor_looks_at_one_node_from_inside_it(lab: Lab) -> None:
    code, output = ask(lab, "node1", "doctor", "--json")
    rows = {row["name"]: row for row in json.loads(output)["checks"]}
    assert code == 0, output
    for name in ("forwarding", "agent", "agent's problems", "nftables"):
        assert rows[name]["health"] == "ok", rows[name]
    assert "node1" in rows["agent"]["seen"]
    assert rows["canary IPv4"]["health"] == "not used", "nftables serves this lab"
    code, output = ask(lab, "all", "doctor")
    assert code == 2
    assert "doctor looks at one node" in output


def test_a_lab_of_nftables_has_no_maps_to_dump(lab: Lab) -> None:
    code, output = ask(lab, "node1", "dump", "ebpf", "--folder", "/sys/fs/bpf/podwire-none")
    assert code == 1
    assert "no maps of this version are pinned" in output
    code, output = ask(lab, "node1", "observe", "--type", "trace-sock", "--follow")
    assert code == 1
    assert "proxyMode is nftables, and has to be ebpf or auto" in output
