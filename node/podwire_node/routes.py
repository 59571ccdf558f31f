"""Routes to other nodes' pods: each podCIDR via its node's address on the shared link."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from podwire_core.errors import ObjectError
from podwire_core.family import family_of
from podwire_core.objects import Node


class Route(NamedTuple):
    """A route as ip(8) writes it: `ip route add DESTINATION via GATEWAY`."""

    destination: str
    gateway: str

    def __str__(self) -> str:
        return f"{self.destination} via {self.gateway}"


def routes_to_pods(nodes: Iterable[Node], own: str) -> tuple[dict[str, Route], list[ObjectError]]:
    """Routes that node `own` needs, by destination, and podCIDRs that cannot have one.

    A node that has no podCIDR yet, or no address of the CIDR's family, has none. Two nodes
    that claim one CIDR are a fault of the cluster: the one whose name sorts first has it.
    """
    known = sorted(nodes, key=lambda each: each.name)
    mine = [cidr for node in known if node.metadata.name == own for cidr in node.pod_cidrs]
    wanted: dict[str, Route] = {}
    problems: list[ObjectError] = []
    for node in known:
        for cidr in node.pod_cidrs if node.metadata.name != own else ():
            reason = _unfit(cidr, node, mine, wanted)
            if reason:
                problems.append(ObjectError("", f"Node {node.name}", "spec.podCIDRs", reason))
                continue
            gateways = [ip for ip in node.internal_ips if family_of(ip) is family_of(cidr)]
            if gateways:
                wanted[cidr] = Route(cidr, gateways[0])
    return wanted, problems


def _unfit(cidr: str, node: Node, mine: Iterable[str], wanted: Iterable[str]) -> str:
    """Why a podCIDR must not become a route; "" when it may."""
    network = ip_network(cidr)
    if network.prefixlen == 0:
        return f"{cidr} is everything, not a node's pods"
    if any(ip_address(ip) in network for ip in node.internal_ips):
        return f"{cidr} holds the node's own address"
    for other in (*mine, *wanted):
        if family_of(other) is family_of(cidr) and network.overlaps(ip_network(other)):
            return f"{cidr} overlaps {other}, which is another node's"
    return ""
