"""As much of SCTP as it takes to see where an association would begin (RFC 9260).

Kernels of test machines often lack SCTP sockets, while netfilter knows the protocol well: so an
INIT is made by hand and sent by a raw socket, and whoever gets it answers with an INIT ACK, whose
state cookie says who that is.

    sport (2) dport (2) verification tag (4) CRC32c (4)   chunk: type (1) flags (1) length (2) …
    INIT, INIT ACK: initiate tag (4) window (4) streams out (2), in (2) TSN (4)  [parameters]
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

PROTOCOL = 132
_INIT, _INIT_ACK = 1, 2
_COOKIE = 7
_TAG = 0x706F6477
_FIRST_PORT, _PORTS = 20000, 40000
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h


def _table() -> Iterator[int]:
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)  # noqa: PLW2901 - a CRC is that
        yield number


_CRC = tuple(_table())


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Chunk(NamedTuple):
    """A packet with one INIT or INIT ACK. tag: the initiate tag; cookie: of an INIT ACK."""

    sport: int
    dport: int
    kind: int
    verification: int = 0
    cookie: bytes = b""
    tag: int = _TAG

    @property
    def packet(self) -> bytes:
        """Its bytes, with their checksum."""
        body = struct.pack(">IIHHI", self.tag, 65536, 1, 1, 1)
        if self.cookie:
            body += struct.pack(">HH", _COOKIE, 4 + len(self.cookie)) + self.cookie
        padding = bytes(-len(body) % 4)
        chunk = struct.pack(">BBH", self.kind, 0, 4 + len(body)) + body + padding
        head = struct.pack(">HHI", self.sport, self.dport, self.verification)
        return head + struct.pack("<I", _crc32c(head + bytes(4) + chunk)) + chunk


def _read(packet: bytes) -> Chunk | None:
    """An INIT or an INIT ACK; None for whatever else."""
    if len(packet) < 32:
        return None
    sport, dport, verification = struct.unpack_from(">HHI", packet)
    kind, _, length = struct.unpack_from(">BBH", packet, 12)
    (tag,) = struct.unpack_from(">I", packet, 16)
    cookie = packet[36 : 12 + length] if kind == _INIT_ACK else b""
    return Chunk(sport, dport, kind, verification, cookie, tag)


def _received(raw: socket.socket) -> tuple[Chunk | None, str]:
    """What came, and from whom; a raw socket of IPv4 gives its header, too. Raises OSError."""
    packet, address = raw.recvfrom(4096)
    if raw.family == socket.AF_INET:
        packet = packet[(packet[0] & 0xF) * 4 :]
    return _read(packet), str(address[0])


def answer(place: str, raw: socket.socket) -> None:
    """Take one packet; an INIT is answered with `PLACE:PORT CLIENT`."""
    init, client = _received(raw)
    if init is None or init.kind != _INIT:
        return
    text = f"{place}:{init.dport} {client}".encode()
    ack = Chunk(init.dport, init.sport, _INIT_ACK, init.tag, text)
    raw.sendto(ack.packet, (client, 0))


class _Asker:
    """One raw socket a family; who is refused is told by the ports that come back with the ICMP."""

    def __init__(self, targets: Sequence[tuple[str, int]]) -> None:
        self.targets = targets
        self.answers: list[tuple[str, str]] = [("silent", "")] * len(targets)
        self.first = _FIRST_PORT + int.from_bytes(os.urandom(2), "big") % _PORTS
        self.waiting = len(targets)
        self.sockets: dict[bool, socket.socket] = {}
        for v6, level, option in ((False, 0, _IP_RECVERR), (True, 41, _IPV6_RECVERR)):
            family = socket.AF_INET6 if v6 else socket.AF_INET
            self.sockets[v6] = socket.socket(family, socket.SOCK_RAW, PROTOCOL)
            self.sockets[v6].setblocking(False)
            self.sockets[v6].setsockopt(level, option, 1)

    def run(self, timeout: float) -> list[tuple[str, str]]:
        deadline = time.monotonic() + timeout
        for index, (address, port) in enumerate(self.targets):
            init = Chunk(self.first + index, port, _INIT).packet
            while not self._sent(self.sockets[":" in address], init, address):
                pass  # it told of an earlier refusal, and sent nothing
        with selectors.DefaultSelector() as selector:
            for raw in self.sockets.values():
                selector.register(raw, selectors.EVENT_READ, raw)
            while self.waiting and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    self._take(key.data)
        return self.answers

    def _sent(self, raw: socket.socket, packet: bytes, address: str) -> bool:
        try:
            raw.sendto(packet, (address, 0))
        except ConnectionRefusedError:
            return False
        return True

    def _take(self, raw: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            packet, _, _, _ = raw.recvmsg(4096, 1024, socket.MSG_ERRQUEUE)
            (sport,) = struct.unpack_from(">H", packet)
            self._note(sport, "refused", "")
            return
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            chunk, _ = _received(raw)
            if chunk and chunk.kind == _INIT_ACK:
                self._note(chunk.dport, "answered", chunk.cookie.decode())

    def _note(self, port: int, outcome: str, text: str) -> None:
        index = port - self.first
        if 0 <= index < len(self.answers) and self.answers[index][0] == "silent":
            self.answers[index] = (outcome, text)
            self.waiting -= 1


def ask(targets: Sequence[tuple[str, int]], timeout: float) -> list[tuple[str, str]]:
    """[outcome, text] of an INIT to each (address, port), as podwire_lab's probe has them."""
    asker = _Asker(targets)
    try:
        return asker.run(timeout)
    finally:
        for raw in asker.sockets.values():
            raw.close()
