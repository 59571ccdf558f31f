"""Netlink as all its protocols speak it: messages, attributes, questions (RFC 3549).

    datagram    messages, each padded to four bytes
    message     nlmsghdr (length, type, flags, sequence, port), the protocol's header, attributes
    attribute   length, type, value, padded to four bytes; a nested one's value is attributes

Everything is in the host's byte order, but for values whose protocol says otherwise.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

ROUTE, SOCK_DIAG, NETFILTER = socket.NETLINK_ROUTE, 4, 12
NESTED = 0x8000  # NLA_F_NESTED
ANSWER_SECONDS = 10.0
MAX_TOLD = 100

REQUEST, ACK = 0x1, 0x4  # NLM_F_*

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_CODE = struct.Struct("=i")
_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_ERROR, _DONE = 2, 3  # NLMSG_*
_DUMP = 0x300  # NLM_F_*
_SOL_NETLINK, _CAP_ACK = 270, 10  # NETLINK_CAP_ACK: an error does not repeat the question
_RECEIVE_BYTES = 1 << 16  # the kernel makes dumps in datagrams of up to 32 KB


class Message(NamedTuple):
    """What is asked, or answered: the protocol's header and attributes.

    flags: NLM_F_* of a change, such as NLM_F_CREATE.
    """

    kind: int
    body: bytes
    flags: int = 0


def packed(message: Message, flags: int, sequence: int) -> bytes:
    """A message as it is sent, with its padding."""
    length = _HEADER.size + len(message.body)
    head = _HEADER.pack(length, message.kind, flags, sequence, 0)
    return head + message.body + b"\0" * (-length % 4)


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute with its padding."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *attributes_: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(attributes_))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Values by type, of a list that repeats no type. A broken tail is left out."""
    return dict(each_attribute(data, offset))


def each_attribute(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """(type, value) in order: lists may repeat a type."""
    end = len(data) - _ATTRIBUTE.size
    while offset <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, body) of each message of a datagram. A broken tail is left out."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


class Conversation:
    """One question at a time, in the network namespace it was made in; for one thread.

    Raises OSError with the kernel's own number; TimeoutError when it says nothing.
    """

    def __init__(self, protocol: int) -> None:
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Ask no more."""
        self._socket.close()

    def dump(self, question: Message) -> Generator[bytes, None, None]:
        """Bodies of the messages of an answer, as they come: nothing is kept.

        Whoever stops before the end closes it: the kernel takes no question while it has more
        to say, so the rest is passed over.
        """
        self._socket.send(self._pack(question, REQUEST | _DUMP))
        answers = self._answers()
        try:
            for body in answers:  # noqa: UP028 - `yield from` would close the answers too
                yield body
        finally:
            deque(answers, 0)

    def ask(self, question: Message) -> bytes:
        """The body of the one message that answers; no answer is an error of the kernel's."""
        self._socket.send(self._pack(question, REQUEST | ACK))
        return b"".join(self._answers())

    def tell(self, messages: Sequence[Message]) -> list[int]:
        """Send messages in one datagram; the errno of each that was refused, in their order.

        At most MAX_TOLD, as each refusal takes room in the buffer that is read afterwards.
        """
        if not messages:
            return []
        packed = [self._pack(each, REQUEST | each.flags) for each in messages[:-1]]
        # The kernel takes them in their order, so the last one's answer is the end.
        packed.append(self._pack(messages[-1], REQUEST | ACK | messages[-1].flags))
        self._socket.send(b"".join(packed))
        return [code for code in self._verdicts(len(messages)) if code]

    def _pack(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        return packed(message, flags, self._sequence)

    def _answers(self) -> Iterator[bytes]:
        while True:
            for kind, _, sequence, body in split(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue  # the rest of an answer that came too late
                if kind in {_ERROR, _DONE}:
                    _raise(_code(body))
                    return
                yield body

    def _verdicts(self, count: int) -> Iterator[int]:
        first = self._sequence - count + 1
        while True:
            for kind, _, sequence, body in split(self._socket.recv(_RECEIVE_BYTES)):
                if kind == _ERROR and sequence >= first:
                    yield _code(body)
                    if sequence == self._sequence:
                        return


def _code(body: bytes) -> int:
    """The errno that an answer ends with, 0 for none."""
    code: int = _CODE.unpack_from(body)[0]
    return -code


def _raise(code: int) -> None:
    if code > 0:
        raise OSError(code, os.strerror(code))
