"""Links that lead out of the node.

An uplink has one of our Node's InternalIPs, or a default route goes by it. Whatever rtnetlink says
of links, addresses and routes makes us look again.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address

from podwire_core.netlink import ROUTE, Conversation, Message, attributes
from podwire_node.announcements import Announcements

# linux/rtnetlink.h: RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_GETADDR, _GETROUTE = 22, 26
_IFADDR = struct.Struct("=BBBBi")  # struct ifaddrmsg: …, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # struct rtmsg: family, dst_len, …, table, protocol, scope, type
_ADDRESS, _LOCAL = 1, 2  # IFA_*
_OIF, _MULTIPATH = 4, 9  # RTA_*
_HOP = struct.Struct("=HBBi")  # struct rtnexthop: len, flags, hops, ifindex
_MAIN, _UNICAST = 254, 1  # RT_TABLE_MAIN, RTN_UNICAST


class Uplinks:
    """Which links these are, in the network namespace it was made in. Close it."""

    def __init__(self) -> None:
        self._asking = Conversation(ROUTE)
        self._announced = Announcements(_GROUPS)

    def fileno(self) -> int:
        """Readable when links, addresses or routes changed."""
        return self._announced.fileno()

    def close(self) -> None:
        """Listen no more."""
        self._announced.close()
        self._asking.close()

    def hear(self) -> None:
        """Take the announcements."""
        self._announced.any()

    def names(self, addresses: Collection[str]) -> frozenset[str]:
        """Those that have one of these addresses, or a default route. Raises OSError."""
        packed = {ip_address(each).packed for each in addresses}
        indices = {*self._having(packed), *self._by_default()}
        names = dict(socket.if_nameindex())
        return frozenset(names[index] for index in indices if index in names) - {"lo"}

    def _having(self, packed: Collection[bytes]) -> Iterator[int]:
        for body in self._asking.dump(Message(_GETADDR, bytes(_IFADDR.size))):
            told = attributes(body, _IFADDR.size)
            if (told.get(_LOCAL) or told.get(_ADDRESS)) in packed:
                yield _IFADDR.unpack_from(body)[-1]

    def _by_default(self) -> Iterator[int]:
        for body in self._asking.dump(Message(_GETROUTE, bytes(_ROUTE.size))):
            _, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
            if (length, table, kind) == (0, _MAIN, _UNICAST):
                yield from _ways(attributes(body, _ROUTE.size))


def _ways(told: Mapping[int, bytes]) -> Iterator[int]:
    """By which links a route goes: one, or several hops, each with attributes of its own."""
    if _OIF in told:
        yield int.from_bytes(told[_OIF], sys.byteorder)
    hops = told.get(_MULTIPATH, b"")
    while len(hops) >= _HOP.size:
        length, _, _, index = _HOP.unpack_from(hops)
        yield index
        hops = hops[max((length + 3) & ~3, _HOP.size) :]
