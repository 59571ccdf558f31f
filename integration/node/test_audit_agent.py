"""The audit as a part of a real agent, with pods that the real client has attached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attaching_node import NODE_ADDRESSES, AttachingNode, answering, dialled
from client_build import build
from scratch import Netns, until


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("client"))


@pytest.fixture
def node(new_netns: Callable[[], Netns], tmp_path: Path, client: Path) -> Iterator[AttachingNode]:
    made = AttachingNode(new_netns(), new_netns(), tmp_path / "node", client)
    yield made
    made.forced_end()


def test_an_agent_puts_back_what_went_while_none_ran(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.start()
    pod = new_netns()
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    with answering(pod, "the pod"):
        added = node.call("ADD", pod, runtimeConfig={"portMappings": [mapping]})
        assert added.exit_code == 0, added
        node.stop()
        node.netns.run("ip", "route", "del", added.address)
        node.start()
        until("the route is back", lambda: added.address in node.netns.run("ip", "route"), 20)
        assert dialled(node.peer, NODE_ADDRESSES[0], 8080) == "the pod"
    assert f"repaired route-missing: no route leads to {added.address}" in node.log()
    assert "ports-missing" not in node.log(), "what is in force is not put in force again"
    assert node.call("DEL", pod).exit_code == 0
