"""All frontends as rows of the maps, told piece by piece.

    replace(frontend, served) … ─► take() ─► Change: what differs from what was told before
    adopt(what a kernel holds)  ───────────► Change: what differs from that

Frontends of one port that have one list share it, with its slots, its members, its clients'
memory and its counter. A list is named by a digest of its name, so no number is ever given twice.

A list for which a map has no room is not begun, and one that has outgrown it goes: its frontends
are left to nftables, and tried again when rows went.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

from podwire_core.family import Family
from podwire_ebpf.layout import FIRST, FRONTENDS
from podwire_ebpf.records import (
    Endpoint,
    EndpointKey,
    FrontendKey,
    Member,
    MemberKey,
    Scope,
)
from podwire_ebpf.records import Frontend as Row
from podwire_ebpf.rows import Change
from podwire_proxy.elements import Served
from podwire_proxy.frontend import Backend, Frontend
from podwire_proxy.sockets.counters import Counters
from podwire_proxy.sockets.lists import List, Members, Room, Rows, arranged, in_kernel
from podwire_proxy.sockets.networks import Networks
from podwire_proxy.sockets.wishes import (
    NO_MEMBERS,
    Reach,
    Wish,
    frontend_of,
    is_mapped,
    key_of,
    reason,
    wish,
)

_FULL = "the map"
_TWIN = "another port of its Service has its name, and other endpoints"
_MAPPED = "an endpoint is ::ffff:a.b.c.d, which sockets take for an IPv4 address"
_UNANSWERED = "an endpoint is in a ServiceCIDR, where nothing but Services is answered"
_SHADOWED = "nftables alone serves its port at some address, which may be the node's"


class Sockets:
    """What is to be in the maps. Not for several threads.

    Whoever applied a Change that a kernel refused adopts anew: take() tells nothing twice.
    """

    def __init__(self, reach: Reach | None = None, room: Room | None = None) -> None:
        self._reach, self._room = reach or Reach(), room or Room()
        self._served: dict[Frontend, Served] = {}
        self._noted: dict[Frontend, None] = {}
        self._left: dict[Frontend, str] = {}
        self._beside: Counter[Frontend] = Counter()  # NodePorts whose port is left at an address
        self._places: dict[FrontendKey, List] = {}  # of frontends that are not left: their list
        self._refused: dict[FrontendKey, str] = {}  # by their list, or for want of room
        self._lists: dict[int, List] = {}
        self._dirty: dict[int, None] = {}
        self._gone: dict[FrontendKey, None] = {}  # that are wanted no more, unless they are again
        self._waiting: set[int] = set()  # lists without room
        self._rows: dict[FrontendKey, Row] = {}
        self._maps = Rows(self._room)
        self._counters = Counters(self._room.counters)
        self._unanswered = Networks(self._reach.service_cidrs)

    # --------------------------------------------------------------------- what it says

    @property
    def changed(self) -> bool:
        """Whether take() may have anything to tell."""
        return bool(self._noted or self._dirty)

    @property
    def left(self) -> Mapping[Frontend, str]:
        """Frontends that nftables alone serves, and why."""
        refused = {
            frontend_of(key): why for key, why in self._refused.items() if key.scope == Scope.INSIDE
        }
        return refused | self._left

    @property
    def left_count(self) -> int:
        """How many these are."""
        return len(self._left) + sum(key.scope == Scope.INSIDE for key in self._refused)

    @property
    def crowded(self) -> int:
        """For how many the maps have no room; of both scopes."""
        return sum(why.startswith(_FULL) for why in self._refused.values())

    @property
    def labels(self) -> Mapping[FrontendKey, str]:
        """`shop/api:http` of each frontend that has a place in the maps, be it there or left."""
        keys = ((key_of(frontend), served) for frontend, served in self._served.items())
        return {key: served.plan.label for key, served in keys if key is not None}

    @property
    def rows(self) -> Mapping[FrontendKey, Row]:
        """The frontends that are in the maps."""
        return self._rows

    @property
    def lists(self) -> Mapping[int, str]:
        """Lists by their numbers: `shop/api:http/TCP IPv4 cluster`."""
        return {each.number: each.name for each in self._lists.values()}

    @property
    def counters(self) -> Mapping[int, str]:
        """The same by the numbers of their counters."""
        return {each.counter: each.name for each in self._lists.values() if each.counter}

    def everything(self) -> Change:
        """All rows, as they were told."""
        change, rows = Change(frontends=dict(self._rows)), Rows(self._room)
        for each in self._lists.values():
            whole = List(each.number)
            rows.put(whole, each.slots, each.members, change)
        return change

    # ------------------------------------------------------------------------- changes

    @property
    def reach(self) -> Reach:
        """What is asked of the programs, and what they can do."""
        return self._reach

    def set_reach(self, reach: Reach) -> None:
        """The programs can do more, or less, than was thought."""
        if reach != self._reach:
            self._reach, self._unanswered = reach, Networks(reach.service_cidrs)
            self._noted.update(dict.fromkeys(self._served))

    def set_service_cidrs(self, cidrs: tuple[str, ...]) -> None:
        """What Services get addresses from: packets for the rest of it are dropped."""
        self.set_reach(replace(self._reach, service_cidrs=cidrs))

    def replace(self, frontend: Frontend, now: Served | None) -> None:
        """A frontend is served so from now on, or no more."""
        if now is None:
            self._served.pop(frontend, None)
        else:
            self._served[frontend] = now
        self._noted[frontend] = None

    def take(self) -> Change:
        """What changed since the last call."""
        change = Change()
        self._note()
        for key in self._gone:
            if key not in self._places:
                self._drop(key, change)
        self._gone.clear()
        # What goes makes room for what comes, and then for what waits.
        for number in sorted(self._dirty, key=self._is_wanted):
            self._settle(self._lists[number], change)
        for number in sorted(self._waiting) if self._dirty else ():
            self._settle(self._lists[number], change)
        self._dirty.clear()
        return change

    def _is_wanted(self, number: int) -> tuple[bool, int]:
        return bool(self._lists[number].users), number

    def adopt(
        self,
        frontends: Iterable[tuple[FrontendKey, Row]],
        endpoints: Iterable[tuple[EndpointKey, Endpoint]],
        members: Iterable[tuple[MemberKey, Member]],
    ) -> Change:
        """What makes a kernel's rows those that are wanted. Who has a slot there keeps it."""
        self._note()
        mine = {key: key for key in self._places}  # the kernel's would be megabytes of the same
        self._rows = {mine.get(key, key): self._known(key, row) for key, row in frontends}
        slots, strays = in_kernel(self._rows.values(), endpoints)
        there: dict[int, dict[Backend, int]] = {}
        for key, member in members:
            there.setdefault(key.list, {})[Backend(key.address, key.port)] = member.present
        for number in slots.keys() | there.keys():
            self._lists.setdefault(number, List(number))
        for number, each in self._lists.items():
            self._maps.adopt(each, slots.get(number, ()), there.get(number, NO_MEMBERS))
        self._adopt_counters()
        self._dirty.update(dict.fromkeys(self._lists))
        self._gone.update(dict.fromkeys(self._rows))
        change = self.take()
        change.endpoints = {**dict.fromkeys(strays), **change.endpoints}
        return change

    def _known(self, key: FrontendKey, row: Row) -> Row:
        """The same row, of backends that are in memory already: a hundred thousand are 20 MB."""
        mine = {each: each for each in self._wish(key).backends} if key in self._places else {}
        backends = (Backend(*each) for each in row.first)
        first = tuple(mine.get(each, each) for each in backends)
        return row._replace(first=cast("tuple[Endpoint, ...]", first))

    def retreat(self, change: Change) -> Change:
        """What leaves all to nftables that a change is about, which was not applied whole."""
        numbers = {key.list for key in change.endpoints} | {key.list for key in change.members}
        users = (self._lists[each].users for each in numbers if each in self._lists)
        keys = (set(change.frontends) & self._rows.keys()).union(*users)
        return Change(
            frontends=dict.fromkeys(keys),
            endpoints={key: None for key, each in change.endpoints.items() if each is None},
            members={key: None for key, each in change.members.items() if each is None},
        )

    # ------------------------------------------------------------------- one frontend

    def _note(self) -> None:
        """Frontends that changed, as wishes and reasons; their lists are dirty then."""
        while self._noted:
            frontend, _ = self._noted.popitem()
            served = self._served.get(frontend)
            why = self._reason(frontend, served) if served else ""
            self._leave(frontend, why)
            for scope in Scope:
                key = key_of(frontend, scope)
                if key is not None:
                    made = None if why or not served else wish(frontend, served, key, self._reach)
                    self._place(key, made)

    def _reason(self, frontend: Frontend, served: Served) -> str:
        shadowed = frontend.is_nodeport and self._beside[frontend]
        return reason(frontend, served, self._reach) or (_SHADOWED if shadowed else "")

    def _leave(self, frontend: Frontend, why: str) -> None:
        """Left to nftables, or no more; a NodePort must not answer in place of an address."""
        before = self._left.pop(frontend, "")
        if why:
            self._left[frontend] = why
        step = bool(why) - bool(before)
        if frontend.is_nodeport or not step or key_of(frontend) is None:
            return
        nodeport = Frontend(frontend.family, "", frontend.protocol, frontend.port)
        self._beside[nodeport] += step
        if not self._beside[nodeport]:
            del self._beside[nodeport]
        if nodeport in self._served:
            self._noted[nodeport] = None

    def _place(self, key: FrontendKey, now: Wish | None) -> None:
        """Which list a frontend leads to."""
        before = self._places.get(key)
        if before is not None and now is not None and before.name == now.name:
            self._dirty[before.number] = None
            return
        if before is not None:
            del self._places[key]
            before.users = tuple(each for each in before.users if each != key)
            self._refused.pop(key, None)
            self._dirty[before.number] = self._gone[key] = None
        if now is not None:
            number = now.number
            each = self._places[key] = self._lists.setdefault(number, List(number))
            each.users = tuple(sorted((*each.users, key)))
            each.name = now.name
            self._dirty[number] = None

    def _wish(self, key: FrontendKey) -> Wish:
        """The row that it asks for, made anew each time: ten thousand would be megabytes."""
        frontend = frontend_of(key)
        made = wish(frontend, self._served[frontend], key, self._reach)
        assert made is not None, "it has a place"  # noqa: S101 - for the type checker
        return made

    # ----------------------------------------------------------------------- one list

    def _settle(self, each: List, change: Change) -> None:
        """Make a list, and the frontends that lead to it, what they are to be."""
        self._waiting.discard(each.number)
        made = [self._wish(key) for key in each.users]
        members = NO_MEMBERS
        for row in made:  # those of packets from outside say no less, and their keys sort last
            members = row.members or members
        why = self._obstacle(each, made[0], members) if made else ""
        if made and not why:
            slots = arranged(each.slots, made[0].backends, made[0].slots)
            self._maps.put(each, slots, members, change)
            each.counter = each.counter or self._counters.take()
        else:
            self._maps.put(each, (), NO_MEMBERS, change)
        for row in made:
            self._lead(
                row, each, why or (_TWIN if row.backends != made[0].backends else ""), change
            )
        if not made:
            self._counters.give_back(each.counter)
            del self._lists[each.number]

    def _obstacle(self, each: List, first: Wish, members: Members) -> str:
        """Why no frontend of a list may be in the maps."""
        full = self._maps.full(each, len(first.backends), len(members))
        if len(self._rows) >= self._room.frontends and not any(map(self._rows.get, each.users)):
            full = FRONTENDS.name
        if full:
            self._waiting.add(each.number)
            return _full(full)
        addresses = [backend.address for backend in first.backends]
        family = frontend_of(first.key).family
        if family is Family.IPV6 and any(map(is_mapped, addresses)):
            return _MAPPED
        return _UNANSWERED if self._unanswered.hold_any(addresses, family) else ""

    def _lead(self, wish: Wish, each: List, why: str, change: Change) -> None:
        """The row of one frontend of a list."""
        key = wish.key
        if not why and key not in self._rows and len(self._rows) >= self._room.frontends:
            why = _full(FRONTENDS.name)
            self._waiting.add(each.number)
        self._refused.pop(key, None)
        if why:
            self._refused[key] = why
            self._drop(key, change)
            return
        # The very tuple of its slots, where there are few: a backend has an endpoint's fields.
        first = cast("tuple[Endpoint, ...]", each.slots[:FIRST])
        row = Row(each.number, len(each.slots), wish.affinity, each.counter, wish.flags, first)
        if self._rows.get(key) != row:
            change.frontends[key] = row
        self._rows[key] = row

    def _drop(self, key: FrontendKey, change: Change) -> None:
        if self._rows.pop(key, None) is not None:
            change.frontends[key] = None

    def _adopt_counters(self) -> None:
        """Each list keeps the number under which its connections were counted."""
        known = {row.list: row.counter for row in self._rows.values()}
        self._counters = Counters(self._room.counters)
        for number, each in sorted(self._lists.items()):
            counter = known.get(number, 0) if each.users else 0
            each.counter = self._counters.adopt(counter) if counter else 0


def _full(name: str) -> str:
    return f"{_FULL} {name} has no room for it"
