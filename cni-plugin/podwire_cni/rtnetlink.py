"""A rtnetlink socket: many messages in one send, what the kernel says to each, and dumps.

```
 send   [message 1][message 2] … [message n, acknowledge]        one system call
 recv   a refusal for each message that failed, then the acknowledgement of the last
```

The kernel works through a batch before send() returns, goes on after a message that it
refuses, and reports every refusal unasked (netlink_rcv_skb, net/netlink/af_netlink.c). So one
acknowledgement at the end tells that all others went well, and nothing here ever waits.

A socket belongs for ever to the namespace it was opened in.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

NLM_F_REQUEST = 0x01
_NLM_F_ACK = 0x04
_NLM_F_DUMP_INTR = 0x10
_NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP = 0x300
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSGERR_ATTR_MSG = 1

_SOL_NETLINK = 270  # linux/socket.h
_CAP_ACK = 10  # do not send the whole request back
_EXT_ACK = 11  # refusals with the kernel's reason
_GET_STRICT_CHK = 12  # dumps heed their filters; since 4.20

HEADER_BYTES = 16
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_CODE = struct.Struct("=i")  # struct nlmsgerr begins with it
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_RECEIVE = 1 << 18  # the kernel fills at most 32 KiB, its own ack is smaller
# The kernel has answered before send() returns. Should it ever not, nobody hangs for ever.
_PATIENCE = struct.pack("@ll", 10, 0)  # struct timeval, seconds
_DUMPS = 10  # a dump that changes fell into is begun anew, this often


@dataclass(frozen=True, slots=True)
class Message:
    """One request. step: what it does, as `ip` would write it; for errors.

    data: header and body as rtnetlink wants them; sequence and flags are filled in here.
    """

    step: object
    data: bytes


class Refused(Exception):  # noqa: N818 - completes "the kernel …"
    """The kernel refused a step. number: the errno.  reason: the kernel's words, or ""."""

    def __init__(self, step: object, number: int, reason: str = "") -> None:
        super().__init__(f"{step}: {os.strerror(number)}")
        self.step = step
        self.number = number
        self.reason = reason


class Socket:
    """A rtnetlink socket in the calling thread's namespace. groups: multicast, as bits."""

    def __init__(self, groups: int = 0) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
            for option in (_CAP_ACK, _EXT_ACK, _GET_STRICT_CHK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._socket.bind((0, groups))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For poll()."""
        return self._socket.fileno()

    def perform(self, messages: Sequence[Message]) -> None:
        """Have all messages done, in order. Raises Refused for the first that was not."""
        last = len(messages)
        batch = b"".join(
            _numbered(message.data, number, _NLM_F_ACK if number == last else 0)
            for number, message in enumerate(messages, 1)
        )
        self._socket.send(batch)
        refused: dict[int, Refused] = {}
        for kind, flags, number, answer in self._answers():
            if kind == _NLMSG_ERROR:
                code = _errno(answer)
                if code:
                    step = messages[number - 1].step
                    refused[number] = Refused(step, code, _reason(kind, flags, answer))
                if number == last:
                    break
        if refused:
            raise refused[min(refused)]

    def ask(self, message: Message) -> list[bytes]:
        """What the kernel tells: each answer whole, header included.

        A dump that something changed under is asked for again. Raises Refused, with EAGAIN
        when no dump comes out whole.
        """
        for _ in range(_DUMPS):
            answers = self._ask(message)
            if answers is not None:
                return answers
        raise Refused(message.step, errno.EAGAIN)

    def announcements(self) -> Iterator[tuple[int, bytes]]:
        """One datagram's messages: type and all of it. OSError(ENOBUFS) when some were lost."""
        for kind, _, _, message in _split(self._socket.recv(_RECEIVE)):
            yield kind, message

    def _ask(self, message: Message) -> list[bytes] | None:
        self._socket.send(_numbered(message.data, 1, _NLM_F_ACK))
        found = []
        interrupted = False
        for kind, flags, _, answer in self._answers():
            interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
            # A dump ends with the one, a single answer with an acknowledgement.
            if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
                if number := _errno(answer):
                    raise Refused(message.step, number, _reason(kind, flags, answer))
                break
            found.append(answer)
        return None if interrupted else found

    def _answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        while True:
            yield from _split(self._socket.recv(_RECEIVE))


def index_in(message: bytes) -> int:
    """The index in a message about a link: the third field of struct ifinfomsg."""
    return int.from_bytes(message[_HEADER.size + 4 : _HEADER.size + 8], sys.byteorder)


def header(kind: int, flags: int, length: int) -> bytes:
    """A message's header, for a body of so many bytes."""
    return _HEADER.pack(_HEADER.size + length, kind, flags, 0, 0)


def _numbered(data: bytes, number: int, flags: int) -> bytes:
    """The message with its length, number and flags, padded for the next one to follow."""
    _, kind, own, _, _ = _HEADER.unpack_from(data)
    header = _HEADER.pack(len(data), kind, own | flags | NLM_F_REQUEST, number, 0)
    return header + data[_HEADER.size :] + bytes(-len(data) % 4)


def _split(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags and number of each message, and all of it."""
    start = 0
    while start < len(datagram):
        length, kind, flags, number, _ = _HEADER.unpack_from(datagram, start)
        yield kind, flags, number, datagram[start : start + length]
        start += length + -length % 4


def _errno(answer: bytes) -> int:
    (code,) = _CODE.unpack_from(answer, _HEADER.size)
    return -int(code)


def attributes(message: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute from a place in a message on."""
    while start + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        yield kind & _TYPE_MASK, message[start + _ATTRIBUTE.size : start + length]
        start += max(_ATTRIBUTE.size, length + -length % 4)


def _reason(kind: int, flags: int, answer: bytes) -> str:
    """The extended acknowledgement's sentence, after the errno and, if any, the request."""
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    request = _HEADER.size if kind == _NLMSG_ERROR else 0
    for kind_, value in attributes(answer, _HEADER.size + _CODE.size + request):
        if kind_ == _NLMSGERR_ATTR_MSG:
            return value.rstrip(b"\0").decode()
    return ""
