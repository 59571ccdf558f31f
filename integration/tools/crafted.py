"""Packets made by hand, each with a number by which it is known again wherever it comes out.

    TCP     a SYN, or whichever flags      its sequence number
    UDP     a datagram                     its first four bytes
    SCTP    an INIT (RFC 9260)             its initiate tag
    ICMP    an echo request                its identifier and sequence number

Checksums are right, because connection tracking looks at them. Addresses and ports may be others
when a packet comes out: a Service's are translated. Its number is the same.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from sctp import Chunk

from podwire_core.family import Family, family_of

TCP, UDP, SCTP = socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_SCTP
ICMP, ICMPV6 = socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6
PROTOCOLS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_INIT = 1
_ETHERTYPES = {Family.IPV4: b"\x08\x00", Family.IPV6: b"\x86\xdd"}
_ECHO = {Family.IPV4: (ICMP, 8), Family.IPV6: (ICMPV6, 128)}
#: Where the number stands, from the beginning of the header after IP's.
_NUMBERS = {TCP: 4, UDP: 8, SCTP: 16, ICMP: 4, ICMPV6: 4}


class Way(NamedTuple):
    """From whom to whom; ports are 0 where the protocol has none."""

    source: str
    destination: str
    sport: int = 0
    dport: int = 0

    @property
    def back(self) -> Way:
        """The way of an answer."""
        return Way(self.destination, self.source, self.dport, self.sport)

    @property
    def family(self) -> Family:
        """Of its addresses."""
        return family_of(self.source)


def opening(protocol: str, way: Way, number: int) -> bytes:
    """What a connection of a protocol begins with, as an IP packet."""
    makers = {"TCP": segment, "UDP": datagram, "SCTP": init, "ICMP": echo}
    return makers[protocol](way, number)


def segment(way: Way, number: int, flags: int = SYN, answered: int = 0, data: bytes = b"") -> bytes:
    """A TCP segment. answered: the number that it acknowledges."""
    head = struct.pack(
        ">HHIIBBHHH", way.sport, way.dport, number, answered, 5 << 4, flags, 65535, 0, 0
    )
    return ip_packet(way, TCP, _checked(way, TCP, head + data, 16))


def datagram(way: Way, number: int, data: bytes = b"") -> bytes:
    """A UDP datagram. data: what follows its number."""
    head = struct.pack(">HHHHI", way.sport, way.dport, 12 + len(data), 0, number)
    return ip_packet(way, UDP, _checked(way, UDP, head + data, 6))


def init(way: Way, number: int) -> bytes:
    """An SCTP packet with an INIT."""
    return ip_packet(way, SCTP, Chunk(way.sport, way.dport, _INIT, tag=number).packet)


def echo(way: Way, number: int) -> bytes:
    """An ICMP echo request of the way's family."""
    protocol, kind = _ECHO[way.family]
    return icmp(way, protocol, struct.pack(">BBHI", kind, 0, 0, number))


def echo_reply(way: Way, number: int) -> bytes:
    """The answer to an echo request."""
    protocol, kind = _ECHO[way.family]
    answer = 0 if protocol == ICMP else kind + 1
    return icmp(way, protocol, struct.pack(">BBHI", answer, 0, 0, number))


def unreachable(way: Way, about: bytes) -> bytes:
    """An ICMP error: the port of the packet that it is about is closed."""
    protocol, kind, code = (ICMP, 3, 3) if way.family is Family.IPV4 else (ICMPV6, 1, 4)
    return icmp(way, protocol, struct.pack(">BBHI", kind, code, 0, 0) + about[:576])


def icmp(way: Way, protocol: int, message: bytes, hops: int = 64) -> bytes:
    """Any ICMP message, whose checksum is filled in."""
    return ip_packet(way, protocol, _checked(way, protocol, message, 2), hops)


def ip_packet(way: Way, protocol: int, body: bytes, hops: int = 64) -> bytes:
    """An IP packet with any body, also one that is rubbish."""
    source, destination = _packed(way)
    if way.family is Family.IPV6:
        return (
            struct.pack(">IHBB", 6 << 28, len(body), protocol, hops) + source + destination + body
        )
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, hops, protocol, 0)
    head += source + destination
    return head[:10] + struct.pack(">H", _sum(head)) + head[12:] + body


def frame(to: str, sender: str, packet: bytes) -> bytes:
    """An Ethernet frame from one MAC address to another."""
    family = Family.IPV4 if packet[0] >> 4 == 4 else Family.IPV6
    macs = bytes.fromhex((to + sender).replace(":", ""))
    return macs + _ETHERTYPES[family] + packet


def number_of(packet: bytes) -> int:
    """The number of an IP packet; 0 of what has none."""
    if packet[0] >> 4 == 4:
        return number_in(packet[9], packet[(packet[0] & 15) * 4 :])
    return number_in(packet[6], packet[40:])


def number_in(protocol: int, body: bytes) -> int:
    """The number in what follows the IP header; 0 where there is none."""
    at = _NUMBERS.get(protocol)
    return 0 if at is None else int.from_bytes(body[at : at + 4], "big")


def _packed(way: Way) -> tuple[bytes, bytes]:
    af = socket.AF_INET if way.family is Family.IPV4 else socket.AF_INET6
    return socket.inet_pton(af, way.source), socket.inet_pton(af, way.destination)


def _checked(way: Way, protocol: int, body: bytes, at: int) -> bytes:
    """The body with its checksum, which covers the addresses, too; not so that of ICMP for IPv4."""
    pseudo = b"".join(_packed(way)) + struct.pack(">II", len(body), protocol)
    number = _sum(body if protocol == ICMP else pseudo + body)
    if protocol == UDP:
        number = number or 0xFFFF  # 0 says that there is none
    return body[:at] + struct.pack(">H", number) + body[at + 2 :]


def _sum(data: bytes) -> int:
    """The Internet's checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def protocol_of(packet: bytes) -> int:
    """IPPROTO_* of what follows the IP header."""
    return packet[9] if packet[0] >> 4 == 4 else packet[6]


def kind_of(packet: bytes) -> int:
    """The type of an ICMPv6 message; 0 of anything else."""
    return packet[40] if packet[0] >> 4 == 6 and packet[6] == ICMPV6 else 0


def source_of(packet: bytes) -> str:
    """The address that sent a packet of IPv6."""
    return socket.inet_ntop(socket.AF_INET6, packet[8:24])
