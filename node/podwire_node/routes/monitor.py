"""The kernel's word that a link, an address, a route or the overlay's neighbours changed.

Left out is what cannot concern routes to other nodes, before anyone is woken up to compare:

    neighbours of other links than the overlay's    ARP goes on all day
    anything on a pod's link                        pods come and go, and each is ten messages
    routes of other tables than main                no one here looks at them

The first two are told by the index of the link that a message is about.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from collections.abc import Iterator

from podwire_node.announcements import LOST, Announcements
from podwire_node.routes.overlay import DEVICE

# linux/rtnetlink.h: RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400
_NEWLINK, _DELLINK = 16, 17
_NEWROUTE, _DELROUTE = 24, 25
_NEWNEIGH, _DELNEIGH = 28, 29
_IFNAME = 3  # linux/if_link.h: IFLA_IFNAME
_OIF = 4  # linux/rtnetlink.h: RTA_OIF
_MAIN = 254  # linux/rtnetlink.h: RT_TABLE_MAIN
_TABLE_AT = 4  # rtm_table of struct rtmsg, a byte; larger numbers stand as RT_TABLE_COMPAT
_GET_INDEX = 0x8933  # linux/sockios.h: SIOCGIFINDEX

_HEADER = struct.Struct("=LHHLL")  # nlmsghdr: length with this, type, flags, sequence, port
#: Where ifinfomsg, ifaddrmsg and ndmsg have the index of their link.
_INDEX = struct.Struct("=4xi")
_IFINFO_SIZE = 16
_RTMSG_SIZE = 12
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length with this, type
_IFREQ = struct.Struct("=16si20x")


class RouteMonitor:
    """Readable when something was announced in the namespace it was made in."""

    def __init__(self) -> None:
        self._announced = Announcements(_GROUPS)
        # After it: what is made later is announced.
        self._overlay = self._find_overlay()
        self._pods = {index for index, name in socket.if_nameindex() if _is_pods(name)}

    def fileno(self) -> int:
        """For select()."""
        return self._announced.fileno()

    def close(self) -> None:
        """Stop watching."""
        self._announced.close()

    def changed(self) -> bool:
        """Whether there is anything to compare since the last call; lost announcements count."""
        seen = False
        for datagram in self._announced.read():
            if datagram == LOST:
                self._overlay = self._find_overlay()
                seen = True
            for kind, body in _messages(datagram):
                seen |= self._concerns(kind, body)
        return seen

    def _concerns(self, kind: int, body: bytes) -> bool:
        """Whether a message is about something that may be ours, or that ours depends on."""
        link = _link_of(kind, body)
        if kind == _NEWLINK:
            self._know(link, _name(body))
        if kind in {_NEWNEIGH, _DELNEIGH}:
            return link == self._overlay
        if kind in {_NEWROUTE, _DELROUTE} and body[_TABLE_AT] != _MAIN:
            return False
        of_a_pod = link in self._pods
        # A link that leaves a bridge is announced as gone too, by the bridge's family.
        if kind == _DELLINK and body[0] == socket.AF_UNSPEC:
            self._pods.discard(link)
        return not of_a_pod

    def _know(self, link: int, name: str) -> None:
        """Remember which link is which; the kernel does not give a number twice."""
        if name == DEVICE:
            self._overlay = link
        elif _is_pods(name):
            self._pods.add(link)

    def _find_overlay(self) -> int:
        """The index of the overlay's device in the socket's own namespace; 0 without one."""
        try:
            request = _IFREQ.pack(DEVICE.encode(), 0)
            index: int = _IFREQ.unpack(fcntl.ioctl(self._announced, _GET_INDEX, request))[1]
        except OSError:
            return 0
        return index


def _is_pods(name: str) -> bool:
    """Whether podwire-cni gave this name: `pw` and 13 characters."""
    return name.startswith("pw") and len(name) == 15


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message; netlink aligns them to 4 bytes."""
    start = 0
    while start + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, start)
        if length < _HEADER.size:
            return
        yield kind, datagram[start + _HEADER.size : start + length]
        start += (length + 3) & ~3


def _link_of(kind: int, body: bytes) -> int:
    """The index of the link that a message is about; 0 for a route without one, or with many."""
    if kind in {_NEWROUTE, _DELROUTE}:
        return int.from_bytes(_attribute(body, _RTMSG_SIZE, _OIF), sys.byteorder)
    index: int = _INDEX.unpack_from(body)[0]
    return index


def _name(body: bytes) -> str:
    return _attribute(body, _IFINFO_SIZE, _IFNAME).rstrip(b"\0").decode()


def _attribute(body: bytes, start: int, wanted: int) -> bytes:
    """The value of the first attribute of a type; nothing without one."""
    while start + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if kind == wanted:
            return body[start + _ATTRIBUTE.size : start + length]
        start += max((length + 3) & ~3, _ATTRIBUTE.size)
    return b""
