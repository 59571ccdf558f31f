"""Lists of endpoints as rows: `endpoints` by slot, `members` of those who has an endpoint keeps.

set() ─► slots that change least ─► rows that differ ─► Change
                                       └─► room: what no map has place for is not begun
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from podwire_ebpf.layout import COUNTERS, ENDPOINTS, FIRST, FRONTENDS, MEMBERS
from podwire_ebpf.records import Endpoint, EndpointKey, Frontend, FrontendKey, Member, MemberKey
from podwire_ebpf.rows import Change
from podwire_proxy.frontend import Backend
from podwire_proxy.slots import assign
from podwire_proxy.sockets.wishes import NO_MEMBERS

Members = Mapping[Backend, int]


@dataclass(frozen=True)
class Room:
    """How many rows the maps take; counters: how many numbers there are, with 0."""

    frontends: int = FRONTENDS.max_entries
    endpoints: int = ENDPOINTS.max_entries
    members: int = MEMBERS.max_entries
    counters: int = COUNTERS.max_entries


@dataclass(slots=True)
class List:
    """One list as it is in the maps. users: the keys of the frontends that want it, sorted."""

    number: int
    name: str = ""
    counter: int = 0
    slots: tuple[Backend, ...] = ()
    members: Members = field(default_factory=lambda: NO_MEMBERS)
    users: tuple[FrontendKey, ...] = ()


class Rows:
    """The two maps, as far as they were told: how full they are, and what makes them differ."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.endpoints = self.members = 0

    def full(self, each: List, count: int, members: int) -> str:
        """The map that has no place for a list of this size in place of what it is; else ""."""
        if self.endpoints - _beyond(len(each.slots)) + _beyond(count) > self._room.endpoints:
            return ENDPOINTS.name
        if self.members - len(each.members) + members > self._room.members:
            return MEMBERS.name
        return ""

    def put(
        self,
        each: List,
        slots: tuple[Backend, ...],
        members: Members,
        change: Change,
    ) -> None:
        """A list becomes this one."""
        self.endpoints += _beyond(len(slots)) - _beyond(len(each.slots))
        self.members += len(members) - len(each.members)
        change.endpoints.update(_slots(each.number, each.slots, slots))
        change.members.update(_members(each.number, each.members, members))
        each.slots, each.members = slots, members

    def adopt(self, each: List, slots: tuple[Backend, ...], members: Members) -> None:
        """What a kernel holds of a list."""
        self.endpoints += _beyond(len(slots)) - _beyond(len(each.slots))
        self.members += len(members) - len(each.members)
        each.slots, each.members = slots, members


def arranged(
    before: tuple[Backend, ...], backends: frozenset[Backend], beside: tuple[Backend, ...]
) -> tuple[Backend, ...]:
    """The slots that change least; of a list that is new, those that nftables has.

    The very tuple, where it is equal: a hundred thousand endpoints need not be kept twice.
    """
    if not before:
        return beside
    slots = assign(before, backends)
    return beside if slots == beside else slots


def _slots(
    number: int, before: tuple[Backend, ...], now: tuple[Backend, ...]
) -> Iterator[tuple[EndpointKey, Endpoint | None]]:
    known = len(before)
    for slot in range(FIRST, len(now)):
        if slot >= known or before[slot] != now[slot]:
            yield EndpointKey(number, slot), Endpoint(*now[slot])
    for slot in range(max(FIRST, len(now)), known):
        yield EndpointKey(number, slot), None


def _members(
    number: int, before: Members, now: Members
) -> Iterator[tuple[MemberKey, Member | None]]:
    for backend, what in now.items():
        if before.get(backend) != what:
            yield MemberKey(number, *backend), Member(what)
    for backend in before:
        if backend not in now:
            yield MemberKey(number, *backend), None


def _beyond(count: int) -> int:
    """How many rows of `endpoints` so many endpoints are."""
    return max(0, count - FIRST)


def in_kernel(
    frontends: Iterable[Frontend], endpoints: Iterable[tuple[EndpointKey, Endpoint]]
) -> tuple[Mapping[int, tuple[Backend, ...]], list[EndpointKey]]:
    """Lists from slot 0 on without a hole, and keys of rows that lead nowhere.

    frontends: their first endpoints are backends, see Sockets.adopt.
    """
    whole = {row.list: cast("tuple[Backend, ...]", row.first) for row in frontends}
    rest: dict[int, dict[int, Backend]] = {}
    for key, endpoint in endpoints:
        rest.setdefault(key.list, {})[key.slot] = Backend(*endpoint)
    strays: list[EndpointKey] = []
    for number, slots in rest.items():
        first = whole.get(number, ())
        end = min(FIRST, len(first))
        while end >= FIRST and end in slots:
            end += 1
        whole[number] = (*first, *(slots[slot] for slot in range(FIRST, end)))
        strays += [EndpointKey(number, slot) for slot in slots if not FIRST <= slot < end]
    return whole, strays
