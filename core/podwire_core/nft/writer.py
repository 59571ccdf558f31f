"""Elements that come and go, straight to nf_tables: what most transactions are made of.

    BATCH_BEGIN   NEWSETELEM | DELSETELEM { table, set, elements } …   BATCH_END

libnftables reads every chain and set there is before it writes one element, and spells what we
hold as values: with ten thousand chains, milliseconds for a change of microseconds. It writes all
else, and elements of sets of intervals, whose bounds are its business.

All of a batch is put in force or none (linux/netfilter/nfnetlink.h, nf_tables.h).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

from podwire_core.errors import NftError
from podwire_core.netlink import attribute, nested, split
from podwire_core.nft import netlink
from podwire_core.nft.datatypes import Layout, Unreadable
from podwire_core.nft.netlink import Absent, Questions, name
from podwire_core.nft.objects import Element, Key
from podwire_core.nft.sets import VALUE, VERDICT, Declared
from podwire_core.nft.statements import Verdict, VerdictKind
from podwire_core.nft.transaction import Command, Filling, Gone, Transaction, Verb

SEND_BYTES = 16 * 1024 * 1024
_LAST_SEQUENCE = 1 << 31  # of 32 bits, with room for any batch
MESSAGE_BYTES = 48 * 1024  # of elements: an attribute's length has sixteen bits

_NETFILTER, _SUBSYSTEM = 12, 10  # NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_NEW, _DELETE = 12, 14  # NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM
_REQUEST, _ACK, _CREATE = 0x1, 0x4, 0x400  # NLM_F_*
_ERROR = 2  # NLMSG_ERROR
_SOL_NETLINK, _CAP_ACK = 270, 10  # NETLINK_CAP_ACK: an error does not repeat the question
_SO_SNDBUFFORCE = 32
_LIST, _ELEM = 3, 1  # NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_LIST_ELEM
_KEY, _DATA, _USERDATA = 1, 2, 6  # NFTA_SET_ELEM_*
_CODES = {
    VerdictKind.DROP: 0,
    VerdictKind.ACCEPT: 1,
    VerdictKind.JUMP: -3,
    VerdictKind.GOTO: -4,
    VerdictKind.RETURN: -5,
}
_HEADER = struct.Struct("=IHHII")
_CODE = struct.Struct("=i")


_Home = tuple[Key, str]  # a table's key, and a set of it
_Thing = Element | Gone


class _Codec(NamedTuple):
    """How a set's keys and values are written."""

    key: Layout
    data: Layout | None


class _Message(NamedTuple):
    """NFT_MSG_*, what follows the header, and what it is about."""

    kind: int
    body: bytes
    verb: Verb
    things: Sequence[_Thing]


class Writer:
    """Works in the network namespace it was made in."""

    def __init__(self) -> None:
        self._questions = Questions()
        self._codecs: dict[_Home, _Codec | None] = {}
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        weakref.finalize(self, self._socket.close)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        with suppress(PermissionError):  # in a user namespace: what is too long is libnftables'
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BYTES)
        self._socket.settimeout(netlink.ANSWER_SECONDS)
        self._socket.bind((0, 0))
        self._late = select.poll()
        self._late.register(self._socket, select.POLLIN)

    def forget(self) -> None:
        """Someone may have made sets anew: ask for their types again."""
        self._codecs.clear()

    def notice(self, transaction: Transaction) -> None:
        """Libnftables committed this: what we know of sets that came or went with it is old."""
        if isinstance(transaction, Filling):
            return
        for command in transaction.commands:
            key = command.object.key
            if len(key) == 2:  # a table
                self.forget()
                return
            if key[2] == "set":
                self._codecs.pop((key[:2], key[3]), None)

    def takes(self, transaction: Transaction) -> bool:
        """Whether it is made of elements alone, of sets that can be written."""
        if isinstance(transaction, Filling):
            return bool(transaction) and all(map(self._codec, transaction.groups))
        commands = transaction.commands
        if not commands or not all(map(_is_element, commands)):
            return False
        return all(map(self._codec, {_home(each) for each in commands}))

    def commit(self, transaction: Transaction) -> None:
        """Put in force what takes() takes. Raises NftError, and Unreadable for odd words.

        Unreadable too for what is longer than our buffer: nothing of it is in force then.
        """
        messages: list[_Message] = []
        for verb, home, things in _groups(transaction):
            messages += self._messages(verb, home, things)
        self._send(messages)

    def _codec(self, home: _Home) -> _Codec | None:
        if home not in self._codecs:
            self._codecs[home] = self._learn(home)
        return self._codecs[home]

    def _learn(self, home: _Home) -> _Codec | None:
        (family, table), set_name = home
        names = name(1, table) + name(2, set_name)
        try:
            found = Declared(self._questions.one(netlink.GETSET, family, names))
            if found.interval:
                return None
            return _Codec(found.key(), found.values())
        except (Absent, Unreadable):
            return None

    def _messages(self, verb: Verb, home: _Home, things: Sequence[_Thing]) -> Iterator[_Message]:
        """None of them is too long for its attribute."""
        codec = self._codec(home)
        if codec is None:
            raise Unreadable
        kind = _NEW if verb is Verb.ADD else _DELETE
        added, deleted = _added(codec), _deleted(codec)
        packed = (added(each) if isinstance(each, Element) else deleted(each) for each in things)
        (family, table), set_name = home
        head = bytes([netlink.FAMILIES[family], 0, 0, 0]) + name(1, table) + name(2, set_name)
        part: list[bytes] = []
        size = first = 0
        for index, item in enumerate(packed):
            if size + len(item) > MESSAGE_BYTES:
                listed = nested(_LIST, b"".join(part))
                yield _Message(kind, head + listed, verb, things[first:index])
                part, size, first = [], 0, index
            part.append(item)
            size += len(item)
        yield _Message(kind, head + nested(_LIST, b"".join(part)), verb, things[first:])

    def _send(self, messages: Sequence[_Message]) -> None:
        subsystem = bytes([0, 0]) + _SUBSYSTEM.to_bytes(2, "big")
        if self._sequence > _LAST_SEQUENCE:
            self._sequence = 0
        self._drain()
        begin = self._sequence + 1
        data = [self._packed(_BATCH_BEGIN, _REQUEST, subsystem)]
        about: dict[int, _Message] = {}
        for index, message in enumerate(messages):
            flags = _REQUEST | (_CREATE if message.kind == _NEW else 0)
            if index == len(messages) - 1:
                flags |= _ACK  # its answer is the last one
            data.append(self._packed(_SUBSYSTEM << 8 | message.kind, flags, message.body))
            about[self._sequence] = message
        last = self._sequence
        data.append(self._packed(_BATCH_END, _REQUEST, subsystem))
        try:
            self._socket.send(b"".join(data))
            self._hear(range(begin, last + 1), about)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:  # nothing was sent
                raise Unreadable from error
            raise NftError(f"the kernel gave no answer: {error}") from error

    def _drain(self) -> None:
        """What is left of an answer that was given up would be in the way of the next one."""
        while self._late.poll(0):
            with suppress(OSError):  # which says that some of it was lost
                self._socket.recv(netlink.RECEIVE_BYTES)

    def _packed(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        body += b"\0" * (-len(body) % 4)
        return _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body

    def _hear(self, ours: range, about: dict[int, _Message]) -> None:
        """Wait for the last answer; the first refusal is what is told."""
        refusal: NftError | None = None
        while True:
            for kind, _, sequence, body in split(self._socket.recv(netlink.RECEIVE_BYTES)):
                if kind != _ERROR or sequence not in ours:
                    continue  # of an answer that came too late
                code = -_CODE.unpack_from(body)[0]
                if code and refusal is None:
                    refusal = _refusal(code, about.get(sequence))
                if sequence == ours[-1] or (code and sequence == ours[0]):
                    if refusal is not None:
                        self.forget()
                        raise refusal
                    return


def _refusal(code: int, message: _Message | None) -> NftError:
    """In libnftables' words."""
    things = message.things if message else ()
    which = f": {Command(message.verb, things[0]).text}" if message else ""
    more = f" (or one of {len(things) - 1} more)" if len(things) > 1 else ""
    return NftError(f"Could not process rule: {os.strerror(code)}{which[:300]}{more}")


def _groups(transaction: Transaction) -> Iterator[tuple[Verb, _Home, Sequence[_Thing]]]:
    """What is added to, or deleted from, each set in turn."""
    if isinstance(transaction, Filling):
        for home, elements in transaction.groups.items():
            yield Verb.ADD, home, elements
        return
    groups = groupby(transaction.commands, lambda command: (command.verb, _home(command)))
    for (verb, home), commands in groups:
        objects = [command.object for command in commands]
        yield verb, home, [each for each in objects if isinstance(each, Element | Gone)]


def _is_element(command: Command) -> bool:
    each = command.object
    if isinstance(each, Element):
        return command.verb is Verb.ADD
    return isinstance(each, Gone) and len(each.key) == 5 and command.verb is Verb.DELETE


def _home(command: Command) -> _Home:
    """Table and set."""
    each = command.object
    if isinstance(each, Element):
        return each.table.key, each.set
    return each.key[:2], each.key[3]


def _added(codec: _Codec) -> Callable[[Element], bytes]:
    """What packs an element. Most have a key and a value of known lengths, and nothing else."""
    key_words, values = codec.key.value, codec.data.value if codec.data else _no_values
    key_only = _Frame(codec.key.length, 0)
    both = _Frame(codec.key.length, codec.data.length if codec.data else 0)

    def pack(each: Element) -> bytes:
        key, data = key_words(each.parts), each.data
        if not each.words:
            if isinstance(data, tuple):
                return both.pack(key, values(data))
            if data is None:
                return key_only.pack(key)
        rest = b""
        if isinstance(data, Verdict):
            rest = nested(_DATA, _verdict(data))
        elif data is not None:
            rest = nested(_DATA, attribute(VALUE, values(data)))
        if each.words:
            comment = each.comment.encode() + b"\0"
            rest += attribute(_USERDATA, bytes([0, len(comment)]) + comment)
        return nested(_ELEM, nested(_KEY, attribute(VALUE, key)) + rest)

    return pack


def _no_values(words: Sequence[str]) -> bytes:
    """Of a set, which has none, and of a map of verdicts."""
    raise Unreadable(words)


def _deleted(codec: _Codec) -> Callable[[Gone], bytes]:
    frame, key_words = _Frame(codec.key.length, 0), codec.key.value

    def pack(each: Gone) -> bytes:
        return frame.pack(key_words(each.key[4].split(" . ")))

    return pack


class _Frame:
    """The headers of an element of known lengths: always the same bytes."""

    def __init__(self, key_length: int, data_length: int) -> None:
        key = nested(_KEY, attribute(VALUE, bytes(key_length)))
        data = nested(_DATA, attribute(VALUE, bytes(data_length))) if data_length else b""
        self._before = nested(_ELEM, key + data)[:12]
        self._between = bytes(-key_length % 4) + data[:8]
        self._after = bytes(-data_length % 4)

    def pack(self, key: bytes, data: bytes = b"") -> bytes:
        """An element with this key and value."""
        return self._before + key + self._between + data + self._after


def _verdict(verdict: Verdict) -> bytes:
    code = attribute(1, struct.pack("!i", _CODES[verdict.kind]))  # NFTA_VERDICT_CODE
    chain = name(2, verdict.chain) if verdict.chain else b""  # NFTA_VERDICT_CHAIN
    return nested(VERDICT, code + chain)
