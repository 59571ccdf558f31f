"""The other nodes, and those of their podCIDRs that may become routes."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from podwire_core.errors import ObjectError
from podwire_core.family import FAMILIES, family_of
from podwire_core.nft.intervals import Span, span
from podwire_core.objects import Node


class Peer(NamedTuple):
    """One podCIDR of one other node."""

    node: Node
    cidr: str


@dataclass(frozen=True)
class Peers:
    """The cluster as one node sees it.

    underlay: our InternalIP that the overlay goes out from: the first IPv4 one, else the
    first; "" while our Node has none. pod_cidrs: our own. problems: podCIDRs that are left out.
    """

    underlay: str = ""
    pod_cidrs: tuple[str, ...] = ()
    others: tuple[Peer, ...] = ()
    problems: tuple[ObjectError, ...] = ()


def peers_of(nodes: Iterable[Node], own: str) -> Peers:
    """What node `own` has to know of the nodes.

    Two nodes that claim one CIDR are a fault of the cluster: the one whose name sorts first
    has it, after ourselves.
    """
    known = sorted(nodes, key=lambda each: (each.metadata.name != own, each.name))
    taken = _Taken()
    found: list[Peer] = []
    problems: list[ObjectError] = []
    for node in known:
        for cidr in node.pod_cidrs:
            if reason := _unfit(node, cidr) or taken.claim(cidr):
                problems.append(ObjectError("", f"Node {node.name}", "spec.podCIDRs", reason))
            else:
                found.append(Peer(node, cidr))
    ours = [node for node in known if node.metadata.name == own]
    return Peers(
        underlay=min((ip for node in ours for ip in node.internal_ips), key=family_of, default=""),
        pod_cidrs=tuple(peer.cidr for peer in found if peer.node in ours),
        others=tuple(peer for peer in found if peer.node not in ours),
        problems=tuple(problems),
    )


def _unfit(node: Node, cidr: str) -> str:
    """Why a podCIDR cannot be any node's; "" when it can."""
    network = ip_network(cidr)
    if network.prefixlen == 0:
        return f"{cidr} is everything, not a node's pods"
    if any(ip_address(ip) in network for ip in node.internal_ips):
        return f"{cidr} holds the node's own address"
    return ""


@dataclass
class _Taken:
    """CIDRs that have an owner: disjoint, sorted, by family."""

    _spans: dict[str, list[Span]] = field(
        default_factory=lambda: {family: [] for family in FAMILIES}
    )
    _cidrs: dict[tuple[str, int], str] = field(default_factory=dict)

    def claim(self, cidr: str) -> str:
        """Why a CIDR cannot be had; "" when it is the claimant's from now on."""
        family = family_of(cidr)
        spans = self._spans[family]
        first, last = span(cidr)
        index = bisect(spans, (first, last))
        for other in spans[max(0, index - 1) : index + 1]:
            if first <= other[1] and other[0] <= last:
                return f"{cidr} overlaps {self._cidrs[family, other[0]]}, which is another node's"
        spans.insert(index, (first, last))
        self._cidrs[family, first] = cidr
        return ""
