"""Packets as a pod may make them with CAP_NET_RAW, and an eye for what arrives elsewhere.

    Gun(netns)(packet, …)     through eth0, whatever the stack thinks of them
    Eye(netns).saw(number)    a packet of this number, or one around it

wrapped() is a packet inside VXLAN, as a node would send it.
"""

from __future__ import annotations

import json
import socket
import struct
from types import TracebackType

import crafted
from crafted import UDP, Way
from scratch import Netns, until

from podwire_node.routes.overlay import mac_of

VNI = 112
_EVERYTHING = 3  # ETH_P_ALL
_SOMEONE = "02:00:00:00:00:09"
#: Longer than a packet needs through a node, also a busy one.
NEVER = 0.4


class Gun:
    """A pod's raw socket. The gateway is known for good: the plugin wrote it."""

    def __init__(self, netns: Netns) -> None:
        (link,) = json.loads(netns.run("ip", "-json", "link", "show", "eth0"))
        neighbours = json.loads(netns.run("ip", "-json", "neigh", "show", "dev", "eth0", "nud", "all"))
        self._macs = next(row["lladdr"] for row in neighbours if "lladdr" in row), link["address"]
        with netns.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind(("eth0", 0))

    def __call__(self, *packets: bytes) -> None:
        for each in packets:
            self._socket.send(crafted.frame(*self._macs, each))

    def __enter__(self) -> Gun:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._socket.close()


class Eye:
    """Whatever comes in by eth0, from now on."""

    def __init__(self, netns: Netns) -> None:
        with netns.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
            self._socket.bind(("eth0", _EVERYTHING))
        self._socket.setblocking(False)
        self._seen: list[bytes] = []

    def saw(self, number: int, seconds: float = NEVER) -> bool:
        """Whether it is there within this time."""
        try:
            until("it arrives", lambda: self._has(number.to_bytes(4, "big")), seconds)
        except AssertionError:
            return False
        return True

    def _has(self, number: bytes) -> bool:
        try:
            while True:
                frame, address = self._socket.recvfrom(65535)
                if address[2] != socket.PACKET_OUTGOING:
                    self._seen.append(frame)
        except BlockingIOError:
            return any(number in each for each in self._seen)

    def __enter__(self) -> Eye:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._socket.close()


def wrapped(inner: bytes, node: str) -> bytes:
    """The payload of UDP that a node with this InternalIP takes for a peer's."""
    return struct.pack(">BBHI", 8, 0, 0, VNI << 8) + crafted.frame(mac_of(node), _SOMEONE, inner)


def udp(way: Way, payload: bytes) -> bytes:
    """A datagram with a payload."""
    return crafted.payload(way, UDP, payload)
