"""Which ports a rule means. The one rule that both kinds of policies share: no ports, any port.

row                      matches
protocol                 every port of it, and of no other protocol
protocol, number         that port               number to endPort: both included
protocol, name           the port that the destination pod declares so; each pod has its own
name (cluster policies)  the same, whatever the protocol
"""

from __future__ import annotations

from podwire_core.objects import ClusterPort, PolicyPort
from podwire_policy.oracle.question import Question


def any_port(ports: tuple[PolicyPort, ...] | None, asked: Question) -> bool:
    """Whether a NetworkPolicy's rule means the port. An ICMP packet needs a rule without ports."""
    return not ports or any(_port(row, asked) for row in ports)


def any_cluster_port(ports: tuple[ClusterPort, ...], asked: Question) -> bool:
    """Whether a ClusterNetworkPolicy's rule means the port."""
    return not ports or any(_cluster_port(row, asked) for row in ports)


def _port(row: PolicyPort, asked: Question) -> bool:
    if row.protocol != asked.protocol:
        return False
    if row.port is None:
        return True
    if isinstance(row.port, int):
        return row.port <= asked.port <= (row.end_port or row.port)
    return _declared(row.port, asked)


def _cluster_port(row: ClusterPort, asked: Question) -> bool:
    if row.protocol is not None and row.protocol != asked.protocol:
        return False
    if row.name:
        return _declared(row.name, asked)
    if row.first is None:
        return True
    return row.first <= asked.port <= (row.last or row.first)


def _declared(name: str, asked: Question) -> bool:
    """An address without a pod declares nothing."""
    pod = asked.destination.pod
    return pod is not None and any(
        (port.name, port.protocol, port.container_port) == (name, asked.protocol, asked.port)
        for port in pod.ports
    )
