"""What rtnetlink announces of links, addresses, routes, neighbours and switches, as it comes.

A socket belongs to the network namespace in which it was made, and so do its announcements.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator, Sequence

#: Steps of a classic BPF program (linux/filter.h, struct sock_filter): code, jt, jf, k.
Filter = Sequence[tuple[int, int, int, int]]

#: In the place of announcements that the kernel had no room for: what was in them is not known.
LOST = b""
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h


class Announcements:
    """Of these groups (linux/rtnetlink.h, RTMGRP_*); readable when there are some. Close it.

    taken: leaves the others out in the kernel.
    """

    def __init__(self, groups: int, taken: Filter = ()) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        if taken:
            _attach(self._socket, taken)
        self._socket.bind((0, groups))

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def read(self) -> Iterator[bytes]:
        """Datagrams since the last call, of some messages each; LOST where some were lost.

        Raises OSError: any error but that one is ours, and may last for ever.
        """
        while True:
            try:
                yield self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield LOST

    def any(self) -> bool:
        """Whether there were any since the last call; they are taken. Raises as read does."""
        return len(list(self.read())) > 0


def _attach(announcements: socket.socket, taken: Filter) -> None:
    """The kernel runs it for each message (linux/filter.h, struct sock_fprog)."""
    program = b"".join(struct.pack("=HBBI", *step) for step in taken)
    room = ctypes.create_string_buffer(program)
    head = struct.pack("@HP", len(taken), ctypes.addressof(room))
    announcements.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
