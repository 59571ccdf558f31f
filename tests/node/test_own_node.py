"""What the log says of our own Node: once, and again when that changes."""

from __future__ import annotations

import logging

import msgspec
import pytest

from podwire_core.objects import Node
from podwire_core.snapshot import Snapshot
from podwire_node.reports.own_node import OwnNode
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.values import Component


def node(name: str, *pod_cidrs: str) -> Node:
    document = {"metadata": {"name": name}, "spec": {"podCIDRs": list(pod_cidrs)}}
    return msgspec.convert(document, Node)


class Site:
    """An agent of node1, and what it says."""

    def __init__(self, caplog: pytest.LogCaptureFixture, *components: Component) -> None:
        self._config = AgentConfig(node="node1", feed="x", components=components)
        self._own = OwnNode(self._config)
        self._caplog = caplog
        caplog.set_level(logging.INFO)

    def says(self, *nodes: Node) -> str:
        """What it says of these Nodes, line by line."""
        self._caplog.clear()
        mine = next((each for each in nodes if each.name.name == "node1"), None)
        self._own.look(Snapshot(nodes), mine)
        return "\n".join(self._caplog.messages)


def test_a_node_that_is_not_there_is_told_once_with_those_that_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site(caplog, Component.CNI)
    others = [node(f"other{number}") for number in range(5)]
    said = site.says(*others)
    assert "Node node1 is not there: is that our name?" in said
    assert "There are: other0, other1, other2 and 2 more; pods here get no network" in said
    assert site.says(*others, node("other9")) == ""
    assert site.says(node("node1", "10.244.1.0/24")) == (
        "Node node1 is there and has podCIDRs 10.244.1.0/24"
    )
    assert "There is no Node at all" in site.says()


def test_a_node_without_pod_cidrs_is_told_where_pods_need_some(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bare, whole = node("node1"), node("node1", "10.244.1.0/24")
    site = Site(caplog, Component.CNI, Component.PROXY)
    assert "has no podCIDRs: pods here get no network" in site.says(bare)
    assert (site.says(bare), "is there and has" in site.says(whole)) == ("", True)
    assert Site(caplog, Component.PROXY).says(bare) == ""


def test_a_node_that_is_well_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    site = Site(caplog, Component.CNI)
    assert site.says(node("node1", "10.244.1.0/24")) == ""
    assert site.says(node("node1", "10.244.2.0/24")) == ""


def test_an_agent_of_policies_alone_needs_no_node(caplog: pytest.LogCaptureFixture) -> None:
    assert Site(caplog, Component.POLICY).says() == ""
