"""A whole agent that serves the large cluster by sockets and by nftables, for what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cluster
from layouts import NODE
from listing import Page
from rooms import room
from whole import AgentRun, run

from sockets import places


def run_agent(services: int, endpoints: int, folder: Path) -> AgentRun:
    """One agent of component proxy in mode ebpf, from its start until it is ready, and its end."""
    with room() as node, places.bpffs(folder) as mount, places.cgroup() as cgroup:
        options = ["--components", "proxy", "--proxy-mode", "ebpf"]
        options += ["--ebpf-cgroup", str(cgroup), "--ebpf-folder", str(mount / "podwire")]
        return run(node, NODE, _pages(services, endpoints), options, folder)


def _pages(services: int, endpoints: int) -> Mapping[str, Page]:
    """What each path lists."""

    def numbers(first: int, many: int, end: int) -> range:
        return range(first, min(first + many, end))

    return {
        "/api/v1/nodes": lambda first, many: [
            cluster.node(number) for number in numbers(first, many, cluster.NODE_COUNT)
        ],
        "/api/v1/services": lambda first, many: [
            cluster.service(number) for number in numbers(first, many, services)
        ],
        "/apis/discovery.k8s.io/v1/endpointslices": lambda first, many: [
            cluster.endpoint_slice(number, endpoints) for number in numbers(first, many, services)
        ],
    }
