"""Links, routes and neighbours of the node's network namespace: read, and put right.

Only what an audit compares is read: veths, routes to single addresses in the main table,
permanent neighbours. What it puts there is what the plugin puts there: its own messages.

Source: linux/rtnetlink.h, if_link.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from podwire_cni import messages
from podwire_cni import plan as wiring
from podwire_cni.family import FAMILIES, IPAddress, family_of, host_network
from podwire_cni.namespace import link_index, write_sysctl
from podwire_cni.plan import Side
from podwire_cni.rtnetlink import (
    HEADER_BYTES,
    NLM_F_DUMP,
    Message,
    Refused,
    Socket,
    attributes,
    header,
    index_in,
)
from podwire_core.netlink import attribute
from podwire_node.cni.audit.view import HostRoute, Link
from podwire_node.cni.released.neighbours import Neighbour, Neighbours

_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, …, table, protocol, scope, type
_NUMBER = struct.Struct("=I")

_GETLINK = 18
_DELROUTE, _GETROUTE = 25, 26
_MAIN = 254  # RT_TABLE_MAIN
_UNICAST = 1  # RTN_UNICAST
_ANY_SCOPE = 255  # RT_SCOPE_NOWHERE: finds a route of any (fib_table_delete, net/ipv4/fib_trie.c)
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_LINKINFO = 1, 3, 5, 18
_IFLA_IFALIAS, _IFLA_STATS64, _IFLA_AF_SPEC = 20, 23, 26
_IFLA_LINK_NETNSID, _IFLA_TARGET_NETNSID = 37, 46
_IFLA_INFO_KIND = 1
_IFLA_INET_CONF = 1
_RP_FILTER = 8  # IPV4_DEVCONF_RP_FILTER, linux/ip.h; counted from 1
_UP = 0x01  # IFF_UP

_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.ENXIO})


class Kernel:
    """The network namespace of the thread that makes it; a context manager.

    Every method raises Refused, or OSError where the kernel could not be asked.
    """

    def __init__(self) -> None:
        self._socket = Socket()
        self._neighbours = Neighbours(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.__exit__(None, None, None)

    # ----------------------------------------------------------------------------- read

    def links(self) -> list[Link]:
        """Every veth."""
        return [link for answer in self._link_messages() if (link := _link(answer))]

    def has_link(self, name: str) -> bool:
        """Whether there is a link of that name: exact, where a dump may miss one."""
        return link_index(name) is not None

    def peer_mac(self, link: Link) -> str:
        """The hardware address of the link's other end, "" where that cannot be seen.

        It may differ from the one it was given: a later plugin's work.
        """
        with suppress(OSError, Refused):  # the pod is going, or its namespace is not ours to see
            for answer in self._link_messages():
                found = _attributes(answer, _LINK)
                if index_in(answer) == link.index and _IFLA_LINK_NETNSID in found:
                    return self._mac(found[_IFLA_LINK_NETNSID], found[_IFLA_LINK])
        return ""

    def _mac(self, namespace: bytes, index: bytes) -> str:
        """The hardware address of a link of another namespace. index: as IFLA_LINK has it."""
        for answer in self._link_messages(attribute(_IFLA_TARGET_NETNSID, namespace)):
            if index_in(answer) == struct.unpack("=i", index)[0]:
                return _attributes(answer, _LINK).get(_IFLA_ADDRESS, b"").hex(":")
        return ""

    def _link_messages(self, where: bytes = b"") -> list[bytes]:
        body = _LINK.pack(0, 0, 0, 0, 0) + where
        return self._socket.ask(_message("link show", _GETLINK, body, NLM_F_DUMP))

    def routes(self, concerns: Callable[[HostRoute], bool]) -> list[HostRoute]:
        """The main table's routes to one address each that concern the caller."""
        return [
            route
            for answer in self._route_messages()
            if (route := _route(answer)) and concerns(route)
        ]

    def _route_messages(self) -> Iterator[bytes]:
        for family in FAMILIES:
            body = _ROUTE.pack(family.socket, 0, 0, 0, _MAIN, 0, 0, 0, 0)
            try:
                yield from self._socket.ask(_message("route show", _GETROUTE, body, NLM_F_DUMP))
            except Refused as error:
                if error.number != errno.ENOENT:  # a table is made with its first route
                    raise

    def neighbours(self) -> list[Neighbour]:
        """Every permanent neighbour."""
        return self._neighbours.permanent()

    # -------------------------------------------------------------------------- put right

    def bring_up(self, link: Link) -> None:
        """Set a link up."""
        self._socket.perform([messages.bring_up(f"link set {link.name} up", link.index)])

    def check_source(self, link: Link) -> None:
        """Have the link drop what comes from an IPv4 address that is not its pod's."""
        sysctl = wiring.strict_source(link.name)
        write_sysctl(sysctl.path, sysctl.value)

    def put_route(self, address: IPAddress, link: Link) -> None:
        """Have the address' route lead to the link, in the place of another."""
        route = wiring.Route(Side.HOST, link.name, host_network(address))
        self._socket.perform([messages.install(route, link.index)])

    def put_neighbour(self, address: IPAddress, link: Link, mac: str) -> None:
        """Have a permanent neighbour, in the place of another."""
        neighbour = wiring.Neighbour(Side.HOST, link.name, address, mac)
        self._socket.perform([messages.install(neighbour, link.index)])

    def remove_route(self, route: HostRoute) -> None:
        """Remove the route; one that is gone already is no error."""
        with _unless_gone():
            self._socket.perform([_route_deletion(route)])

    def remove_neighbour(self, each: Neighbour) -> None:
        """Remove the neighbour; one that is gone already is no error."""
        with _unless_gone():
            self._neighbours.remove([each])

    def remove_link(self, link: Link) -> None:
        """Remove the link by its index: its name may be a new pair's by now, an index never."""
        with _unless_gone():
            self._socket.perform([messages.delete_link(f"link del {link.name}", link.index)])


@contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except Refused as error:
        if error.number not in _GONE:
            raise


def _link(answer: bytes) -> Link | None:
    """The message's link, if that is a veth."""
    _, _, index, flags, _ = _LINK.unpack_from(answer, HEADER_BYTES)
    found = _attributes(answer, _LINK)
    kind = dict(attributes(found.get(_IFLA_LINKINFO, b""), 0)).get(_IFLA_INFO_KIND, b"")
    if kind.rstrip(b"\0") != b"veth":
        return None
    return Link(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        up=bool(flags & _UP),
        alias=_text(found.get(_IFLA_IFALIAS, b"")),
        # rtnl_link_stats64 begins with rx_packets.
        heard=int.from_bytes(found.get(_IFLA_STATS64, b"")[:8], sys.byteorder),
        # 2 is as good: see strict_source.
        checks_source=_rp_filter(found.get(_IFLA_AF_SPEC, b"")) != 0,
    )


def _rp_filter(families: bytes) -> int:
    """The link's own value, in IFLA_INET_CONF: all of net/ipv4/conf/LINK, a number each."""
    inet = dict(attributes(families, 0)).get(socket.AF_INET, b"")
    values = dict(attributes(inet, 0)).get(_IFLA_INET_CONF, b"")
    place = (_RP_FILTER - 1) * _NUMBER.size
    return int.from_bytes(values[place : place + _NUMBER.size], sys.byteorder)


def _route(answer: bytes) -> HostRoute | None:
    """The message's route, if it is a main one to one address."""
    family, length, _, tos, table, _, _, kind, _ = _ROUTE.unpack_from(answer, HEADER_BYTES)
    bits = 32 if family == socket.AF_INET else 128
    if (length, tos, table, kind) != (bits, 0, _MAIN, _UNICAST):
        return None
    found = _attributes(answer, _ROUTE)
    if _RTA_DST not in found:
        return None
    # One with a gateway is somebody's own, whatever link it leaves by.
    own = _RTA_OIF in found and _RTA_GATEWAY not in found
    (priority,) = _NUMBER.unpack(found.get(_RTA_PRIORITY, bytes(4)))
    link = _NUMBER.unpack(found[_RTA_OIF])[0] if own else 0
    return HostRoute(ipaddress.ip_address(found[_RTA_DST]), link, priority)


def _route_deletion(route: HostRoute) -> Message:
    """Of whoever made it."""
    address = route.address
    family, length = family_of(address).socket, address.max_prefixlen
    body = _ROUTE.pack(family, length, 0, 0, _MAIN, 0, _ANY_SCOPE, 0, 0)
    body += attribute(_RTA_DST, address.packed) + attribute(_RTA_OIF, _NUMBER.pack(route.link))
    if route.priority:
        body += attribute(_RTA_PRIORITY, _NUMBER.pack(route.priority))
    return _message(f"route del {address}", _DELROUTE, body)


def _message(step: str, kind: int, body: bytes, flags: int = 0) -> Message:
    return Message(step, header(kind, flags, len(body)) + body)


def _attributes(answer: bytes, head: struct.Struct) -> dict[int, bytes]:
    return dict(attributes(answer, HEADER_BYTES + head.size))


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
