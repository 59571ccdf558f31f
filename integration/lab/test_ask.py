"""`podwire lab ask`: each node's agent answers for its own node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podwire_lab.machine import cluster, daemons
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


def test_the_questions_own_mistakes_are_passed_on(lab: Lab) -> None:
    code, output = ask(lab, "node1", "policy", "audit", "/nowhere.yaml")
    assert code == 2
    assert "/nowhere.yaml: No such file" in output
