"""The path for traffic from outside: its programs, its maps, and what is asked of others.

    MODULE    what is compiled, loaded as SCHED_CLS; ETHERNET and BARE by the link's kind
    TABLES    maps beside those of maps.c:  opening       who was sent where
                                            connections   the same, once the client is proved
                                            fragments     ports of datagrams in parts
                                            insiders      who is in the cluster

The programs mark what nftables must masquerade: one rule in postrouting, `meta mark and
MASQUERADE_MARK != 0`, of packets whose source is not the node's own (VXLAN's outer packet has the
mark of the inner one). And they mark what opens a connection that they sent to its endpoint, which
nftables' own DNAT then leaves alone. Only the first packets of connections have marks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum, IntFlag
from ipaddress import ip_network
from socket import htons, ntohs
from types import MappingProxyType
from typing import Any, NamedTuple

from podwire_ebpf import addresses, codecs
from podwire_ebpf.layout import NO_PREALLOC, KeyCodec, Kind, Layout, ValueCodec
from podwire_ebpf.records import Member
from podwire_ebpf.sources import Loaded, Module

#: BPF_PROG_TYPE_SCHED_CLS (linux/bpf.h).
PROGRAM_KIND = 3
#: Bits of skb->mark: of what nftables is to masquerade, and of all that was sent to an endpoint.
MASQUERADE_MARK = 0x10000000
TRANSLATED_MARK = 0x8000000


class Programs(NamedTuple):
    """The C functions for one kind of link."""

    ingress: str
    egress: str


#: Links with an Ethernet header, and those without: WireGuard, tun.
ETHERNET = Programs("pw_outside_in", "pw_outside_out")
BARE = Programs("pw_bare_in", "pw_bare_out")


MODULE = Module(
    "external",
    (
        *("maps.c", "flows.c", "rows.c"),
        *("packet.c", "connections.c", "outside.c", "icmp.c", "external.c"),
    ),
    tuple(Loaded(function, PROGRAM_KIND) for function in (*ETHERNET, *BARE)),
)


class Flag(IntFlag):
    """Flags of a Frontend of scope OUTSIDE.

    MASQUERADE: endpoints answer this node, not the client. BY_SOURCE: who is in the cluster
    (`insiders`) has other endpoints, which nftables knows.
    """

    MASQUERADE = 1
    BY_SOURCE = 2


class Way(IntEnum):
    """Which half of a connection: what the client sends, or what the endpoint answers."""

    REQUEST = 0
    REPLY = 1


class Flow(NamedTuple):
    """What a packet says of its connection."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    protocol: int
    way: Way = Way.REQUEST


class Connection(NamedTuple):
    """REQUEST: the endpoint; REPLY: what was dialled. last: nanoseconds of CLOCK_MONOTONIC.

    nftables: its packets pass. finished: who has said FIN, by way. number: of TCP, of the
    endpoint's SYN-ACK (REQUEST), or what the endpoint acknowledged last (REPLY). established: it
    stands in `connections`, not in `opening`.
    """

    address: str
    port: int
    list: int
    last: int
    nftables: bool = False
    masquerade: bool = False
    answered: bool = False
    reset: bool = False
    finished: tuple[bool, bool] = (False, False)
    number: int = 0
    established: bool = False


class Fragment(NamedTuple):
    """A datagram in parts; number: its identification, as the machine reads the header's bytes."""

    source: str
    destination: str
    number: int
    protocol: int
    way: Way


class Ports(NamedTuple):
    """What its first part told."""

    source: int
    destination: int


_FLOW = struct.Struct("=16s16sHHBBH")
_CONNECTION = struct.Struct("=16sHBBBB2BQQ4sB3x")
_FRAGMENT = struct.Struct("=16s16sIBBH")
_PORTS = struct.Struct("=HH")
_INSIDER = struct.Struct("=I16s")
_IPV4_BITS = 96  # of the address in front of a mapped one


def _pack_flow(flow: Flow) -> bytes:
    ends = addresses.pack(flow.source), addresses.pack(flow.destination)
    ports = htons(flow.source_port), htons(flow.destination_port)
    return _FLOW.pack(*ends, *ports, flow.protocol, flow.way, 0)


def _unpack_flow(raw: bytes) -> Flow:
    source, destination, sport, dport, protocol, way, _ = _FLOW.unpack(raw)
    ends = addresses.unpack(source), addresses.unpack(destination)
    return Flow(ends[0], ntohs(sport), ends[1], ntohs(dport), protocol, Way(way))


def _pack_connection(_: Flow, value: Connection) -> bytes:
    bits = (value.nftables, value.masquerade, value.answered, value.reset, *value.finished)
    where = addresses.pack(value.address), htons(value.port)
    number = value.number.to_bytes(4)
    return _CONNECTION.pack(*where, *bits, value.list, value.last, number, value.established)


def _unpack_connection(raw: bytes) -> Connection:
    address, port, *bits, service, last, number, established = _CONNECTION.unpack(raw)
    nftables, masquerade, answered, reset, client, endpoint = map(bool, bits)
    where = addresses.unpack(address), ntohs(port)
    flags = nftables, masquerade, answered, reset
    half = Connection(*where, service, last, *flags, (client, endpoint))
    return half._replace(number=int.from_bytes(number), established=bool(established))


def _pack_fragment(key: Fragment) -> bytes:
    ends = addresses.pack(key.source), addresses.pack(key.destination)
    return _FRAGMENT.pack(*ends, key.number, key.protocol, key.way, 0)


def _unpack_fragment(raw: bytes) -> Fragment:
    source, destination, number, protocol, way, _ = _FRAGMENT.unpack(raw)
    ends = addresses.unpack(source), addresses.unpack(destination)
    return Fragment(*ends, number, protocol, Way(way))


def _pack_network(cidr: str) -> bytes:
    network = ip_network(cidr)
    bits = network.prefixlen + (_IPV4_BITS if network.version == 4 else 0)
    return _INSIDER.pack(bits, addresses.pack(str(network.network_address)))


def _unpack_network(raw: bytes) -> str:
    bits, packed = _INSIDER.unpack(raw)
    address = addresses.unpack(packed) or "::"
    return f"{address}/{bits if ':' in address else bits - _IPV4_BITS}"


_FLOWS = KeyCodec(_FLOW.size, _pack_flow, _unpack_flow)
_HALVES = ValueCodec(_CONNECTION.size, _pack_connection, _unpack_connection)

OPENING: Layout[Flow, Connection] = Layout("opening", Kind.LRU_HASH, _FLOWS, _HALVES, 65_536)
CONNECTIONS: Layout[Flow, Connection] = Layout(
    "connections", Kind.LRU_HASH, _FLOWS, _HALVES, 262_144
)
FRAGMENTS: Layout[Fragment, Ports] = Layout(
    "fragments",
    Kind.LRU_HASH,
    KeyCodec(_FRAGMENT.size, _pack_fragment, _unpack_fragment),
    ValueCodec(
        _PORTS.size,
        lambda _, value: _PORTS.pack(*map(htons, value)),
        lambda raw: Ports(*map(ntohs, _PORTS.unpack(raw))),
    ),
    8_192,
)
#: Networks in CIDR notation, of either family.
INSIDERS: Layout[str, Member] = Layout(
    "insiders",
    Kind.LPM_TRIE,
    KeyCodec(_INSIDER.size, _pack_network, _unpack_network),
    ValueCodec(
        4,
        lambda _, value: codecs.WORD.pack(value.present),
        lambda raw: Member(*codecs.WORD.unpack(raw)),
    ),
    4_096,
    NO_PREALLOC,
)

TABLES: Mapping[str, Layout[Any, Any]] = MappingProxyType(
    {each.name: each for each in (OPENING, CONNECTIONS, FRAGMENTS, INSIDERS)}
)
