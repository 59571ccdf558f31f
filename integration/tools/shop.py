"""The shop on a lab with a real control plane: its addresses, traffic through it, its nodes' rules.

pod frontend ─► ClusterIPs of api, both families        world ─► NodePort of frontend, each node
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scratch import until
from traffic import Flow, traffic

from podwire_core.nft.kernel import Kernel
from podwire_core.nft.objects import State
from podwire_lab.machine import daemons, namespaces, processes
from podwire_lab.overview import look
from podwire_lab.topology import Lab, LabNode
from podwire_policy.policies import Policies
from podwire_proxy.services import TABLES

NODE_PORT = 30080


def pod_netns(lab: Lab, namespace: str, start: str, node: str = "") -> str:
    """The network namespace of a ready pod whose name begins so, on that node or on any."""
    rows = [row for row in look(lab).pods if row.ready and node in {"", row.node}]
    found = [row for row in rows if row.namespace == namespace and row.name.startswith(start)]
    assert found, f"no pod of {namespace} is called {start}…"
    return namespaces.pod_netns(lab.name, namespace, found[0].name)


def cluster_ips(lab: Lab, namespace: str, name: str) -> tuple[str, ...]:
    """A Service's addresses."""
    rows = [row for row in look(lab).services if (row.namespace, row.name) == (namespace, name)]
    return rows[0].cluster_ips if rows else ()


@contextmanager
def customers(lab: Lab, long: int = 10, pace: float = 0.02) -> Iterator[tuple[Flow, Flow]]:
    """Traffic through ClusterIPs and through every node's NodePort; it must not notice anything.

    long, pace: see traffic.
    """
    api = [(address, 80) for address in cluster_ips(lab, "shop", "api")]
    world = [(address, NODE_PORT) for node in lab.nodes for address in node.ips[:1]]
    frontend = pod_netns(lab, "shop", "frontend-")
    with (
        traffic(frontend, api, long, pace) as inside,
        traffic(lab.fabric, world, long, pace) as outside,
    ):
        yield inside, outside


def rules(node: LabNode) -> State:
    """What the node's kernel holds of our proxy and policies."""
    tables = (*TABLES, *Policies(node.name).tables)
    return namespaces.inside(node.netns, lambda: Kernel().read(tables))


def status(lab: Lab, node: LabNode) -> dict[str, Any]:
    """What the node's agent says of itself; nothing, when it does not."""
    try:
        found: dict[str, Any] = json.loads(daemons.agent_status(lab, node).read_bytes())
    except FileNotFoundError:
        return {}
    return found


def until_ready(lab: Lab, node: LabNode) -> dict[str, Any]:
    """Wait until its agent is; its status then."""
    until(f"the agent of {node.name} is ready", lambda: bool(status(lab, node).get("ready")))
    return status(lab, node)


def until_in_sync(lab: Lab, objects: int = 0) -> None:
    """Wait until every agent has at least so many objects, and all of them in the kernel."""

    def holds() -> bool:
        rows = [status(lab, node) for node in lab.nodes]
        return all(row.get("in_sync") and row["objects"] >= objects for row in rows)

    until("the agents are in sync", holds)


def containers(lab: Lab) -> dict[str, int]:
    """The process of every container, by pod and container: another number is a restart."""
    marks = processes.marked(processes.CONTAINER)
    return {name: pid for name, pid in marks.items() if name.startswith(f"{lab.name}/")}
