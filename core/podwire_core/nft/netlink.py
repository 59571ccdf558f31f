"""nf_tables' own netlink (linux/netfilter/nf_tables.h), as far as we read it: no writing here.

    message     podwire_core.netlink's, whose header is nfgenmsg (family, version, resource)
    attribute   the same; numbers in values are big-endian
    dump        a question whose answer is many messages, made while they are received

A dump that a commit fell into says so (NLM_F_DUMP_INTR); every commit makes a new generation.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import weakref
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress

from podwire_core.errors import NftError
from podwire_core.netlink import attribute, attributes, split

GETTABLE, GETCHAIN, GETRULE, GETSET, GETSETELEM = 1, 4, 7, 10, 13  # NFT_MSG_*
NEWGEN, GETGEN = 15, 16
FAMILIES = {"inet": 1, "ip": 2, "ip6": 10}  # NFPROTO_*

_NETLINK_NETFILTER = 12
_GROUP = 7  # NFNLGRP_NFTABLES
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_ERROR, _DONE = 2, 3  # NLMSG_*
_REQUEST, _DUMP, _INTERRUPTED = 0x1, 0x300, 0x10  # NLM_F_*
_SOL_NETLINK, _JOIN, _LEAVE = 270, 1, 2  # NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP
_SO_RCVBUFFORCE = 33  # CAP_NET_ADMIN may go past net.core.rmem_max
_CODE = struct.Struct("=i")
_HEADER = struct.Struct("=IHHII")
_BODY = 4  # bytes of struct nfgenmsg, after which the attributes begin
RECEIVE_BYTES = 1 << 16  # the kernel makes dumps in datagrams of up to 32 KB
ANSWER_SECONDS = 10.0

Attributes = dict[int, bytes]


class Absent(NftError):  # noqa: N818 - a fact about the question, mostly no error
    """The table or set that was asked for is not there."""


def listener(buffer_bytes: int) -> socket.socket:
    """A socket for announcements, which hears nothing until join()."""
    made = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER
    )
    with suppress(PermissionError):  # who may not enlarge it, may not join() either
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
    made.bind((0, 0))
    return made


def join(ears: socket.socket) -> None:
    """Hear every commit of this network namespace from now on."""
    ears.setsockopt(_SOL_NETLINK, _JOIN, _GROUP)


def leave(ears: socket.socket) -> None:
    """Hear no more."""
    ears.setsockopt(_SOL_NETLINK, _LEAVE, _GROUP)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(NFT_MSG_*, nfgenmsg and attributes) of each nf_tables message in a datagram."""
    for kind, _, _, body in split(data):
        if kind >> 8 == _SUBSYSTEM:
            yield kind & 0xFF, body


def family_of(body: bytes) -> str:
    """nft's word for a message's family, "?" for those that are never ours."""
    return next((word for word, number in FAMILIES.items() if body[:1] == bytes([number])), "?")


def generation_of(body: bytes) -> int:
    """The number of the commit that NEWGEN is about."""
    return number(fields_of(body).get(1))  # NFTA_GEN_ID


def fields_of(body: bytes) -> Attributes:
    """The attributes of a message."""
    return attributes(body, _BODY)


def number(value: bytes | None) -> int:
    """A number's value, 0 when its attribute is not there."""
    return int.from_bytes(value or b"", "big")


def text(value: bytes | None) -> str:
    """A name's or comment's value, which ends in a zero."""
    return (value or b"").split(b"\0", 1)[0].decode(errors="replace")


def userdata(value: bytes | None) -> Attributes:
    """libnftables' notes to itself: a byte of type, a byte of length, the value."""
    data, offset, found = value or b"", 0, {}
    while offset + 2 <= len(data):
        end = offset + 2 + data[offset + 1]
        found[data[offset]] = data[offset + 2 : end]
        offset = end
    return found


def name(kind: int, value: str) -> bytes:
    """An attribute that holds a name."""
    return attribute(kind, value.encode() + b"\0")


class Questions:
    """Asks the nf_tables of the network namespace it was made in; one question at a time.

    interrupted: a commit fell into a dump. lost: a part of an answer did not reach us. Both
    stay until they are set to False.
    """

    def __init__(self, datagram: int = RECEIVE_BYTES) -> None:
        """datagram: bytes that the kernel may put into one; those it makes end at 32 KB."""
        self.interrupted = self.lost = False
        self._datagram = datagram
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        # Lives as long as who asks with it, as libnftables' own socket does, unless closed.
        self._closed = weakref.finalize(self, self._socket.close)
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Ask no more."""
        self._closed()

    def generation(self) -> int:
        """The number of the last commit in this namespace, whosever it was."""
        return generation_of(self.body_of_one(GETGEN, "", b""))

    def one(self, kind: int, family: str, names: bytes) -> Attributes:
        """What one object is. Raises Absent."""
        return fields_of(self.body_of_one(kind, family, names))

    def dump(self, kind: int, family: str, names: bytes) -> Generator[bytes, None, None]:
        """Bodies of all the messages of an answer. Raises Absent.

        Whoever stops before the end closes it: the kernel takes no question while it has more
        to say, so the rest is passed over.
        """
        self._send(kind, family, names, _REQUEST | _DUMP)
        answers = self._answers()
        try:
            for body in answers:  # noqa: UP028 - `yield from` would close the answers too
                yield body
        finally:
            deque(answers, 0)

    def body_of_one(self, kind: int, family: str, names: bytes) -> bytes:
        """The same as the kernel sends it, its header included. Raises Absent."""
        self._send(kind, family, names, _REQUEST)
        return next(self._answers(), b"")

    def _send(self, kind: int, family: str, names: bytes, flags: int) -> None:
        self._sequence += 1
        body = bytes([FAMILIES.get(family, 0), 0, 0, 0]) + names
        length = _HEADER.size + len(body)
        kind |= _SUBSYSTEM << 8
        self._socket.send(_HEADER.pack(length, kind, flags, self._sequence, 0) + body)

    def _answers(self) -> Iterator[bytes]:
        while True:
            for kind, flags, sequence, body in split(self._receive()):
                if sequence != self._sequence:
                    continue  # the rest of an answer that came too late
                self.interrupted |= bool(flags & _INTERRUPTED)
                if kind in {_ERROR, _DONE}:
                    self._end(_CODE.unpack_from(body)[0])
                    return
                yield body

    def _receive(self) -> bytes:
        while True:
            try:
                return self._socket.recv(self._datagram)
            except TimeoutError as error:
                raise NftError(f"the kernel gave no answer in {ANSWER_SECONDS:.0f} s") from error
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise NftError(f"the kernel gave no answer: {error.strerror}") from error
                self.lost = True

    def _end(self, code: int) -> None:
        if code in {-errno.EINTR, -errno.EAGAIN}:
            self.lost = True
        elif code == -errno.ENOENT:
            raise Absent(os.strerror(errno.ENOENT))
        elif code < 0:
            raise NftError(f"the kernel does not say what is in force: {os.strerror(-code)}")
