"""One client's connection: its call comes in, at most one answer goes out.

Every read has a deadline and a bound. The pod's namespace comes as a descriptor beside the
first bytes (SCM_RIGHTS) and belongs to the call, which closes it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from podwire_node.cni.calls.wire import (
    HEADER_BYTES,
    Answer,
    Request,
    WireError,
    decode_request,
    encode_answer,
    request_sizes,
)

_UCRED = struct.Struct("iII")  # struct ucred: process, user, group
_PIECE = 1 << 16
_READ_SECONDS = 5.0  # a client writes its whole message at once


class Connection:
    """An accepted socket."""

    def __init__(self, accepted: socket.socket) -> None:
        self._socket = accepted

    @property
    def user(self) -> int:
        """The user id of whoever connected, as the kernel noted it then."""
        raw = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        return int(_UCRED.unpack(raw)[1])

    @property
    def is_gone(self) -> bool:
        """Whether the client gave up: nobody waits for the answer any more."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    @contextmanager
    def request(self) -> Iterator[tuple[Request, int | None]]:
        """The call and its namespace's descriptor, which is open for as long as the block lasts.

        Raises WireError, or OSError (TimeoutError) when the client is slow or gone.
        """
        deadline = time.monotonic() + _READ_SECONDS
        self._wait_until(deadline)
        # Nearly always this is all of it.
        first, descriptors, flags, _ = socket.recv_fds(
            self._socket, _PIECE, 1, socket.MSG_CMSG_CLOEXEC
        )
        netns = descriptors[0] if descriptors else None
        try:
            if flags & socket.MSG_CTRUNC:
                raise WireError("the pod's namespace was lost: the agent has no descriptor free")
            yield self._rest(first, deadline), netns
        finally:
            if netns is not None:
                os.close(netns)

    def answer(self, answer: Answer) -> None:
        """Send the answer. Raises WireError, or OSError when nobody takes it."""
        self._socket.settimeout(_READ_SECONDS)
        self._socket.sendall(encode_answer(answer))

    def _rest(self, first: bytes, deadline: float) -> Request:
        message = self._whole(first, HEADER_BYTES, deadline)
        environment, stdin = request_sizes(message[:HEADER_BYTES])
        begin = HEADER_BYTES + environment
        message = self._whole(message, begin + stdin, deadline)
        return decode_request(message[HEADER_BYTES:begin], message[begin : begin + stdin])

    def _whole(self, begun: bytes, length: int, deadline: float) -> bytes:
        """At least so many bytes of the message, which has begun."""
        if len(begun) >= length:
            return begun
        pieces = bytearray(begun)
        while len(pieces) < length:
            self._wait_until(deadline)
            piece = self._socket.recv(min(length - len(pieces), _PIECE))
            if not piece:
                raise WireError(f"the message ends {length - len(pieces)} bytes early")
            pieces += piece
        return bytes(pieces)

    def _wait_until(self, deadline: float) -> None:
        # 0 would mean "do not wait", which is another error.
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
