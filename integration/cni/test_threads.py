"""The plugin as the agent runs it: many calls at once in the threads of one process."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from podwire_cni import plugin

from .conftest import CLEAN, Node, Pod, addresses

MakePod = Callable[[], Pod]
DRIVER = str(Path(__file__).with_name("thread_driver.py"))
PACKAGE = str(Path(plugin.__file__).parents[1])
HEALTHY = ("ADD", "CHECK")


def drive(
    node: Node, pods: Sequence[Pod], commands: Sequence[str], threads: int = 16, **keys: object
) -> dict[str, Any]:
    """Each pod's commands in order, the pods side by side; what the driver tells."""
    calls = [
        {
            "environ": pod.variables() | {"CNI_PATH": "/opt/cni/bin"},
            "config": node.config(**keys),
            "commands": list(commands),
        }
        for pod in pods
    ]
    done = subprocess.run(
        ["nsenter", f"--net={node.namespace.path}", sys.executable, "-W", "error", DRIVER],
        input=json.dumps({"pods": calls, "threads": threads}),
        env={"PYTHONPATH": PACKAGE},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    told: dict[str, Any] = json.loads(done.stdout)
    assert len(told["namespaces"]) == 1, "a thread is still in a pod"
    assert told["files"] == 0
    return told


def test_pods_come_are_checked_and_go_side_by_side(node: Node, make_pod: MakePod) -> None:
    pods = [make_pod() for _ in range(16)]
    life = (*HEALTHY * 2, "DEL") * 8
    assert drive(node, pods, life)["failed"] == []
    assert node.traces() == CLEAN


def test_pods_that_threads_wired_are_as_any_other(node: Node, make_pod: MakePod) -> None:
    pods = [make_pod() for _ in range(8)]
    assert drive(node, pods, HEALTHY)["failed"] == []
    results = [node.add(pod) for pod in pods[:1]]  # again, by a process of its own
    assert all(node.namespace.pings(address) for each in results for address in addresses(each))
    assert sorted(node.leases()) == sorted(pod.container for pod in pods)
    assert drive(node, pods, ("DEL", "DEL"))["failed"] == []
    assert node.traces() == CLEAN


def test_one_container_again_and_again_while_its_old_link_is_still_dying(
    node: Node, pod: Pod
) -> None:
    life = (*HEALTHY, "DEL") * 30
    assert drive(node, [pod], life, threads=1)["failed"] == []
    assert node.traces() == CLEAN


def test_one_containers_calls_at_once_leave_it_whole_or_gone(node: Node, pod: Pod) -> None:
    # The agent gives a container's calls turns; a runtime that starts processes does not.
    drive(node, [pod] * 8, ("ADD",), threads=8)
    result = node.add(pod)
    assert node.call("CHECK", pod, prevResult=result).exit_code == 0
    drive(node, [pod] * 8, ("ADD", "DEL"), threads=8)
    assert node.call("DEL", pod).exit_code == 0
    assert node.traces() == CLEAN


def test_a_namespace_that_dies_meanwhile_harms_nobody_else(node: Node, make_pod: MakePod) -> None:
    dying, living = make_pod(), make_pod()
    node.add(dying)
    dying.namespace.remove()
    told = drive(node, [dying, living], ("ADD", "CHECK", "DEL"), threads=2)
    assert told["failed"]
    assert all(each.startswith(dying.container) for each in told["failed"])
    assert node.traces() == CLEAN
