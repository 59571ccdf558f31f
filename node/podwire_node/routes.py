"""Routes to other nodes' pods: each podCIDR via its node's address on the shared link."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from podwire_core.family import family_of
from podwire_core.objects import Node


class Route(NamedTuple):
    """A route as ip(8) writes it: `ip route add DESTINATION via GATEWAY`."""

    destination: str
    gateway: str

    def __str__(self) -> str:
        return f"{self.destination} via {self.gateway}"


def routes_to_pods(nodes: Iterable[Node], own: str) -> dict[str, Route]:
    """Routes that node `own` needs, by destination. Deterministic.

    A node that has no podCIDR yet, or no address of the CIDR's family, has none. Two nodes
    that claim one CIDR are a fault of the cluster: the one whose name sorts first has it.
    """
    wanted: dict[str, Route] = {}
    for node in sorted(nodes, key=lambda each: each.name):
        for cidr in node.pod_cidrs if node.metadata.name != own else ():
            gateways = [ip for ip in node.internal_ips if family_of(ip) is family_of(cidr)]
            if gateways:
                wanted.setdefault(cidr, Route(cidr, gateways[0]))
    return wanted
