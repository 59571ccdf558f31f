"""Who of the other nodes' pods is reached how, decided before the kernel is asked to change.

    mode     the peer's InternalIP of the pods' family       its pods are reached
    auto     is on a link of ours                            via that address
             is not, or there is none                        through the overlay
    direct   there is one                                    via that address
    vxlan                                                    through the overlay

Pure: peers, settings and what the links reach make a Plan; equal values make equal plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import NamedTuple

from podwire_core.errors import ObjectError
from podwire_core.family import Family, family_of
from podwire_core.objects import Node
from podwire_node.routes.overlay import (
    DEVICE,
    Address,
    Device,
    Entry,
    EntryKey,
    Forward,
    Mode,
    Neighbour,
    OverlaySettings,
    device_address,
    device_mtu,
    key_of,
    mac_of,
    next_hop,
)
from podwire_node.routes.peers import Peer, Peers
from podwire_node.routes.reach import Reach

_BROADCAST = IPv4Address("255.255.255.255")


class Route(NamedTuple):
    """A route as ip(8) writes it; device is "" where the gateway says which link it is."""

    destination: str
    gateway: str
    device: str = ""

    def __str__(self) -> str:
        way = f" dev {self.device} onlink" if self.device else ""
        return f"{self.destination} via {self.gateway}{way}"


@dataclass(frozen=True)
class Plan:
    """Everything of ours that should be in force.

    device: as it should be if there is one; None when our Node has no InternalIP, or in mode
    direct. needed: whether some peer is behind it, so that there has to be one.
    mtu: what new pods should have, in bytes; 0 when no link of ours is known.
    """

    routes: Mapping[str, Route] = field(default_factory=dict)
    device: Device | None = None
    needed: bool = False
    entries: Mapping[EntryKey, Entry] = field(default_factory=dict)
    mtu: int = 0
    problems: tuple[ObjectError, ...] = ()


def make_plan(peers: Peers, settings: OverlaySettings, reach: Reach, uplink_mtu: int) -> Plan:
    """Decide. uplink_mtu: of our link to the other nodes, in bytes; 0 when that is not known.

    A peer that has no address yet has no route yet.
    """
    choice = _Choice(settings.mode, peers.underlay, reach)
    for peer in peers.others:
        choice.add(peer)
    device = _device(settings, peers.underlay, uplink_mtu)
    needed = bool(choice.entries)
    lowered = device if needed or settings.mode == Mode.VXLAN else None
    own = (Address(_alone(device_address(cidr))) for cidr in peers.pod_cidrs)
    return Plan(
        routes=choice.routes,
        device=device,
        needed=needed,
        entries={key_of(entry): entry for entry in (*own, *choice.entries)},
        mtu=settings.mtu or (lowered.mtu if lowered and uplink_mtu else uplink_mtu),
        problems=(*peers.problems, *choice.problems),
    )


def _device(settings: OverlaySettings, local: str, uplink_mtu: int) -> Device | None:
    if not local or settings.mode == Mode.DIRECT:
        return None
    mtu = device_mtu(uplink_mtu, local, settings.mtu)
    return Device(settings.vni, settings.port, local, mac_of(local), mtu)


def _alone(address: str) -> str:
    return f"{address}/{family_of(address).bits}"


@dataclass
class _Choice:
    """Peers' podCIDRs, one after the other, and what became of them. local: our underlay's."""

    mode: str
    local: str
    reach: Reach
    routes: dict[str, Route] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    problems: list[ObjectError] = field(default_factory=list)

    def add(self, peer: Peer) -> None:
        """Find the way to one podCIDR."""
        node, cidr = peer
        if gateway := self._gateway(node, family_of(cidr)):
            self.routes[cidr] = Route(cidr, gateway)
        elif self.mode != Mode.DIRECT and node.internal_ips:
            self._wrap(node, cidr)

    def _gateway(self, node: Node, family: Family) -> str:
        """The peer's address that routes go via, or ""."""
        if self.mode == Mode.VXLAN:
            return ""
        addresses = (ip for ip in node.internal_ips if family_of(ip) is family)
        others = (ip for ip in addresses if not self._nobodys(ip))
        near = (ip for ip in others if self.mode == Mode.DIRECT or self.reach.on_link(ip))
        return next(near, "")

    def _nobodys(self, address: str) -> str:
        """Why an address cannot be another node's; "" when it can."""
        if address == self.local or address in self.reach.addresses:
            return "is our own"
        parsed = ip_address(address)
        away = parsed.is_multicast or parsed.is_unspecified or parsed.is_loopback
        away = away or parsed.is_link_local or parsed == _BROADCAST
        return "is no node's address" if away else ""

    def _wrap(self, node: Node, cidr: str) -> None:
        """Send a podCIDR through the overlay."""
        if not self.local:
            self._complain(node, "is on no link of ours, and our own Node has none to start from")
            return
        family = family_of(self.local)
        remote = next((ip for ip in node.internal_ips if family_of(ip) is family), "")
        if not remote:
            self._complain(node, f"none is {family}, which the overlay needs from {self.local}")
        elif reason := self._nobodys(remote):
            self._complain(node, f"{remote} {reason}")
        else:
            mac = mac_of(remote)
            via = next_hop(cidr, mac)
            self.routes[cidr] = Route(cidr, via, DEVICE)
            self.entries += [Neighbour(via, mac), Forward(mac, (remote,))]

    def _complain(self, node: Node, reason: str) -> None:
        place = "status.addresses[InternalIP]"
        error = ObjectError("", f"Node {node.name}", place, reason)
        if error not in self.problems:
            self.problems.append(error)
