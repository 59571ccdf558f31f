"""Calls of other processes in the middle of a call: the pod is whole, or it is gone.

A Host is asked at the two moments of a call that others may fall into; here it answers with them.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from scratch import Netns

from podwire_cni import plugin
from podwire_cni.host import Host
from podwire_cni.leases import Lease

from .conftest import CLEAN, Node, Pod

TRY_AGAIN = 11


class Crowd(Host):
    """Lets other calls happen: at(moment) is called in the middle of ours, once."""

    def __init__(self, moment: str, happens: Callable[[], None]) -> None:
        self._moment = moment
        self._happens = happens
        self.turns: list[str] = []

    def admit(self, lease: Lease, deadline: float, uid: str = "") -> None:
        """Between the lease and the link."""
        del lease, deadline, uid
        self._at("admit")

    def forget(self, lease: Lease) -> None:
        """Between the link's end and the lease's."""
        del lease
        self._at("forget")

    def turn(self, container: str, deadline: float) -> AbstractContextManager[None]:
        """Who is worked for."""
        assert deadline > time.monotonic()
        return self._turn(container)

    @contextmanager
    def _turn(self, container: str) -> Iterator[None]:
        self.turns.append(container)
        yield

    def _at(self, moment: str) -> None:
        if moment == self._moment:
            self._moment = ""
            self._happens()


def call(
    node: Node, command: str, pod: Pod | None = None, host: Host | None = None, **keys: object
) -> int:
    """A call in this process; CNI's error code, 0 for success."""
    environ = {"CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin"}
    environ |= pod.variables() if pod else {}
    stdin = json.dumps(node.config(**keys)).encode()
    with Netns(node.namespace.name).inside():
        outcome = plugin.run(environ, stdin, host or Host())
    return int(json.loads(outcome.stdout)["code"]) if outcome.exit_code else 0


@pytest.mark.parametrize("command", ["DEL", "GC"])
def test_an_add_whose_lease_is_taken_meanwhile_undoes_itself(
    node: Node, pod: Pod, command: str
) -> None:
    def overtake() -> None:
        who = pod if command == "DEL" else None
        assert call(node, command, who, **{"cni.dev/valid-attachments": []}) == 0

    assert call(node, "ADD", pod, Crowd("admit", overtake)) == TRY_AGAIN
    assert node.traces() == CLEAN


@pytest.mark.parametrize("command", ["DEL", "GC"])
def test_a_link_that_is_made_while_its_lease_goes_goes_too(
    node: Node, pod: Pod, command: str
) -> None:
    assert call(node, "ADD", pod) == 0
    crowd = Crowd("forget", lambda: _expect(call(node, "ADD", pod), 0))
    who = pod if command == "DEL" else None
    assert call(node, command, who, crowd, **{"cni.dev/valid-attachments": []}) == 0
    assert node.traces() == CLEAN


def test_gc_takes_the_turn_of_each_container_that_it_collects(
    node: Node, make_pod: Callable[[], Pod]
) -> None:
    pods = [make_pod() for _ in range(3)]
    assert [call(node, "ADD", pod) for pod in pods] == [0, 0, 0]
    crowd = Crowd("", lambda: None)
    keep = {"containerID": pods[0].container, "ifname": "eth0"}
    assert call(node, "GC", None, crowd, **{"cni.dev/valid-attachments": [keep]}) == 0
    assert crowd.turns == sorted(pod.container for pod in pods[1:])
    assert node.leases() == [pods[0].container]


def test_the_longest_pod_name_is_attached(node: Node, pod: Pod) -> None:
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={'n' * 63};K8S_POD_NAME={'p' * 253}"
    environ = {"CNI_COMMAND": "ADD", "CNI_PATH": "/opt/cni/bin"} | pod.variables()
    with Netns(node.namespace.name).inside():
        stdin = json.dumps(node.config()).encode()
        outcome = plugin.run(environ | {"CNI_ARGS": args}, stdin)
    assert outcome.exit_code == 0, outcome
    (link,) = (each for each in node.namespace.ip("link") if each["ifname"].startswith("pw"))
    assert link["ifalias"].startswith("n" * 63 + "/ppp")


def _expect(found: int, wanted: int) -> None:
    assert found == wanted
