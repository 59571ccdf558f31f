"""Someone else changed our tables: the kernel says so by netlink, and at once.

nf_tables announces every commit to the group NFNLGRP_NFTABLES: a message per object, then
NFT_MSG_NEWGEN (linux/netfilter/nf_tables.h; since Linux 3.14). A commit of our own is
announced too. It is told from others' by counting: as many commits of our tables as we made
are ours, one more is not. (The sender's pid in NEWGEN would say it too, but not across pid
namespaces.) When the socket overflows, nothing is known, which counts as foreign.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator

from podwire_core.nft.objects import Table

NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7
_NFNL_SUBSYS_NFTABLES = 10
_NFT_MSG_NEWGEN = 15
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_FAMILY = {2: "ip", 10: "ip6", 1: "inet"}  # NFPROTO_*
BUFFER_BYTES = 8 * 1024 * 1024


class Monitor:
    """Watches the network namespace it was made in."""

    def __init__(self, tables: Iterable[Table], buffer_bytes: int = BUFFER_BYTES) -> None:
        self._tables = {table.key for table in tables}
        self._names = {name.encode() + b"\0" for _, name in self._tables}
        self._touched = False
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
        )
        # 33 is SO_RCVBUFFORCE, which CAP_NET_ADMIN may use: a large commit announces a lot.
        self._socket.setsockopt(socket.SOL_SOCKET, 33, buffer_bytes)
        self._socket.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))

    def fileno(self) -> int:
        """Readable when something was committed, ours or not."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()

    def foreign(self, own: int) -> bool:
        """Whether our tables saw more commits than the `own` ones since the last call."""
        commits = 0
        while True:
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError:
                return commits > own
            except OSError:  # ENOBUFS: announcements were lost
                self._drain()
                return True
            commits += self._count(data)

    def _drain(self) -> None:
        self._touched = False
        while True:
            try:
                self._socket.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError:
                continue

    def _count(self, data: bytes) -> int:
        """Commits that end in this datagram and touched our tables."""
        if not self._touched and not any(name in data for name in self._names):
            return 0  # a filling announces hundreds of thousands of elements to everyone
        commits = 0
        for kind, body in _messages(data):
            if kind & 0xFF == _NFT_MSG_NEWGEN:
                commits += self._touched
                self._touched = False
            elif not self._touched and _table(body) in self._tables:
                self._touched = True
        return commits


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each message of the nf_tables subsystem."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        if kind >> 8 == _NFNL_SUBSYS_NFTABLES:
            yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _table(body: bytes) -> tuple[str, ...]:
    """(family, table name) of a message: attribute 1 of every kind of object is its table."""
    family = _FAMILY.get(body[0], "?") if body else "?"
    offset = 4  # struct nfgenmsg
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            break
        if kind & 0x3FFF == 1:
            return (
                family,
                body[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace"),
            )
        offset += (length + 3) & ~3
    return (family, "")
