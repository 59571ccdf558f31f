"""The maps' bytes: what maps.c says to the compiler, said to Python.

    TABLES["endpoints"].key.pack(EndpointKey(7, 0))                     16 bytes
    TABLES["endpoints"].value.pack(EndpointKey(7, 0), Endpoint(…))      24 bytes, sealed
    TABLES["endpoints"].value.unpack(raw)                               Endpoint(…)

A value is packed with its key, because a seal says which key it belongs to. Numbers are the
machine's, addresses and ports in network order. A test compares sizes and offsets with those
that a C compiler sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from podwire_ebpf import addresses, codecs
from podwire_ebpf.records import (
    Affinity,
    AffinityKey,
    Canary,
    Counter,
    Endpoint,
    EndpointKey,
    Frontend,
    FrontendKey,
    Lost,
    Member,
    MemberKey,
    Peer,
    Reverse,
    ReverseKey,
    Settings,
)

K = TypeVar("K")
V = TypeVar("V")

NO_PREALLOC = 1


class Kind(IntEnum):
    """The kernel's types of maps that we use (linux/bpf.h, enum bpf_map_type)."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    RINGBUF = 27


@dataclass(frozen=True)
class KeyCodec(Generic[K]):
    """A key as bytes and back; pack raises ValueError or struct.error for what has no place."""

    size: int
    pack: Callable[[K], bytes]
    unpack: Callable[[bytes], K]


@dataclass(frozen=True)
class ValueCodec(Generic[K, V]):
    """A value as bytes and back; pack wants its key, too."""

    size: int
    pack: Callable[[K, V], bytes]
    unpack: Callable[[bytes], V]


@dataclass(frozen=True)
class Layout(Generic[K, V]):
    """One map, as maps.c declares it.

    max_entries: of rows. block: so many rows stand in one element of the kernel's.
    """

    name: str
    kind: Kind
    key: KeyCodec[K]
    value: ValueCodec[K, V]
    max_entries: int
    flags: int = 0
    block: int = 1

    @property
    def element_size(self) -> int:
        """Bytes of a value as the kernel has it."""
        return self.value.size * self.block

    @property
    def elements(self) -> int:
        """How many of them there may be."""
        return self.max_entries // self.block


EVENT_SIZE = codecs.EVENT.size
FIRST = codecs.FIRST
#: The ring of events: its name and bytes. It has neither keys nor values, so it is no Layout.
RING = ("events", 1 << 20)

_INDEX: KeyCodec[int] = KeyCodec(4, codecs.WORD.pack, lambda raw: int(codecs.WORD.unpack(raw)[0]))
_COOKIE: KeyCodec[int] = KeyCodec(8, codecs.LONG.pack, lambda raw: int(codecs.LONG.unpack(raw)[0]))
_ADDRESS: KeyCodec[str] = KeyCodec(addresses.SIZE, addresses.pack, addresses.unpack)
_PRESENT: ValueCodec[Any, Member] = ValueCodec(
    4,
    lambda _, value: codecs.WORD.pack(value.present),
    lambda raw: Member(*codecs.WORD.unpack(raw)),
)

FRONTENDS: Layout[FrontendKey, Frontend] = Layout(
    "frontends",
    Kind.HASH,
    KeyCodec(codecs.FRONTEND_KEY.size, codecs.pack_frontend_key, codecs.unpack_frontend_key),
    ValueCodec(codecs.SERVICE_SIZE, codecs.pack_frontend, codecs.unpack_frontend),
    32_768,
    NO_PREALLOC,
)
ENDPOINTS: Layout[EndpointKey, Endpoint] = Layout(
    "endpoints",
    Kind.HASH,
    KeyCodec(codecs.ENDPOINT_KEY.size, codecs.pack_endpoint_key, codecs.unpack_endpoint_key),
    ValueCodec(codecs.ENDPOINT.size, codecs.pack_endpoint, codecs.unpack_endpoint),
    262_144,
    NO_PREALLOC,
)
MEMBERS: Layout[MemberKey, Member] = Layout(
    "members",
    Kind.HASH,
    KeyCodec(codecs.MEMBER_KEY.size, codecs.pack_member_key, codecs.unpack_member_key),
    _PRESENT,
    262_144,
    NO_PREALLOC,
)
AFFINITY: Layout[AffinityKey, Affinity] = Layout(
    "affinity",
    Kind.LRU_HASH,
    KeyCodec(codecs.AFFINITY_KEY.size, codecs.pack_affinity_key, codecs.unpack_affinity_key),
    ValueCodec(codecs.AFFINITY.size, codecs.pack_affinity, codecs.unpack_affinity),
    65_536,
)
REVERSE: Layout[ReverseKey, Reverse] = Layout(
    "reverse",
    Kind.LRU_HASH,
    KeyCodec(codecs.REVERSE_KEY.size, codecs.pack_reverse_key, codecs.unpack_reverse_key),
    ValueCodec(codecs.REVERSE.size, codecs.pack_reverse, codecs.unpack_reverse),
    65_536,
)
PEERS: Layout[int, Peer] = Layout(
    "peers",
    Kind.ARRAY,
    _INDEX,
    ValueCodec(codecs.PEER.size, codecs.pack_peer, codecs.unpack_peer),
    32_768,
)
ADDRESSES: Layout[str, Member] = Layout(
    "addresses", Kind.HASH, _ADDRESS, _PRESENT, 4_096, NO_PREALLOC
)
COUNTERS: Layout[int, Counter] = Layout(
    "counters",
    Kind.PERCPU_ARRAY,
    _INDEX,
    ValueCodec(
        codecs.PAIR.size,
        lambda _, value: codecs.PAIR.pack(*value),
        lambda raw: Counter(*codecs.PAIR.unpack(raw)),
    ),
    65_536,
    block=64,
)
SETTINGS: Layout[int, Settings] = Layout(
    "settings",
    Kind.ARRAY,
    _INDEX,
    ValueCodec(
        codecs.SETTINGS.size,
        lambda _, value: codecs.SETTINGS.pack(*value, 0),
        codecs.unpack_settings,
    ),
    1,
)
CANARIES: Layout[int, Canary] = Layout(
    "canaries",
    Kind.LRU_HASH,
    _COOKIE,
    ValueCodec(
        codecs.PAIR.size,
        lambda _, value: codecs.PAIR.pack(*value),
        lambda raw: Canary(*codecs.PAIR.unpack(raw)),
    ),
    4_096,
)
LOST: Layout[int, Lost] = Layout(
    "lost",
    Kind.PERCPU_ARRAY,
    _INDEX,
    ValueCodec(
        8, lambda _, value: codecs.LONG.pack(*value), lambda raw: Lost(*codecs.LONG.unpack(raw))
    ),
    1,
)

TABLES: Mapping[str, Layout[Any, Any]] = MappingProxyType(
    {
        each.name: each
        for each in (
            FRONTENDS,
            ENDPOINTS,
            MEMBERS,
            AFFINITY,
            REVERSE,
            PEERS,
            ADDRESSES,
            COUNTERS,
            SETTINGS,
            CANARIES,
            LOST,
        )
    }
)
