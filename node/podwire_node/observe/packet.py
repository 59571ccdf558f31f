"""A packet's head, from the bytes that a rule logged. Pure; it believes nothing of them.

    IPv4   20 to 60 bytes; a later fragment has no ports
    IPv6   40 bytes, then headers that each name the next: all of them are passed over
    then   TCP, UDP, SCTP: ports in the first four bytes; ICMP: type and code

What was cut off (snaplen) is None; only what has no addresses is no packet.

Sources: RFC 791, RFC 8200, and for the list of headers RFC 7045.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import NamedTuple

from podwire_core.family import Family, spelled

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132  # IPPROTO_*
_WITH_PORTS = {TCP, UDP, SCTP}

#: Headers whose second byte is their length in 8 bytes without the first 8: hop-by-hop, routing,
#: destination options, mobility, HIP, shim6.
_LONG = {0, 43, 60, 135, 139, 140}
_FRAGMENT, _AUTHENTICATION = 44, 51
_MOST_HEADERS = 16

_IPV4 = struct.Struct("!B5xHxB2x4s4s")
_IPV6 = struct.Struct("!6xBx16s16s")
_PORTS = struct.Struct("!HH")
_FLAGS_AT = 13  # of TCP's header
_FIRST_BITS = 0x1FFF  # of IPv4's field: where the fragment belongs


class Ports(NamedTuple):
    """Of TCP, UDP and SCTP. flags: TCP's eight, 0 where they were cut off."""

    source: int
    destination: int
    flags: int = 0


class Message(NamedTuple):
    """What an ICMP packet says."""

    type: int
    code: int


@dataclass(frozen=True, slots=True)
class Packet:
    """protocol: IPPROTO_*. l4: None of another protocol, of a later fragment, where it was cut."""

    family: Family
    source: str
    destination: str
    protocol: int
    l4: Ports | Message | None = None


def parse(family: Family, payload: bytes) -> Packet | None:
    """The packet, from its network header on; None where there is no whole network header."""
    return _ipv4(payload) if family is Family.IPV4 else _ipv6(payload)


def _ipv4(data: bytes) -> Packet | None:
    if len(data) < _IPV4.size or data[0] >> 4 != 4:
        return None
    first, fragment, protocol, source, destination = _IPV4.unpack_from(data)
    length = (first & 15) * 4
    l4 = None
    if length >= _IPV4.size and not fragment & _FIRST_BITS:
        l4 = _l4(protocol, data[length:])
    here, there = (spelled(ipaddress.IPv4Address(each)) for each in (source, destination))
    return Packet(Family.IPV4, here, there, protocol, l4)


def _ipv6(data: bytes) -> Packet | None:
    if len(data) < _IPV6.size or data[0] >> 4 != 6:
        return None
    header, source, destination = _IPV6.unpack_from(data)
    protocol, rest = _upper_layer(header, data[_IPV6.size :])
    here, there = (spelled(ipaddress.IPv6Address(each)) for each in (source, destination))
    l4 = None if rest is None else _l4(protocol, rest)
    return Packet(Family.IPV6, here, there, protocol, l4)


def _upper_layer(header: int, data: bytes) -> tuple[int, bytes | None]:
    """The protocol that the headers lead to, and its bytes; None of a later fragment, or a cut."""
    for _ in range(_MOST_HEADERS):
        if header == _FRAGMENT and len(data) >= 8:
            later = struct.unpack_from("!H", data, 2)[0] >> 3
            if later:
                return data[0], None
            length = 8
        elif header in _LONG and len(data) >= 2:
            length = 8 + data[1] * 8
        elif header == _AUTHENTICATION and len(data) >= 2:
            length = 8 + data[1] * 4
        else:
            break
        header, data = data[0], data[length:]
    cut = header in _LONG or header in {_FRAGMENT, _AUTHENTICATION}
    return header, None if cut else data


def _l4(protocol: int, data: bytes) -> Ports | Message | None:
    if protocol in _WITH_PORTS and len(data) >= _PORTS.size:
        flags = data[_FLAGS_AT] if protocol == TCP and len(data) > _FLAGS_AT else 0
        here, there = _PORTS.unpack_from(data)
        return Ports(here, there, flags)
    if protocol in {ICMP, ICMPV6} and len(data) >= 2:
        return Message(data[0], data[1])
    return None
