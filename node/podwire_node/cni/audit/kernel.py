"""Links, routes and neighbours of the node's network namespace: read, and put right.

Only what an audit compares is read: veths, routes to single addresses in the main table,
permanent neighbours. What it puts there is what the plugin puts there (podwire_cni.plan).
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self

from podwire_cni.family import IPAddress
from podwire_core.netlink import ROUTE, Conversation, Message, attribute, attributes
from podwire_node.cni.audit.view import HostRoute, Link, Neighbour

_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, …, table, protocol, scope, type
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg: family, index, state, flags, type
_NUMBER = struct.Struct("=I")

# linux/rtnetlink.h
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_MAIN = 254  # RT_TABLE_MAIN
_BOOT = 3  # RTPROT_BOOT, as of the plugin
_UNICAST = 1  # RTN_UNICAST
_SCOPE_LINK = 253  # RT_SCOPE_LINK
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
# linux/if_link.h
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_LINKINFO = 1, 3, 5, 18
_IFLA_IFALIAS, _IFLA_STATS64, _IFLA_LINK_NETNSID, _IFLA_TARGET_NETNSID = 20, 23, 37, 46
_IFLA_INFO_KIND = 1
_UP = 0x01  # IFF_UP
# linux/neighbour.h
_NDA_DST, _NDA_LLADDR = 1, 2
_PERMANENT = 0x80  # NUD_PERMANENT
# linux/netlink.h
_REPLACE, _CREATE = 0x100, 0x400

_SIOCGIFINDEX = 0x8933  # linux/sockios.h
_IFREQ_BYTES = 40  # struct ifreq begins with the name

_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.ENXIO})


class Kernel:
    """The network namespace of the thread that makes it; a context manager.

    Every method raises OSError, with the kernel's own words.
    """

    def __init__(self) -> None:
        self._netlink = Conversation(ROUTE)
        self._any_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._any_socket.close()
        self._netlink.close()

    # ----------------------------------------------------------------------------- read

    def links(self) -> list[Link]:
        """Every veth."""
        return [link for answer in self._link_messages() if (link := _link(answer))]

    def has_link(self, name: str) -> bool:
        """Whether there is a link of that name: exact, where a dump may miss one.

        if_nametoindex() would also say no where no descriptor is free.
        """
        try:
            fcntl.ioctl(self._any_socket, _SIOCGIFINDEX, name.encode().ljust(_IFREQ_BYTES, b"\0"))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return True

    def peer_mac(self, link: Link) -> str:
        """The hardware address of the link's other end, "" where that cannot be seen.

        It may differ from the one it was given: a later plugin's work.
        """
        with suppress(OSError):  # the pod is going, or its namespace is not ours to look into
            for answer in self._link_messages():
                found = attributes(answer, _LINK.size)
                if _LINK.unpack_from(answer)[2] == link.index and _IFLA_LINK_NETNSID in found:
                    return self._mac(found[_IFLA_LINK_NETNSID], found[_IFLA_LINK])
        return ""

    def _mac(self, namespace: bytes, index: bytes) -> str:
        """The hardware address of a link of another namespace. index: as IFLA_LINK has it."""
        for answer in self._link_messages(attribute(_IFLA_TARGET_NETNSID, namespace)):
            if _LINK.unpack_from(answer)[2] == struct.unpack("=i", index)[0]:
                return attributes(answer, _LINK.size).get(_IFLA_ADDRESS, b"").hex(":")
        return ""

    def _link_messages(self, where: bytes = b"") -> list[bytes]:
        body = _LINK.pack(0, 0, 0, 0, 0) + where
        return list(self._netlink.dump(Message(_GETLINK, body)))

    def routes(self, concerns: Callable[[HostRoute], bool]) -> list[HostRoute]:
        """The main table's routes to one address each that concern the caller."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _ROUTE.pack(family, 0, 0, 0, _MAIN, 0, 0, 0, 0)
            for answer in self._netlink.dump(Message(_GETROUTE, body)):
                route = _route(answer)
                if route and concerns(route):
                    found.append(route)
        return found

    def neighbours(self) -> list[Neighbour]:
        """Every permanent neighbour."""
        return list(self._neighbours())

    def _neighbours(self) -> Iterator[Neighbour]:
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _NEIGHBOUR.pack(family, 0, 0, 0, 0)
            for answer in self._netlink.dump(Message(_GETNEIGH, body)):
                _, index, state, _, _ = _NEIGHBOUR.unpack_from(answer)
                found = attributes(answer, _NEIGHBOUR.size)
                if state & _PERMANENT and _NDA_DST in found:
                    address = ipaddress.ip_address(found[_NDA_DST])
                    yield Neighbour(address, index, found.get(_NDA_LLADDR, b"").hex(":"))

    # -------------------------------------------------------------------------- put right

    def bring_up(self, link: Link) -> None:
        """Set a link up."""
        self._change(_NEWLINK, _LINK.pack(0, 0, link.index, _UP, _UP))

    def put_route(self, address: IPAddress, link: Link) -> None:
        """Have the address' route lead to the link, in the place of another."""
        self._change(_NEWROUTE, _route_message(address, link.index), _CREATE | _REPLACE)

    def put_neighbour(self, address: IPAddress, link: Link, mac: str) -> None:
        """Have a permanent neighbour, in the place of another."""
        body = _NEIGHBOUR.pack(_family(address), link.index, _PERMANENT, 0, 0)
        body += attribute(_NDA_DST, address.packed)
        body += attribute(_NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
        self._change(_NEWNEIGH, body, _CREATE | _REPLACE)

    def remove_route(self, route: HostRoute) -> None:
        """Remove the route; one that is gone already is no error."""
        body = _route_message(route.address, route.link, any_way=True)
        if route.priority:
            body += attribute(_RTA_PRIORITY, _NUMBER.pack(route.priority))
        self._removed(_DELROUTE, body)

    def remove_neighbour(self, each: Neighbour) -> None:
        """Remove the neighbour; one that is gone already is no error."""
        body = _NEIGHBOUR.pack(_family(each.address), each.link, 0, 0, 0)
        self._removed(_DELNEIGH, body + attribute(_NDA_DST, each.address.packed))

    def remove_link(self, link: Link) -> None:
        """Remove the link by its index: its name may be a new pair's by now, an index never."""
        self._removed(_DELLINK, _LINK.pack(0, 0, link.index, 0, 0))

    def _change(self, kind: int, body: bytes, flags: int = 0) -> None:
        for code in self._netlink.tell([Message(kind, body, flags)]):
            raise OSError(code, os.strerror(code))

    def _removed(self, kind: int, body: bytes) -> None:
        try:
            self._change(kind, body)
        except OSError as error:
            if error.errno not in _GONE:
                raise


def _link(answer: bytes) -> Link | None:
    """The message's link, if that is a veth."""
    _, _, index, flags, _ = _LINK.unpack_from(answer)
    found = attributes(answer, _LINK.size)
    kind = attributes(found.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b"")
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
    )


def _route(answer: bytes) -> HostRoute | None:
    """The message's route, if it is a main one to one address."""
    family, length, _, tos, table, _, _, kind, _ = _ROUTE.unpack_from(answer)
    bits = 32 if family == socket.AF_INET else 128
    if (length, tos, table, kind) != (bits, 0, _MAIN, _UNICAST):
        return None
    found = attributes(answer, _ROUTE.size)
    if _RTA_DST not in found:
        return None
    # One with a gateway is somebody's own, whatever link it leaves by.
    own = _RTA_OIF in found and _RTA_GATEWAY not in found
    (priority,) = _NUMBER.unpack(found.get(_RTA_PRIORITY, bytes(4)))
    link = _NUMBER.unpack(found[_RTA_OIF])[0] if own else 0
    return HostRoute(ipaddress.ip_address(found[_RTA_DST]), link, priority)


def _route_message(address: IPAddress, index: int, *, any_way: bool = False) -> bytes:
    """A host route out of a link. any_way: of any protocol and scope, to find it by."""
    # RT_SCOPE_NOWHERE (255) finds a route of any scope (fib_table_delete, net/ipv4/fib_trie.c).
    protocol, scope, kind = (0, 255, 0) if any_way else (_BOOT, _SCOPE_LINK, _UNICAST)
    body = _ROUTE.pack(
        _family(address), address.max_prefixlen, 0, 0, _MAIN, protocol, scope, kind, 0
    )
    return body + attribute(_RTA_DST, address.packed) + attribute(_RTA_OIF, _NUMBER.pack(index))


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
