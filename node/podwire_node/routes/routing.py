"""rtnetlink: the routes that are ours, and what the node's own routes and links say.

Ours are marked with a routing protocol number of our own (as `ip route` shows: proto 112),
so they are known again after a restart and no one else's is ever touched.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from podwire_core.family import FAMILIES, Family, canonical_address, family_of
from podwire_node.routes.monitor import RouteMonitor
from podwire_node.routes.overlay import DEVICE
from podwire_node.routes.overlay_device import OverlayDevice, RouteError, told
from podwire_node.routes.plan import Route
from podwire_node.routes.reach import Hop, Reach

__all__ = ["RouteError", "RouteMonitor", "Routing", "allow_forwarding"]

#: Free in /etc/iproute2/rt_protos; "p" in ASCII.
PROTOCOL = 112

# linux/rtnetlink.h
_MAIN = 254  # RT_TABLE_MAIN
_UNICAST = 1  # RTN_UNICAST
_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}

_FORWARDING = (
    Path("/proc/sys/net/ipv4/ip_forward"),
    Path("/proc/sys/net/ipv6/conf/all/forwarding"),
)


class Table(NamedTuple):
    """Our routes in the main table, by destination, and what the others and the links say."""

    routes: dict[str, Route]
    reach: Reach


class Routing:
    """The routing of the network namespace it was made in. Every method raises RouteError."""

    def __init__(self) -> None:
        self._ipr = IPRoute()
        self.overlay = OverlayDevice(self._ipr)

    def close(self) -> None:
        """Let go of the kernel; routes stay."""
        self._ipr.close()

    def read(self, overlay: int) -> Table:
        """What is in force. overlay: the index of the overlay's device, 0 without one."""
        routes: dict[str, Route] = {}
        hops: list[Hop] = []
        with told("reading routes"):
            for family in FAMILIES:
                for message in self._ipr.get_routes(family=_AF[family], table=_MAIN):
                    destination, link = _destination(message, family), message.get("oif")
                    if message["proto"] == PROTOCOL and (gateway := message.get("gateway")):
                        device = DEVICE if overlay and link == overlay else ""
                        route = Route(destination, canonical_address(gateway), device)
                        routes[destination] = route
                    elif message["type"] == _UNICAST and link != overlay:
                        hops.append(Hop(destination, link or 0, _has_gateway(message)))
        return Table(routes, Reach(tuple(hops), self._addresses()))

    def mtu(self, link: int) -> int:
        """The MTU of a link by its index, in bytes; 0 for no link."""
        if not link:
            return 0
        with told(f"reading link {link}"):
            (message,) = self._ipr.link("get", index=link)
            mtu: int = message.get("mtu")
            return mtu

    def add(self, route: Route) -> None:
        """Add the route. Raises RouteError, also where someone else has one there already."""
        self._call("add", route)

    def replace(self, route: Route) -> None:
        """Put the route in the place of ours with the same destination: no packet sees a gap."""
        self._call("replace", route)

    def remove(self, route: Route) -> None:
        """Delete the route if it is ours; one that is gone already is no error."""
        self._call("del", route)

    def _addresses(self) -> dict[str, int]:
        with told("reading addresses"):
            return {
                canonical_address(message.get("local") or message.get("address")): message["index"]
                for message in self._ipr.get_addr()
            }

    def _call(self, verb: str, route: Route) -> None:
        with told(f"route {route}"):
            over = {}
            if route.device:
                over = {"oif": socket.if_nametoindex(route.device), "flags": ["onlink"]}
            try:
                self._ipr.route(
                    verb,
                    family=_AF[family_of(route.destination)],
                    dst=route.destination,
                    gateway=route.gateway,
                    proto=PROTOCOL,
                    table=_MAIN,
                    **over,
                )
            except NetlinkError as error:
                if error.code == errno.ESRCH and verb == "del":
                    return
                if error.code == errno.EEXIST:
                    reason = "someone else has a route there, which stays"
                    raise RouteError(f"route {route}: {reason}") from error
                raise


def _destination(message: Any, family: Family) -> str:
    """The kernel leaves the destination out when it is everything."""
    destination = message.get("dst")
    return (
        f"{canonical_address(destination)}/{message['dst_len']}"
        if destination
        else family.everything
    )


def _has_gateway(message: Any) -> bool:
    """Whether packets go to someone else first; several next hops count as someone else."""
    return any(message.get(name) for name in ("gateway", "via", "multipath"))


def allow_forwarding() -> Iterable[str]:
    """Let the node forward packets, which is off by default. Yields what could not be set."""
    for path in _FORWARDING:
        try:
            if path.exists() and path.read_text().strip() != "1":
                path.write_text("1")
        except OSError as error:
            yield f"{path}: {error.strerror}"
