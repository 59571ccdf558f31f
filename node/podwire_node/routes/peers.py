"""The other nodes, and those of their podCIDRs that may become routes."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from podwire_core.errors import ObjectError
from podwire_core.family import FAMILIES, Network, family_of
from podwire_core.nft.intervals import Span, span
from podwire_core.objects import Node

#: "This network", loopback, link-local, multicast: no one's pods. 240.0.0.0/4 is used for pods.
_NO_PODS = tuple(
    ip_network(each)
    for each in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4"),
        *("::/127", "fe80::/10", "ff00::/8"),
    )
)


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

    Two nodes that claim one CIDR are a fault of the cluster: the older one has it, after
    ourselves, so that no new Node takes the pods of one that works.
    """
    known = sorted(nodes, key=lambda each: _seniority(each, own))
    taken = _Taken()
    addresses = _Addresses()
    found: list[Peer] = []
    problems: list[ObjectError] = []
    for node in known:
        addresses.add(node.internal_ips)
        for cidr in node.pod_cidrs:
            if reason := _unfit(cidr, addresses) or taken.claim(cidr):
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


def _seniority(node: Node, own: str) -> tuple[bool, str, str]:
    """What nodes are sorted by. The API writes every time in the same words, so text sorts."""
    return node.metadata.name != own, node.metadata.creation_timestamp or "", node.metadata.name


def _unfit(cidr: str, addresses: _Addresses) -> str:
    """Why a podCIDR cannot be any node's; "" when it can."""
    network = ip_network(cidr)
    if network.prefixlen == 0:
        return f"{cidr} is everything, not a node's pods"
    if nowhere := next((other for other in _NO_PODS if _overlap(network, other)), None):
        return f"{cidr} overlaps {nowhere}, where no pod can be"
    if held := addresses.within(cidr):
        return f"{cidr} holds {held}, a node's own address"
    return ""


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


class _Addresses:
    """InternalIPs of the nodes that were asked so far, sorted, by family.

    Of those alone: a new Node's address is no reason to take an older one's podCIDR away.
    """

    def __init__(self) -> None:
        self._sorted: dict[str, list[tuple[int, str]]] = {family: [] for family in FAMILIES}

    def add(self, addresses: Iterable[str]) -> None:
        """One node's."""
        for each in addresses:
            insort(self._sorted[family_of(each)], (int(ip_address(each)), each))

    def within(self, cidr: str) -> str:
        """The lowest address that a CIDR holds; "" for none."""
        row = self._sorted[family_of(cidr)]
        first, last = span(cidr)
        index = bisect(row, (first, ""))
        return row[index][1] if index < len(row) and row[index][0] <= last else ""


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
