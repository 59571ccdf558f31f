"""A whole agent that reads the large cluster from an API server, for what it holds in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from listing import Page
from rooms import room
from whole import AgentRun, run

from policing import crowd


def run_agent(namespaces: int, folder: Path) -> AgentRun:
    """One agent of component policy, from its start until it is ready, and its end."""
    with room() as node:
        return run(node, crowd.NODE, _pages(namespaces), ["--components", "policy"], folder)


def _pages(namespaces: int) -> Mapping[str, Page]:
    """What each path lists."""
    places = list(crowd.places(namespaces))
    policies = [row for n in range(namespaces) for row in crowd.policies(n, namespaces)]
    nodes = [crowd.node(number) for number in range(crowd.NODE_COUNT)]
    homes = [crowd.namespace(number, namespaces) for number in range(namespaces)]
    return {
        "/api/v1/nodes": lambda first, many: nodes[first : first + many],
        "/api/v1/namespaces": lambda first, many: homes[first : first + many],
        "/api/v1/pods": lambda first, many: [
            crowd.pod(place) for place in places[first : first + many]
        ],
        "/apis/networking.k8s.io/v1/networkpolicies": (
            lambda first, many: policies[first : first + many]
        ),
    }
