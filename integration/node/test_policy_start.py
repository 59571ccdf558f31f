"""A pod's policies are in force before its first packet, whoever shoots at its address.

The shots begin before its ADD and go on after it; see firing_range. A pod that the feed has not
told of is denied everything, and open as its policies say when it has.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from attaching_node import AttachingNode
from firing_range import TARGET, Range, attach, guard, listening, reaches
from flood import Flood, Witness
from scratch import Netns, until

ROUNDS = 40


@pytest.fixture
def node(node: AttachingNode) -> AttachingNode:
    """A node whose peer reaches pods by both families, and the pods it."""
    node.peer.run("ip", "-6", "route", "add", "fd00:10:244::/48", "via", "fd00:77::1")
    return node


@pytest.fixture
def range_(node: AttachingNode, new_netns: Callable[[], Netns]) -> Range:
    guard(node)
    node.start()
    return Range(node, new_netns)


def test_not_one_packet_of_a_flood_gets_through_while_a_pod_comes(
    range_: Range, node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    """Each fifth pod is open, and shows that the flood would arrive; it has the same address."""
    shots = list(zip(TARGET, range_.attacker.addresses, strict=True))
    for number in range(ROUNDS):
        node.put_pod(f"pod{number}", app="open" if number % 5 == 0 else "guarded")
    pod = new_netns()
    with ExitStack() as stack:
        floods = stack.enter_context(range_.under_fire(TARGET))
        for number in range(ROUNDS):
            is_open = number % 5 == 0
            dropped = [range_.dropped(each) for each in TARGET]
            with (
                Witness(pod) as within,
                Witness(range_.attacker.netns) as attacked,
                Witness(node.peer) as outside,
                Flood(pod, shots) as own,
                listening(pod),
            ):
                attach(node, pod, f"pod{number}", TARGET)
                for address, before in zip(TARGET, dropped, strict=True):
                    assert range_.friend_reaches(address, before), f"{number}: an allowed peer"
                for flood in (*floods, own):
                    flood.wait_for()
                came = within.seen(*range_.strangers)
                left = attacked.seen(*TARGET) + outside.seen(*TARGET)
                assert (came > 0, left > 0) == (is_open, is_open), (number, came, left)
                # DEL also forgets the connections of an open pod before the next one comes.
                assert node.call("DEL", pod).exit_code == 0


def test_a_pod_nobody_told_of_is_denied_everything_until_it_is_known(
    range_: Range, node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    targets = [(f"10.244.1.{n}", f"fd00:10:244:1::{n}") for n in (201, 202, 203)]
    pods = [new_netns() for _ in targets]
    friend = range_.friend
    with ExitStack() as stack:
        floods = stack.enter_context(range_.under_fire(*targets))
        within = [stack.enter_context(Witness(pod)) for pod in pods]
        attacked = stack.enter_context(Witness(range_.attacker.netns))
        for pod, own in zip(pods, targets, strict=True):
            stack.enter_context(listening(pod))
            shots = list(zip(own, range_.attacker.addresses, strict=True))
            floods.append(stack.enter_context(Flood(pod, shots)))
        with ThreadPoolExecutor() as pool:
            calls = [
                pool.submit(attach, node, pod, f"late{number}", wanted)
                for number, (pod, wanted) in enumerate(zip(pods, targets, strict=True))
            ]
            for each in calls:
                each.result()
        for number in range(3):
            assert node.log().count(f"Pod default/late{number} is not known yet") == 1
            assert any(f"default/late{number} is unknown" in each for each in problems(node))
        everyone = (*range_.strangers, *range_.friend.addresses)
        assert all(range_.is_denied(friend, ip) for ips in targets for ip in ips)
        for flood in floods:
            flood.wait_for()
        sources = [ip for ips in targets for ip in ips]
        assert ([each.seen(*everyone) for each in within], attacked.seen(*sources)) == ([0] * 3, 0)

        # Known, each as its own labels and no others say.
        node.put_pod("late0", app="guarded")
        until("a friend gets through", lambda: reaches(friend.netns, targets[0][0], 1))
        assert reaches(friend.netns, targets[0][1])
        node.put_pod("late1", app="open")
        until("anyone gets through", lambda: within[1].seen(*range_.attacker.addresses) > 0)
        for flood in floods:
            flood.wait_for()
        assert within[0].seen(*range_.strangers) == 0
        assert attacked.seen(*targets[0]) == 0
        assert attacked.seen(*targets[1]) > 0
        assert within[2].seen(*everyone) == 0, "it is still unknown"
        until("the others are told", lambda: len(problems(node)) == 1)


def problems(node: AttachingNode) -> list[str]:
    return [each for each in node.status().get("problems", ()) if "is unknown" in each]


def test_a_pod_that_is_denied_until_known_stays_so_over_a_restart(
    range_: Range, node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    pod = new_netns()
    with listening(pod), Witness(pod) as within:
        attach(node, pod, "late", TARGET)
        with range_.under_fire(TARGET) as floods:
            node.stop()
            node.start()
            for flood in floods:
                flood.wait_for()
            assert range_.is_denied(range_.friend, TARGET[0])
            assert within.seen(*range_.strangers, *range_.friend.addresses) == 0
            node.put_pod("late", app="guarded")
            until("a friend gets through", lambda: reaches(range_.friend.netns, TARGET[0], 1))
            assert within.seen(*range_.strangers) == 0


def test_a_cluster_policy_alone_makes_an_unknown_pod_wait_denied(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.put(
        "ClusterNetworkPolicy",
        "tenants",
        "policy.networking.k8s.io/v1alpha2",
        spec={
            "tier": "Admin",
            "priority": 10,
            "subject": {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}},
            "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}],
        },
    )
    node.start()
    range_ = Range(node, new_netns)
    pod = new_netns()
    with range_.under_fire(TARGET) as floods, Witness(pod) as within, listening(pod):
        begun = time.monotonic()
        attach(node, pod, "late", TARGET)
        assert time.monotonic() - begun > 4
        for flood in floods:
            flood.wait_for()
        assert within.seen(*range_.strangers) == 0
        node.put_pod("late")
        until("it is open to all", lambda: within.seen(*range_.strangers) > 0)


@pytest.mark.parametrize("app", ["guarded", "open"])
def test_an_agent_that_is_killed_while_pods_come_lets_nothing_through(
    range_: Range, node: AttachingNode, new_netns: Callable[[], Netns], app: str
) -> None:
    """Whatever the ADD came to; open pods show that something would come."""
    chance = random.Random(6)
    came = 0
    with range_.under_fire(TARGET) as floods, ThreadPoolExecutor() as pool:
        for number in range(8):
            node.put_pod(f"pod{number}", app=app)
            pod = new_netns()
            keys = {"runtimeConfig": {"ips": list(TARGET)}}
            with Witness(pod) as within, listening(pod):
                call = pool.submit(node.call, "ADD", pod, f"pod{number}", **keys)  # type: ignore[arg-type] # keys of the call
                time.sleep(chance.random() / 50)
                node.stop(signal.SIGKILL)
                node.start()
                if call.result().exit_code:
                    attach(node, pod, f"pod{number}", TARGET)
                assert reaches(range_.friend.netns, TARGET[0])
                for flood in floods:
                    flood.wait_for()
                came += within.seen(*range_.strangers)
                assert node.call("DEL", pod).exit_code == 0
    assert (came > 0) == (app == "open")
