"""rtnetlink's part for clsact: a link's qdisc and the BPF filters in it (linux/pkt_sched.h).

    link ─ clsact ─┬─ ingress ─ filters, by preference and handle
                   └─ egress ── filters

Every function asks the network namespace of the calling thread, and raises OSError with the
kernel's error; TimeoutError where it says nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from enum import IntEnum
from typing import NamedTuple

_NEW_QDISC, _DEL_QDISC, _GET_QDISC = 36, 37, 38  # RTM_*, linux/rtnetlink.h
_NEW_FILTER, _DEL_FILTER, _GET_FILTER = 44, 45, 46
_REQUEST, _ACK, _EXCLUSIVE, _CREATE, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x300  # NLM_F_*
_ERROR, _DONE = 2, 3  # NLMSG_*
_KIND, _OPTIONS = 1, 2  # TCA_*
_FD, _NAME, _FLAGS, _ID = 6, 7, 8, 11  # TCA_BPF_*
_DIRECT = 1  # TCA_BPF_FLAG_ACT_DIRECT: the program's answer is what becomes of the packet
_CLSACT = 0xFFFFFFF1  # TC_H_CLSACT
_HANDLE = 0xFFFF0000  # what the kernel calls it
_ALL = socket.htons(3)  # ETH_P_ALL
_SECONDS = 10.0
_ROOM = 1 << 16
_HEADER = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=BxxxiIII")  # struct tcmsg
_ATTRIBUTE = struct.Struct("=HH")


class Side(IntEnum):
    """Which of clsact's two chains, as the parent of its filters."""

    INGRESS = 0xFFFFFFF2
    EGRESS = 0xFFFFFFF3


class Filter(NamedTuple):
    """One BPF filter. program: its id; preference and handle tell it from others'."""

    side: Side
    preference: int
    handle: int
    program: int
    name: str


_NEW = _CREATE | _EXCLUSIVE


def add_qdisc(link: int) -> bool:
    """Give a link (by index) a clsact; False where it has one. FileExistsError: another kind."""
    try:
        _tell(
            _NEW_QDISC, _MESSAGE.pack(0, link, _HANDLE, _CLSACT, 0) + _text(_KIND, "clsact"), _NEW
        )
    except FileExistsError:
        if has_qdisc(link):
            return False
        raise
    return True


def remove_qdisc(link: int) -> None:
    """Take a link's clsact away, with every filter in it."""
    _tell(_DEL_QDISC, _MESSAGE.pack(0, link, _HANDLE, _CLSACT, 0), 0)


def has_qdisc(link: int) -> bool:
    """Whether a link has a clsact."""
    for index, parent, _, attributes in _dump(_GET_QDISC, _MESSAGE.pack(0, link, 0, 0, 0)):
        if index == link and parent == _CLSACT:
            return attributes.get(_KIND, b"").rstrip(b"\0") == b"clsact"
    return False


def put_filter(link: int, wanted: Filter, descriptor: int) -> None:
    """Add a filter or replace the one of its preference and handle, between two packets."""
    options = _attribute(_FD, struct.pack("=I", descriptor)) + _text(_NAME, wanted.name)
    options += _attribute(_FLAGS, struct.pack("=I", _DIRECT))
    body = _place(link, wanted) + _text(_KIND, "bpf") + _attribute(_OPTIONS, options)
    _tell(_NEW_FILTER, body, _CREATE)


def remove_filter(link: int, there: Filter) -> None:
    """Take one filter away; the others stay."""
    _tell(_DEL_FILTER, _place(link, there) + _text(_KIND, "bpf"), 0)


def all_filters(link: int, side: Side) -> list[Filter | None]:
    """A side's filters; None stands for one without a program of eBPF."""
    found: list[Filter | None] = []
    for _, _, (handle, info), attributes in _dump(_GET_FILTER, _MESSAGE.pack(0, link, 0, side, 0)):
        if _OPTIONS not in attributes:
            continue  # a preference by itself, whose filters follow
        options = dict(_attributes(attributes[_OPTIONS]))
        if _ID not in options or attributes[_KIND].rstrip(b"\0") != b"bpf":
            found.append(None)
            continue
        name = options.get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
        (program,) = struct.unpack_from("=I", options[_ID])
        found.append(Filter(side, info >> 16, handle, program, name))
    return found


def _place(link: int, each: Filter) -> bytes:
    return _MESSAGE.pack(0, link, each.handle, each.side, each.preference << 16 | _ALL)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


_Row = tuple[int, int, tuple[int, int], dict[int, bytes]]


def _tell(kind: int, body: bytes, flags: int) -> None:
    for _ in _talk(kind, body, _ACK | flags):
        pass


def _dump(kind: int, body: bytes) -> Iterator[_Row]:
    """(link, parent, (handle, info), attributes) of each object."""
    for message in _talk(kind, body, _DUMP):
        _, index, handle, parent, info = _MESSAGE.unpack_from(message)
        yield index, parent, (handle, info), dict(_attributes(message[_MESSAGE.size :]))


def _talk(kind: int, body: bytes, flags: int) -> Iterator[bytes]:
    """Ask, and what is answered until it is all."""
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)) as talk:
        talk.settimeout(_SECONDS)
        talk.bind((0, 0))
        talk.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 1, 0) + body)
        while True:
            data = talk.recv(_ROOM)
            offset = 0
            while offset < len(data):
                length, answer, *_ = _HEADER.unpack_from(data, offset)
                message = data[offset + _HEADER.size : offset + length]
                if answer in (_ERROR, _DONE):
                    _refused(message)
                    return
                yield message
                offset += (length + 3) & ~3


def _refused(message: bytes) -> None:
    (code,) = struct.unpack_from("=i", message) if len(message) >= 4 else (0,)
    if code < 0:
        raise OSError(-code, os.strerror(-code))


def is_absent(error: OSError) -> bool:
    """Whether what was to go is gone: no such filter, no clsact, no link."""
    return error.errno in (errno.ENOENT, errno.EINVAL, errno.ENODEV)
