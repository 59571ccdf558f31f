"""Someone else changed our tables: the kernel says so by netlink, and at once.

nf_tables announces every commit to the group NFNLGRP_NFTABLES: a message per object, then
NFT_MSG_NEWGEN (linux/netfilter/nf_tables.h; since Linux 3.14). A commit of our own is
announced too. It is told from others' by counting: as many commits of our tables as we made
are ours, one more is not. (The sender's pid in NEWGEN would say it too, but not across pid
namespaces.) When the socket overflows, nothing is known, which counts as foreign.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterable

from podwire_core.nft import netlink
from podwire_core.nft.netlink import fields_of, messages, text
from podwire_core.nft.objects import Table

BUFFER_BYTES = 8 * 1024 * 1024  # a large commit announces a lot
ANNOUNCED_SECONDS = 1.0


class Monitor:
    """Watches the network namespace it was made in, or that its ears were made in."""

    def __init__(
        self,
        tables: Iterable[Table],
        ears: socket.socket | None = None,
        *,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self._tables = {table.key for table in tables}
        self._names = {name.encode() + b"\0" for _, name in self._tables}
        self._touched = False
        self._last = b""
        self._socket = ears or netlink.listener(buffer_bytes)
        netlink.join(self._socket)

    def fileno(self) -> int:
        """Readable when something was committed, ours or not."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()

    def foreign(self, own: int) -> bool:
        """Whether our tables saw more commits than the `own` ones since the last call.

        Any error but lost announcements is one of this program, and raised (OSError).
        """
        commits = 0
        while True:
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError:
                return commits > own
            except OSError as error:
                _lost(error)
                self.forget()
                return True
            commits += self._count(data)
            self._last = data

    def foreign_until(self, generation: int) -> bool:
        """Whether our tables saw a commit up to this generation, which there has been already.

        A commit is in force a moment before it is announced, so this waits for that.
        """
        while True:
            if self.foreign(0):
                return True
            if self._heard(generation):
                return False
            if not select.select([self], [], [], ANNOUNCED_SECONDS)[0]:
                return True  # nothing is known

    def forget(self) -> None:
        """Drop what was announced and not yet counted. Raises OSError, see foreign()."""
        self._touched = False
        while True:
            try:
                self._socket.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError as error:
                _lost(error)

    def _count(self, data: bytes) -> int:
        """Commits that end in this datagram and touched our tables."""
        if not self._touched and not any(name in data for name in self._names):
            return 0  # a filling announces hundreds of thousands of elements to everyone
        commits = 0
        for kind, body in messages(data):
            if kind == netlink.NEWGEN:
                commits += self._touched
                self._touched = False
            elif not self._touched:
                # Attribute 1 of every kind of object is its table.
                key = (netlink.family_of(body), text(fields_of(body).get(1)))
                self._touched = key in self._tables
        return commits

    def _heard(self, generation: int) -> bool:
        """Whether this commit, or a later one, was announced: a commit's last message is NEWGEN."""
        return any(
            kind == netlink.NEWGEN
            and (netlink.generation_of(body) - generation) % (1 << 32) < 1 << 31  # it may wrap
            for kind, body in messages(self._last)
        )


def _lost(error: OSError) -> None:
    """Nothing, when announcements were lost. Raises what else is wrong: it may last for ever."""
    if error.errno != errno.ENOBUFS:
        raise error
