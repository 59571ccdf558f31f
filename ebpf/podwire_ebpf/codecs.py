"""Bytes of keys and values, field by field as the structs of maps.c have them.

Numbers are the machine's, addresses and ports in network order. What stands between fields is
zero, as the kernel compares keys whole. A frontend and an endpoint carry a seal: the sum of the
other words and of the key's.
"""

from __future__ import annotations

import struct
import sys
from socket import htons, ntohs

from podwire_ebpf import addresses
from podwire_ebpf.records import (
    Affinity,
    AffinityKey,
    Endpoint,
    EndpointKey,
    Event,
    Flag,
    Frontend,
    FrontendKey,
    MemberKey,
    Peer,
    Reverse,
    ReverseKey,
    Scope,
    Settings,
)

MASK = 0xFFFFFFFF

WORD = struct.Struct("=I")
LONG = struct.Struct("=Q")
WORDS = {size: struct.Struct(f"={size // 4}I") for size in (16, 20, 24, 56)}

FRONTEND_KEY = struct.Struct("=16sHBB")
FRONTEND = struct.Struct("=QIIHHI")
ENDPOINT_KEY = struct.Struct("=QII")
ENDPOINT = struct.Struct("=16sHHI")
MEMBER_KEY = struct.Struct("=Q16sHHI")
AFFINITY_KEY = struct.Struct("=16sQII")
AFFINITY = struct.Struct("=16sHHIQ")
#: Endpoints that stand in a frontend's own value.
FIRST = 16
_SLOTS = [struct.Struct(f"={6 * count}I") for count in range(FIRST + 1)]
#: Where in a word the half is that comes first in memory.
_FIRST_HALF = 0 if sys.byteorder == "little" else 16
SERVICE_SIZE = FRONTEND.size + FIRST * ENDPOINT.size
PEER = struct.Struct("=Q16s16sHHIII")
REVERSE_KEY = struct.Struct("=Q16sHHI")
REVERSE = struct.Struct("=16sHBB16sHH")
SETTINGS = struct.Struct("=QII")
PAIR = struct.Struct("=QQ")
EVENT = struct.Struct("=QQQQ16s16sHHBBH")


def _sum(raw: bytes) -> int:
    """The sum of the words, with its overflow."""
    return sum(WORDS[len(raw)].unpack(raw))


def sealed(key: bytes, value: bytes) -> bool:
    """Whether an endpoint's value, or the beginning of a frontend's, is whole and of this key."""
    (seal,) = WORD.unpack_from(value, len(value) - 4)
    return bool((_sum(key) + _sum(value) - seal) & MASK == seal)


def pack_frontend_key(key: FrontendKey) -> bytes:
    """struct frontend_key as bytes."""
    return FRONTEND_KEY.pack(addresses.pack(key[0]), htons(key[1]), key[2], key[3])


def unpack_frontend_key(raw: bytes) -> FrontendKey:
    """struct frontend_key from its bytes."""
    address, port, protocol, scope = FRONTEND_KEY.unpack(raw)
    # Sixteen zeros are no missing address here.
    return FrontendKey(addresses.unpack(address) or "::", ntohs(port), protocol, Scope(scope))


def pack_frontend(key: FrontendKey, value: Frontend) -> bytes:
    """struct service as bytes; ValueError where `first` is not what `count` says."""
    number, count, affinity, counter, flags, first = value
    if len(first) != min(count, FIRST):
        raise ValueError(f"{key}: {len(first)} first endpoints of {count}, not {min(count, FIRST)}")
    unsealed = FRONTEND.pack(number, count, affinity, counter, flags, 0)
    seal = _sum(pack_frontend_key(key)) + _sum(unsealed) & MASK
    return (unsealed[:-4] + WORD.pack(seal) + _first(number, first)).ljust(SERVICE_SIZE, b"\0")


def _first(number: int, endpoints: tuple[Endpoint, ...]) -> bytes:
    """The endpoints of slots 0, 1 and so on."""
    # A hundred thousand are packed at a start, most of them once: no cache holds them.
    words: list[int] = []
    for seal, (address, port) in enumerate(endpoints, sum(divmod(number, 1 << 32))):
        four, place = addresses.words(address), htons(port) << _FIRST_HALF
        words += (*four, place, seal + sum(four) + place & MASK)
    return _SLOTS[len(endpoints)].pack(*words)


def unpack_frontend(raw: bytes) -> Frontend:
    """struct service from its bytes."""
    number, count, affinity, counter, flags, _ = FRONTEND.unpack_from(raw)
    ends = range(FRONTEND.size, FRONTEND.size + min(count, FIRST) * ENDPOINT.size, ENDPOINT.size)
    first = tuple(unpack_endpoint(raw[at : at + ENDPOINT.size]) for at in ends)
    return Frontend(number, count, affinity, counter, flags, first)


def pack_endpoint_key(key: EndpointKey) -> bytes:
    """struct endpoint_key as bytes."""
    return ENDPOINT_KEY.pack(key[0], key[1], 0)


def unpack_endpoint_key(raw: bytes) -> EndpointKey:
    """struct endpoint_key from its bytes."""
    return EndpointKey(*ENDPOINT_KEY.unpack(raw)[:2])


def pack_endpoint(key: EndpointKey, value: Endpoint) -> bytes:
    """struct endpoint as bytes."""
    unsealed = ENDPOINT.pack(addresses.pack(value[0]), htons(value[1]), 0, 0)
    return unsealed[:-4] + WORD.pack(_sum(pack_endpoint_key(key)) + _sum(unsealed) & MASK)


def unpack_endpoint(raw: bytes) -> Endpoint:
    """struct endpoint from its bytes."""
    address, port, _, _ = ENDPOINT.unpack(raw)
    return Endpoint(addresses.unpack(address), ntohs(port))


def pack_member_key(key: MemberKey) -> bytes:
    """struct member_key as bytes."""
    return MEMBER_KEY.pack(key[0], addresses.pack(key[1]), htons(key[2]), 0, 0)


def unpack_member_key(raw: bytes) -> MemberKey:
    """struct member_key from its bytes."""
    number, address, port, _, _ = MEMBER_KEY.unpack(raw)
    return MemberKey(number, addresses.unpack(address), ntohs(port))


def pack_affinity_key(key: AffinityKey) -> bytes:
    """struct affinity_key as bytes."""
    client = key.client
    raw = PAIR.pack(client, 0) if isinstance(client, int) else addresses.pack(client)
    return AFFINITY_KEY.pack(raw, key.list, key.scope, 0)


def unpack_affinity_key(raw: bytes) -> AffinityKey:
    """struct affinity_key from its bytes."""
    client, number, scope, _ = AFFINITY_KEY.unpack(raw)
    if scope == Scope.INSIDE:
        return AffinityKey(PAIR.unpack(client)[0], number, Scope.INSIDE)
    return AffinityKey(addresses.unpack(client), number, Scope(scope))


def pack_affinity(_: AffinityKey, value: Affinity) -> bytes:
    """struct affinity as bytes."""
    return AFFINITY.pack(addresses.pack(value.address), htons(value.port), 0, 0, value.last)


def unpack_affinity(raw: bytes) -> Affinity:
    """struct affinity from its bytes."""
    address, port, _, _, last = AFFINITY.unpack(raw)
    return Affinity(addresses.unpack(address), ntohs(port), last)


def pack_reverse_key(key: ReverseKey) -> bytes:
    """struct reverse_key as bytes."""
    return REVERSE_KEY.pack(key[0], addresses.pack(key[1]), htons(key[2]), key[3], 0)


def unpack_reverse_key(raw: bytes) -> ReverseKey:
    """struct reverse_key from its bytes."""
    socket, address, port, forward, _ = REVERSE_KEY.unpack(raw)
    return ReverseKey(socket, addresses.unpack(address), ntohs(port), bool(forward))


def pack_reverse(_: ReverseKey, value: Reverse) -> bytes:
    """struct reverse as bytes."""
    dialled, following = addresses.pack(value.address), addresses.pack(value.next_address)
    ports = htons(value.port), htons(value.next_port)
    return REVERSE.pack(
        dialled, ports[0], value.wildcard, 0, following, ports[1], value.next_forward
    )


def unpack_reverse(raw: bytes) -> Reverse:
    """struct reverse from its bytes."""
    dialled, port, wildcard, _, following, next_port, next_forward = REVERSE.unpack(raw)
    return Reverse(
        addresses.unpack(dialled),
        ntohs(port),
        bool(wildcard),
        addresses.unpack(following),
        ntohs(next_port),
        bool(next_forward),
    )


def pack_peer(_: int, value: Peer) -> bytes:
    """struct peer as bytes."""
    endpoint, dialled = addresses.pack(value.endpoint), addresses.pack(value.address)
    ports = htons(value.endpoint_port), htons(value.port)
    unsealed = PEER.pack(value.socket, endpoint, dialled, *ports, 0, 0, 0)
    return PEER.pack(value.socket, endpoint, dialled, *ports, _sum(unsealed) & MASK, 0, 0)


def unpack_peer(raw: bytes) -> Peer:
    """struct peer from its bytes."""
    socket, endpoint, dialled, *ports, _, _, _ = PEER.unpack(raw)
    named = addresses.unpack(endpoint), ntohs(ports[0])
    return Peer(socket, *named, addresses.unpack(dialled), ntohs(ports[1]))


def unpack_settings(raw: bytes) -> Settings:
    """struct settings from its bytes."""
    node, flags, _ = SETTINGS.unpack(raw)
    return Settings(node, Flag(flags))


def unpack_event(raw: bytes) -> Event:
    """An event of the ring; raises struct.error where the length is not EVENT_SIZE."""
    time, namespace, socket, cgroup, dialled, endpoint, *rest = EVENT.unpack(raw)
    return Event(
        time,
        namespace,
        socket,
        cgroup,
        addresses.unpack(dialled),
        addresses.unpack(endpoint),
        ntohs(rest[0]),
        ntohs(rest[1]),
        rest[2],
        rest[3],
    )
