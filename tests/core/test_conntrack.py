"""Entries as the kernel tells them: the fast way reads what the slow way reads."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from podwire_core.conntrack.entry import Entry, head, packed, read, unpacked
from podwire_core.family import FAMILIES, Family
from podwire_core.netlink import attribute, attributes, nested

V4, V6 = FAMILIES
KINDS = {V4: (1, 2), V6: (3, 4)}  # CTA_IP_*
PORTS = st.integers(0, 65535)


def tuple_attribute(
    kind: int, family: Family, ends: tuple[str, str, int, int], extra: bytes
) -> bytes:
    source, destination, port, to_port = ends
    addresses = (source, destination)
    ip = [attribute(k, packed(a, family)) for k, a in zip(KINDS[family], addresses, strict=True)]
    ports = [attribute(2, struct.pack("!H", port)), attribute(3, struct.pack("!H", to_port))]
    return nested(kind, nested(1, *ip), nested(2, attribute(1, b"\x11"), *ports), extra)


@st.composite
def told(draw: st.DrawFn) -> tuple[Entry, bytes, bytes]:
    """An entry, its message, and the same message as no usual kernel would write it."""
    family = draw(st.sampled_from(FAMILIES))
    numbers = st.integers(1, 2**family.bits - 1)
    kind = {V4: "0.0.0.0", V6: "::"}[family]

    def address() -> str:
        return unpacked((int(ip_address(kind)) + draw(numbers)).to_bytes(family.bits // 8, "big"))

    original = (address(), address(), draw(PORTS), draw(PORTS))
    reply = (address(), address(), draw(PORTS), draw(PORTS))
    rest = attribute(3, b"\0\0\1\xa8") + attribute(12, draw(st.binary(min_size=4, max_size=4)))
    usual, unusual = (
        head(family)
        + tuple_attribute(1, family, original, extra)
        + tuple_attribute(2, family, reply, b"")
        + rest
        for extra in (b"", attribute(3, b"\0\5"))
    )
    server = packed(reply[0], family)
    client, vip = packed(original[0], family), packed(original[1], family)
    entry = Entry(family, 17, client, original[2], vip, original[3], server, reply[2], usual)
    return entry, usual, unusual


@given(told())
def test_both_ways_read_the_same(case: tuple[Entry, bytes, bytes]) -> None:
    entry, usual, unusual = case
    assert read(entry.family, usual) == entry
    assert read(entry.family, unusual) == entry._replace(raw=unusual)
    assert entry.status == 0x1A8
    assert entry.zone == 0


@given(told())
def test_a_name_is_tuple_zone_and_number_as_they_came(case: tuple[Entry, bytes, bytes]) -> None:
    entry, usual, _ = case
    known, name = attributes(usual, 4), attributes(entry.name)
    assert name == {1: known[1], 12: known[12]}


@given(st.sampled_from(FAMILIES), st.binary(max_size=300))
def test_no_message_is_too_broken_to_read(family: Family, body: bytes) -> None:
    str(read(family, body))


def test_an_entry_without_a_tuple_has_no_name() -> None:
    assert read(V4, head(V4) + attribute(12, b"\1\2\3\4")).name == b""


def test_an_entry_tells_who_asked_whom_and_who_serves() -> None:
    ends = [packed(each, V6) for each in ("fd00::5", "fd00:10:96::a", "fd00::7")]
    entry = Entry(V6, 17, ends[0], 40000, ends[1], 53, ends[2], 5353)
    assert str(entry) == "[fd00::5]:40000 → [fd00:10:96::a]:53 at [fd00::7]:5353"
    assert entry.translated
    assert not entry._replace(reply_source=ends[1], reply_port=53).translated
