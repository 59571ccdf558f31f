"""A packet's head is read from whatever bytes were logged."""

from __future__ import annotations

import struct

import pytest
from drop_site import DB, DB6, FRONTEND, FRONTEND6, packet, ports, tcp
from hypothesis import given
from hypothesis import strategies as st

from podwire_core.family import Family
from podwire_node.observe.packet import Message, Packet, Ports, parse

V4, V6 = Family.IPV4, Family.IPV6
PAIRS = {V4: (FRONTEND, DB), V6: (FRONTEND6, DB6)}
LONG = bytes([6, 1, *range(14)])  # a header of 16 bytes, before TCP


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(
    ("protocol", "rest", "l4"),
    [
        (6, tcp(41320, 5432), Ports(41320, 5432, 2)),
        (17, ports(4000, 53), Ports(4000, 53)),
        (132, ports(4000, 80), Ports(4000, 80)),
        (1, b"\x08\x00rest", Message(8, 0)),
        (58, b"\x80\x00rest", Message(128, 0)),
        (47, b"anything", None),
        (6, tcp(41320, 5432)[:8], Ports(41320, 5432, 0)),
        (6, b"\x01\x02\x03", None),
        (1, b"\x08", None),
    ],
)
def test_what_a_packet_says(
    family: Family, protocol: int, rest: bytes, l4: Ports | Message | None
) -> None:
    here, there = PAIRS[family]
    assert parse(family, packet(here, there, protocol, rest)) == Packet(
        family, here, there, protocol, l4
    )


def test_options_of_ipv4_are_passed_over() -> None:
    plain = packet(FRONTEND, DB, 6, tcp(1, 2))
    data = bytes([0x47]) + plain[1:20] + b"\x01" * 8 + plain[20:]
    found = parse(V4, data)
    assert found is not None
    assert found.l4 == Ports(1, 2, 2)


def test_a_later_fragment_has_no_ports() -> None:
    plain = packet(FRONTEND, DB, 17, ports(1, 2))
    found = parse(V4, plain[:6] + struct.pack("!H", 185) + plain[8:])
    assert found == Packet(V4, FRONTEND, DB, 17)
    fragment = bytes([17, 0]) + struct.pack("!HI", 185 << 3, 9)
    found = parse(V6, packet(FRONTEND6, DB6, 44, ports(1, 2), more=fragment))
    assert found == Packet(V6, FRONTEND6, DB6, 17)


@pytest.mark.parametrize("first", [0, 43, 60, 135, 139, 140])
def test_headers_of_ipv6_are_passed_over(first: int) -> None:
    found = parse(V6, packet(FRONTEND6, DB6, first, tcp(1, 2), more=LONG))
    assert found == Packet(V6, FRONTEND6, DB6, 6, Ports(1, 2, 2))


def test_headers_of_ipv6_may_follow_each_other() -> None:
    hop = bytes([43, 0, *range(6)])
    routing = bytes([44, 0, *range(6)])
    fragment = bytes([51, 0]) + struct.pack("!HI", 1, 9)
    authentication = bytes([60, 4, *range(22)])
    options = bytes([6, 0, *range(6)])
    more = hop + routing + fragment + authentication + options
    found = parse(V6, packet(FRONTEND6, DB6, 0, tcp(1, 2), more=more))
    assert found == Packet(V6, FRONTEND6, DB6, 6, Ports(1, 2, 2))


def test_headers_that_were_cut_off_leave_the_addresses() -> None:
    whole = packet(FRONTEND6, DB6, 0, b"", more=bytes([6, 255, *range(60)]))
    found = parse(V6, whole)
    assert found is not None
    assert (found.source, found.destination, found.l4) == (FRONTEND6, DB6, None)


@pytest.mark.parametrize("family", Family)
def test_what_has_no_addresses_is_no_packet(family: Family) -> None:
    here, there = PAIRS[family]
    whole = packet(here, there, 6, b"")
    assert [parse(family, whole[:size]) for size in range(len(whole))] == [None] * len(whole)
    other = V6 if family is V4 else V4
    assert parse(other, whole + bytes(40)) is None


@given(family=st.sampled_from(Family), data=st.binary(max_size=200))
def test_no_bytes_break_it(family: Family, data: bytes) -> None:
    head = 0x45 if family is V4 else 0x60
    for payload in (data, bytes([head]) + data, bytes([head | 15]) + data):
        found = parse(family, payload)
        assert found is None or found.family is family


@given(data=st.binary(max_size=128))
def test_no_chain_of_headers_breaks_it(data: bytes) -> None:
    for header in (0, 43, 44, 51, 60, 255):
        found = parse(V6, packet(FRONTEND6, DB6, header, data))
        assert found is not None
        assert found.source == FRONTEND6
