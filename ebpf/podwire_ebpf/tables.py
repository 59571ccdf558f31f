"""All maps of a plane, each under its name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from podwire_ebpf import layout
from podwire_ebpf.blocks import Blocks
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
from podwire_ebpf.table import Table

__all__ = ["Table", "Tables"]


class Tables:
    """All maps of a plane, by their names in maps.c; iterable."""

    def __init__(self, descriptors: Mapping[str, int]) -> None:
        """descriptors: of every map of layout.TABLES, and of the ring."""
        self.frontends: Table[FrontendKey, Frontend]
        self.frontends = Table(layout.FRONTENDS, descriptors["frontends"])
        self.endpoints: Table[EndpointKey, Endpoint]
        self.endpoints = Table(layout.ENDPOINTS, descriptors["endpoints"])
        self.members: Table[MemberKey, Member] = Table(layout.MEMBERS, descriptors["members"])
        self.affinity: Table[AffinityKey, Affinity]
        self.affinity = Table(layout.AFFINITY, descriptors["affinity"])
        self.reverse: Table[ReverseKey, Reverse] = Table(layout.REVERSE, descriptors["reverse"])
        self.peers: Table[int, Peer] = Table(layout.PEERS, descriptors["peers"])
        self.addresses: Table[str, Member] = Table(layout.ADDRESSES, descriptors["addresses"])
        self.counters: Table[int, Counter] = Blocks(layout.COUNTERS, descriptors["counters"])
        self.settings: Table[int, Settings] = Table(layout.SETTINGS, descriptors["settings"])
        self.canaries: Table[int, Canary] = Table(layout.CANARIES, descriptors["canaries"])
        self.lost: Table[int, Lost] = Table(layout.LOST, descriptors["lost"])
        self.ring = descriptors[layout.RING[0]]

    def __iter__(self) -> Iterator[Table[Any, Any]]:
        yield from (self.frontends, self.endpoints, self.members, self.affinity, self.reverse)
        yield self.peers
        yield from (self.addresses, self.counters, self.settings, self.canaries, self.lost)

    def close(self) -> None:
        """Give all descriptors back."""
        for table in self:
            table.close()
        ring, self.ring = self.ring, -1
        if ring >= 0:
            os.close(ring)
