"""One tracked connection, as the kernel tells it (linux/netfilter/nfnetlink_conntrack.h).

An entry has two tuples. The original one is what the client sent; the reply's source is who
really answers, so the two differ when the destination was translated:

    original   10.244.1.5:40000 → 10.96.0.10:53       what was dialled
    reply      10.244.2.7:5353 → 10.244.1.5:40000     who serves it

Two attributes begin every message, and look the same in nearly all of them: an attribute's
length and type, its value, and so on. So they are read by one struct whose odd items must be the
lengths and types that we know; where they are not (a zone of one direction, ICMP), attribute by
attribute. That is five times as fast, and there may be a million.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from podwire_core.family import FAMILIES, Family, family_of
from podwire_core.netlink import NESTED, attribute, attributes, nested

ORIGINAL = 1  # CTA_TUPLE_ORIG
TUPLE_PROTOCOL = 2  # CTA_TUPLE_PROTO
NUMBER = 1  # CTA_PROTO_NUM
MARK = 8  # CTA_MARK

_REPLY = 2  # CTA_TUPLE_REPLY
_TUPLE_IP = 1  # CTA_TUPLE_IP
_ADDRESSES = {Family.IPV4: (1, 2), Family.IPV6: (3, 4)}  # CTA_IP_V4_SRC and DST, CTA_IP_V6_*
_SOURCE_PORT, _DESTINATION_PORT = 2, 3  # CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT
_STATUS, _ID, _ZONE = 3, 12, 18  # CTA_*
_EXPECTED = 0x1  # IPS_EXPECTED
_HEAD = 4  # bytes of struct nfgenmsg, after which the attributes begin
_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class Bits(NamedTuple):
    """Some bits of a mark, and their value: `mark & mask == value`."""

    value: int
    mask: int


class Entry(NamedTuple):
    """A connection. Ports are 0 where the protocol has none.

    Addresses are packed, in network order, as the kernel has them: many are compared, few are
    told. raw: the message it came in, of which the rest is read when someone asks.
    """

    family: Family
    protocol: int
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    reply_source: bytes
    reply_port: int
    raw: bytes = b""

    @property
    def translated(self) -> bool:
        """Whether someone else answers than was dialled."""
        return (self.reply_source, self.reply_port) != (self.destination, self.destination_port)

    @property
    def status(self) -> int:
        """IPS_* of linux/netfilter/nf_conntrack_common.h."""
        return self._number(_STATUS)

    @property
    def expected(self) -> bool:
        """Whether another connection announced it, as FTP's do: rules take it as related."""
        return bool(self.status & _EXPECTED)

    @property
    def mark(self) -> int:
        """32 bits that are whoever's; who wants some changes those alone (Conntrack.mark)."""
        return self._number(MARK)

    @property
    def zone(self) -> int:
        """The zone it is tracked in; 0 is the one of who asked for none."""
        return self._number(_ZONE)

    @property
    def name(self) -> bytes:
        """The attributes by which the kernel finds this entry, and no newer one like it.

        (Its number is a hash of its tuple and of its place in memory, so one that was made in
        the same place is found.)

        Empty for one that has no tuple: a deletion without a tuple empties the whole table.
        """
        known = attributes(self.raw, _HEAD)
        if not known.get(ORIGINAL):
            return b""
        kinds = ((ORIGINAL, NESTED), (_ZONE, 0), (_ID, 0))
        return b"".join(
            attribute(kind | flag, known[kind]) for kind, flag in kinds if kind in known
        )

    def _number(self, kind: int) -> int:
        return int.from_bytes(attributes(self.raw, _HEAD).get(kind, b""), "big")

    def __str__(self) -> str:
        client = _spelled(self.family, self.source, self.source_port)
        dialled = _spelled(self.family, self.destination, self.destination_port)
        return (
            f"{client} → {dialled} at {_spelled(self.family, self.reply_source, self.reply_port)}"
        )


def head(family: Family) -> bytes:
    """What a question begins with: struct nfgenmsg (family, version, resource)."""
    return bytes([_AF[family], 0, 0, 0])


def packed(address: str, family: Family) -> bytes:
    """A canonical address as entries have it."""
    return socket.inet_pton(_AF[family], address)


def unpacked(address: bytes) -> str:
    """An entry's address in its canonical spelling; `address` has 4 or 16 bytes."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def read(family: Family, body: bytes) -> Entry:
    """The entry that a message of a dump tells."""
    layout, heads = _LAYOUTS[family]
    if len(body) >= layout.size:
        found = layout.unpack_from(body)
        if found[::2] == heads:
            source, to, number, port, to_port, server, _, _, server_port, _ = found[1::2]
            return Entry(family, number, source, port, to, to_port, server, server_port, body)
    return _walked(family, body)


def tuple_of(
    protocol: int, source: str, source_port: int, destination: str, destination_port: int
) -> bytes:
    """The attribute that names a connection by a packet of it. Addresses: canonical."""
    family = family_of(source)
    ends = zip(_ADDRESSES[family], (source, destination), strict=True)
    addresses = (attribute(kind, packed(each, family)) for kind, each in ends)
    ports = ((_SOURCE_PORT, source_port), (_DESTINATION_PORT, destination_port))
    numbers = (attribute(kind, port.to_bytes(2, "big")) for kind, port in ports)
    return nested(
        ORIGINAL,
        nested(_TUPLE_IP, *addresses),
        nested(TUPLE_PROTOCOL, attribute(NUMBER, bytes([protocol])), *numbers),
    )


def _walked(family: Family, body: bytes) -> Entry:
    known = attributes(body, _HEAD)
    source, to, number, port, to_port = _tuple(family, known.get(ORIGINAL, b""))
    server, _, _, server_port, _ = _tuple(family, known.get(_REPLY, b""))
    return Entry(family, number, source, port, to, to_port, server, server_port, body)


def _tuple(family: Family, value: bytes) -> tuple[bytes, bytes, int, int, int]:
    known = attributes(value)
    addresses = attributes(known.get(_TUPLE_IP, b""))
    source, to = (addresses.get(kind, bytes(family.bits // 8)) for kind in _ADDRESSES[family])
    protocol = attributes(known.get(TUPLE_PROTOCOL, b""))
    number, port, to_port = (
        int.from_bytes(protocol.get(kind, b""), "big")
        for kind in (NUMBER, _SOURCE_PORT, _DESTINATION_PORT)
    )
    return source, to, number, port, to_port


def _layout(family: Family) -> tuple[struct.Struct, tuple[bytes, ...]]:
    """How a message begins, and what its odd items are."""
    size = family.bits // 8
    one = f"12s{size}s 4s{size}s 8sB3x 4sH2x 4sH2x".replace(" ", "")
    heads = [head for kind in (ORIGINAL, _REPLY) for head in _heads(family, kind)]
    return struct.Struct(f"!{one.replace('12s', '16s', 1)}{one}"), tuple(heads)


def _heads(family: Family, kind: int) -> list[bytes]:
    """Lengths and types between the values of a tuple."""
    size = family.bits // 8
    source, destination = _ADDRESSES[family]
    ip, protocol = 2 * (4 + size), 24  # bytes of values with their own heads, padded
    pack = struct.Struct("=HH").pack
    outer = pack(4 + 4 + ip + 4 + protocol, kind | NESTED) + pack(4 + ip, _TUPLE_IP | NESTED)
    return [
        (head(family) if kind == ORIGINAL else b"") + outer + pack(4 + size, source),
        pack(4 + size, destination),
        pack(4 + protocol, TUPLE_PROTOCOL | NESTED) + pack(5, NUMBER),
        pack(6, _SOURCE_PORT),
        pack(6, _DESTINATION_PORT),
    ]


_LAYOUTS = {family: _layout(family) for family in FAMILIES}


def _spelled(family: Family, address: bytes, port: int) -> str:
    text = unpacked(address)
    return f"[{text}]:{port}" if family is Family.IPV6 else f"{text}:{port}"
