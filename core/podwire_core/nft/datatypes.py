"""How nf_tables keeps the keys and values of our sets: bytes, and nft's words for them.

    type            bytes   order   words
    ipv4_addr       4       big     10.96.0.1
    ipv6_addr       16      big     fd00::1
    inet_proto      1               tcp
    inet_service    2       big     80
    numgen's        4       host    3        (an "integer", known by the set's typeof)
    classid         4       host    a:1      (of meta priority, two numbers of 16 bits)

A concatenation is its parts one after the other, each padded to four bytes (the kernel's
registers). Its type is a number too: six bits a part, the first part's highest. The numbers
are nft's own (its enum datatypes), which it keeps in the kernel with every set.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

#: Protocols that we name; nft's listing may say others by name, we by number.
PROTOCOLS: Mapping[int, str] = {6: "tcp", 17: "udp", 132: "sctp", 1: "icmp", 58: "ipv6-icmp"}

INTEGER = 4  # TYPE_INTEGER, of any length and order: only what typeof says is known
_TYPE_BITS = 6
_TYPE_MASK = (1 << _TYPE_BITS) - 1
_REGISTER = 4


class Unreadable(Exception):  # noqa: N818 - a reason to ask libnftables, no error
    """Something that only libnftables can spell."""


@dataclass(frozen=True)
class Datatype:
    """One part: its length in bytes, its struct code, its words, and what its words mean.

    read: the value that struct packs; raises ValueError, OSError or KeyError for other words.
    """

    length: int
    code: str
    spell: Callable[[Any], str]
    read: Callable[[str], Any]
    cidr: bool = False  # whether nft writes blocks of it as CIDRs
    ranged: bool = True

    def words(self, value: bytes) -> str:
        """The value as nft writes it."""
        return self.spell(struct.unpack(f"!{self.code}", value)[0])

    def span(self, first: bytes, last: bytes) -> str:
        """All values from first to last as nft writes them: one, a CIDR or a range."""
        if first == last:
            return self.words(first)
        low, high = int.from_bytes(first, "big"), int.from_bytes(last, "big")
        size = high - low + 1
        if not self.ranged or size < 1:
            raise Unreadable
        if self.cidr and size & (size - 1) == 0 and low % size == 0:
            return f"{self.words(first)}/{self.length * 8 - size.bit_length() + 1}"
        return f"{self.words(first)}-{self.words(last)}"


_PROTOCOL_WORDS = tuple(PROTOCOLS.get(number, str(number)) for number in range(256))
_PROTOCOL_NUMBERS = {word: number for number, word in enumerate(_PROTOCOL_WORDS)}


def _address(family: socket.AddressFamily, length: int) -> Datatype:
    spell, read = partial(socket.inet_ntop, family), partial(socket.inet_pton, family)
    return Datatype(length, f"{length}s", spell, read, cidr=True)


IPV4_ADDR = _address(socket.AF_INET, 4)
IPV6_ADDR = _address(socket.AF_INET6, 16)
INET_PROTO = Datatype(
    1, "B", _PROTOCOL_WORDS.__getitem__, _PROTOCOL_NUMBERS.__getitem__, ranged=False
)
INET_SERVICE = Datatype(2, "H", str, int)


@lru_cache(maxsize=8192)  # slots are numbered anew for each Service
def _read_number(words: str) -> bytes:
    return int(words).to_bytes(4, sys.byteorder)


NUMGEN = Datatype(
    4,
    "4s",
    lambda value: str(int.from_bytes(value, sys.byteorder)),
    _read_number,
    ranged=False,
)


def _spell_class(value: bytes) -> str:
    number = int.from_bytes(value, sys.byteorder)
    return {0: "none", 0xFFFFFFFF: "root"}.get(number, f"{number >> 16:x}:{number & 0xFFFF:x}")


def _read_class(words: str) -> bytes:
    major, minor = (int(part, 16) for part in words.split(":"))
    return (major << 16 | minor).to_bytes(4, sys.byteorder)


CLASSID = Datatype(4, "4s", _spell_class, _read_class, ranged=False)
_NUMBERS = {7: IPV4_ADDR, 8: IPV6_ADDR, 12: INET_PROTO, 13: INET_SERVICE, 23: CLASSID}


class Layout:
    """What the bytes of a key or value are, part by part."""

    def __init__(self, parts: tuple[Datatype, ...]) -> None:
        self.parts = parts
        self.concatenated = len(parts) > 1
        #: A part's length with what pads it.
        self._steps = [
            part.length + (-part.length % _REGISTER if self.concatenated else 0) for part in parts
        ]
        self.length = sum(self._steps)
        pairs = zip(parts, self._steps, strict=True)
        codes = "".join(f"{part.code}{step - part.length}x" for part, step in pairs)
        whole = struct.Struct(f"!{codes}")
        #: `10.96.0.10 . tcp . 80` of a value; raises struct.error when its length is another.
        self.words = _words(whole.unpack, [part.spell for part in parts])
        self._bytes = _bytes(whole.pack, [part.read for part in parts])

    def value(self, words: Sequence[str]) -> bytes:
        """The bytes of a key or value, its words part by part. Raises Unreadable."""
        try:
            return self._bytes(words)
        except (ValueError, KeyError, OSError, OverflowError, struct.error) as error:
            raise Unreadable from error

    def span(self, first: bytes, last: bytes) -> str:
        """All values from first to last, part by part."""
        if len(first) != self.length or len(last) != self.length:
            raise Unreadable
        offset, found = 0, []
        for part, step in zip(self.parts, self._steps, strict=True):
            end = offset + part.length
            found.append(part.span(first[offset:end], last[offset:end]))
            offset += step
        return " . ".join(found)


def _words(
    unpack: Callable[[bytes], tuple[Any, ...]], spell: Sequence[Callable[[Any], str]]
) -> Callable[[bytes], str]:
    """Spells a value part by part. A reader spells some 300,000, so no loop for up to three."""
    if len(spell) == 2:
        first, second = spell

        def two(value: bytes) -> str:
            a, b = unpack(value)
            return f"{first(a)} . {second(b)}"

        return two
    if len(spell) == 3:
        one, other, third = spell

        def three(value: bytes) -> str:
            a, b, c = unpack(value)
            return f"{one(a)} . {other(b)} . {third(c)}"

        return three
    return lambda value: " . ".join(
        [each(part) for each, part in zip(spell, unpack(value), strict=True)]
    )


def _bytes(
    pack: Callable[..., bytes], read: Sequence[Callable[[str], Any]]
) -> Callable[[Sequence[str]], bytes]:
    """The other way; a writer packs as many, so no loop for up to three here either."""
    if len(read) == 2:
        first, second = read

        def two(words: Sequence[str]) -> bytes:
            a, b = words
            return pack(first(a), second(b))

        return two
    if len(read) == 3:
        one, other, third = read

        def three(words: Sequence[str]) -> bytes:
            a, b, c = words
            return pack(one(a), other(b), third(c))

        return three
    return lambda words: pack(*[each(word) for each, word in zip(read, words, strict=True)])


def layout(number: int, length: int, integers: Mapping[int, Datatype]) -> Layout:
    """The layout of a type of nft's, whose values have this many bytes.

    integers: what the parts of type "integer" are, by position. Raises Unreadable.
    """
    numbers: list[int] = []
    while number:
        numbers.insert(0, number & _TYPE_MASK)
        number >>= _TYPE_BITS
    try:
        parts = tuple(
            integers[index] if each == INTEGER else _NUMBERS[each]
            for index, each in enumerate(numbers)
        )
    except KeyError as error:
        raise Unreadable from error
    found = Layout(parts)
    if not parts or found.length != length:
        raise Unreadable
    return found
