"""What a failure in the middle leaves: nothing at once, or nothing after the next call."""

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import CLEAN, Answer, Node, Pod, addresses

MakePod = Callable[[], Pod]
pytestmark = pytest.mark.timeout(900)  # some 35 steps, five processes each
LAUNCHER = str(Path(__file__).with_name("faulty_launcher.py"))
MOST_STEPS = 60


def adds_that_fail(node: Node, pod: Pod, fault: str) -> Iterator[tuple[int, Answer]]:
    """ADD with the fault at step 0, 1, 2 … until one has too few steps to fail.

    The consumer cleans up before it asks for the next.
    """
    for step in itertools.count():
        answer = node.call("ADD", pod, launcher=(LAUNCHER, fault, str(step)))
        if answer.exit_code == 0:
            assert step > 20, "the fault never reached the interesting steps"
            return
        assert step < MOST_STEPS
        yield step, answer


def test_a_refused_step_is_undone_at_once(node: Node, pod: Pod) -> None:
    for step, answer in adds_that_fail(node, pod, "refuse"):
        assert answer.stderr == "", step
        assert answer.code == 103, (step, answer)
        assert "No buffer space" in answer.json["msg"]
        assert node.traces() == CLEAN, (step, answer)
        assert [link["ifname"] for link in pod.namespace.ip("link")] == ["lo"]


def test_a_terminated_add_is_undone_before_it_exits(node: Node, pod: Pod) -> None:
    for step, answer in adds_that_fail(node, pod, "term"):
        assert answer.code == 11, (step, answer)
        assert node.traces() == CLEAN, (step, answer)


@pytest.mark.parametrize("cure", ["DEL", "DEL with the pod gone", "GC", "ADD again"])
def test_a_killed_add_is_cleaned_up_by(node: Node, make_pod: MakePod, pod: Pod, cure: str) -> None:
    bystander = make_pod()
    result = node.add(bystander)
    before = node.traces()
    for step, answer in adds_that_fail(node, pod, "kill"):
        assert (answer.exit_code, answer.stdout) == (-9, ""), (step, answer)
        apply_cure(node, pod, bystander, cure)
        assert node.traces() == before, step
        assert node.call("CHECK", bystander, prevResult=result).exit_code == 0


def apply_cure(node: Node, pod: Pod, bystander: Pod, cure: str) -> None:
    if cure == "ADD again":
        again = node.add(pod)
        assert node.call("CHECK", pod, prevResult=again).exit_code == 0
        assert all(node.namespace.pings(address) for address in addresses(again))
        assert node.call("DEL", pod).exit_code == 0
    elif cure == "GC":
        valid = [{"containerID": bystander.container, "ifname": "eth0"}]
        assert node.call("GC", **{"cni.dev/valid-attachments": valid}).exit_code == 0
    else:
        netns = "" if cure == "DEL with the pod gone" else None
        assert node.call("DEL", pod, netns=netns).exit_code == 0


def test_an_add_killed_at_any_time_is_cleaned_up_by_del(node: Node, pod: Pod) -> None:
    survived = 0
    for milliseconds in range(0, 400, 10):
        process = node.start("ADD", pod)
        try:
            process.communicate(timeout=milliseconds / 1000)
            survived += 1
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        assert node.call("DEL", pod).exit_code == 0
        assert node.traces() == CLEAN, milliseconds
        if survived == 3:
            return


def test_del_takes_the_network_away_although_the_leases_cannot_be_read(
    node: Node, pod: Pod
) -> None:
    node.add(pod)
    (node.state_dir / "leases.db").write_bytes(b"no database" * 1000)
    answer = node.call("DEL", pod)
    assert answer.code == 5
    assert [link["ifname"] for link in pod.namespace.ip("link")] == ["lo"]
