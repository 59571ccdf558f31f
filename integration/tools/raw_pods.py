"""Packets as a pod makes them with CAP_NET_RAW, and an eye for what arrives elsewhere.

Gun(netns)(packet)        through eth0, whatever the stack thinks of it
Eye(netns).saw(number)    a packet of this number, or one around it
wrapped(packet, …)        inside VXLAN, as a node would send it
"""

from __future__ import annotations

import json
import socket
import struct
import time

import crafted
from crafted import Way
from scratch import Netns, until

from podwire_node.routes.overlay import mac_of

VNI = 112
_EVERYTHING = 3  # ETH_P_ALL
_HAS_VNI = 0x08 << 24  # VXLAN's first four bytes
_SOMEONE = "02:00:00:00:00:09"
#: Seconds; longer than a packet needs through a node, also a busy one.
NEVER = 1.5


class Gun:
    """A pod's raw socket. Its gateway is a permanent neighbour: the plugin wrote it.

    fired: when any of them sent something last.
    """

    fired = 0.0

    def __init__(self, netns: Netns) -> None:
        (link,) = json.loads(netns.run("ip", "-json", "link", "show", "eth0"))
        entries = netns.run("ip", "-json", "neigh", "show", "dev", "eth0", "nud", "permanent")
        self._macs = json.loads(entries)[0]["lladdr"], link["address"]
        with netns.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind(("eth0", 0))

    def __call__(self, packet: bytes) -> None:
        self._socket.send(crafted.frame(*self._macs, packet))
        Gun.fired = time.monotonic()

    def close(self) -> None:
        self._socket.close()


class Eye:
    """Whatever comes in by eth0, from now on."""

    def __init__(self, netns: Netns) -> None:
        with netns.inside():
            kind = socket.htons(_EVERYTHING)
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, kind)
            self._socket.bind(("eth0", _EVERYTHING))
        self._socket.setblocking(False)
        self._seen: list[bytes] = []

    def saw(self, number: int, seconds: float = NEVER) -> bool:
        """Whether it is there within this time after the last shot."""
        left = max(0.2, Gun.fired + seconds - time.monotonic())  # softirqs may be late, too
        try:
            until("it arrives", lambda: self._has(number.to_bytes(4, "big")), left)
        except AssertionError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()

    def _has(self, number: bytes) -> bool:
        try:
            while True:
                frame, address = self._socket.recvfrom(65535)
                if address[2] != socket.PACKET_OUTGOING:
                    self._seen.append(frame)
        except BlockingIOError:
            return any(number in each for each in self._seen)


def wrapped(inner: bytes, way: Way, node: str) -> bytes:
    """A packet inside VXLAN. node: the InternalIP of the one that is to unwrap it."""
    frame = crafted.frame(mac_of(node), _SOMEONE, inner)
    return crafted.datagram(way, _HAS_VNI, struct.pack(">I", VNI << 8) + frame)
