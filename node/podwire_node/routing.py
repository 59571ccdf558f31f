"""rtnetlink: the routes that are ours, and the kernel's word that some route changed.

Ours are marked with a routing protocol number of our own (as `ip route` shows: proto 112),
so they are known again after a restart and no one else's is ever touched.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from podwire_core.family import FAMILIES, Family, canonical_address, family_of
from podwire_node.routes import Route

#: Free in /etc/iproute2/rt_protos; "p" in ASCII.
PROTOCOL = 112
_MAIN = 254  # RT_TABLE_MAIN

# linux/rtnetlink.h: RTMGRP_LINK, RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE
_GROUPS = 0x1 | 0x40 | 0x400
_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}

_FORWARDING = (
    Path("/proc/sys/net/ipv4/ip_forward"),
    Path("/proc/sys/net/ipv6/conf/all/forwarding"),
)


class RouteError(Exception):
    """The kernel refused one route; the text names it and says why."""


class Routing:
    """The routing table of the network namespace it was made in."""

    def __init__(self) -> None:
        self._ipr = IPRoute()

    def close(self) -> None:
        """Let go of the kernel; routes stay."""
        self._ipr.close()

    def read(self) -> dict[str, Route]:
        """Our routes that are in force in the main table, by destination."""
        found: dict[str, Route] = {}
        for family in FAMILIES:
            for message in self._ipr.get_routes(family=_AF[family], table=_MAIN):
                gateway = message.get("gateway")
                if message["proto"] == PROTOCOL and gateway:
                    route = Route(_destination(message, family), canonical_address(gateway))
                    found[route.destination] = route
        return found

    def add(self, route: Route) -> None:
        """Add the route. Raises RouteError, also where someone else has one there already."""
        self._call("add", route)

    def remove(self, route: Route) -> None:
        """Delete the route if it is ours; one that is gone already is no error."""
        with contextlib.suppress(_AbsentError):
            self._call("del", route)

    def _call(self, verb: str, route: Route) -> None:
        try:
            self._ipr.route(
                verb,
                family=_AF[family_of(route.destination)],
                dst=route.destination,
                gateway=route.gateway,
                proto=PROTOCOL,
                table=_MAIN,
            )
        except NetlinkError as error:
            if error.code == errno.ESRCH:
                raise _AbsentError from error
            reason = error.args[1] if len(error.args) > 1 else str(error)
            if error.code == errno.EEXIST:
                reason = "someone else has a route there, which stays"
            raise RouteError(f"route {route}: {reason}") from error


def _destination(message: Any, family: Family) -> str:
    """The kernel leaves the destination out when it is everything."""
    destination = message.get("dst")
    return (
        f"{canonical_address(destination)}/{message['dst_len']}"
        if destination
        else family.everything
    )


class _AbsentError(RouteError):
    """There is no such route."""


def allow_forwarding() -> Iterable[str]:
    """Let the node forward packets, which is off by default. Yields what could not be set."""
    for path in _FORWARDING:
        try:
            if path.exists() and path.read_text().strip() != "1":
                path.write_text("1")
        except OSError as error:
            yield f"{path}: {error.strerror}"


class RouteMonitor:
    """Readable when a link or a route of this namespace changed, by whomever."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()

    def changed(self) -> bool:
        """Whether anything was announced since the last call; lost announcements count."""
        seen = False
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return seen
            except OSError:
                pass
            seen = True
