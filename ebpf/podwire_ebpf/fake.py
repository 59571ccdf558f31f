"""The maps as dicts: what a plane does to a kernel's, row by row, without one.

apply() is the plane's own (applying.py); seen is called after each row. A map that is full refuses
as the kernel's does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from podwire_ebpf import applying
from podwire_ebpf.errors import BpfError
from podwire_ebpf.features import Features
from podwire_ebpf.layout import ADDRESSES, ENDPOINTS, FRONTENDS, MEMBERS, SETTINGS, Layout
from podwire_ebpf.place import Place
from podwire_ebpf.proof import Proof
from podwire_ebpf.records import (
    Endpoint,
    EndpointKey,
    Flag,
    Frontend,
    FrontendKey,
    Member,
    MemberKey,
    Settings,
)
from podwire_ebpf.rows import Change

K = TypeVar("K")
V = TypeVar("V")


class FakeTable(Generic[K, V]):
    """One map. Rows are packed on their way in, so that what has no bytes is refused."""

    def __init__(
        self, layout: Layout[K, V], seen: Callable[[], object], most: int | None = None
    ) -> None:
        self.layout, self.most = layout, most or layout.max_entries
        self.rows: dict[K, V] = {}
        self._seen = seen

    def read(self) -> dict[K, V]:
        """All rows."""
        return dict(self.rows)

    def items(self) -> Iterator[tuple[K, V]]:
        """The same, one by one."""
        return iter(list(self.rows.items()))

    def get(self, key: K) -> V | None:
        """A row's value; None: there is none."""
        return self.rows.get(key)

    def put(self, rows: Iterable[tuple[K, V]]) -> list[K]:
        """The keys of those that have no room."""
        return [key for key, value in rows if not self._put(key, value)]

    def delete(self, keys: Iterable[K]) -> None:
        """One that is not there is as good as gone."""
        for key in keys:
            self.rows.pop(key, None)
            self._seen()

    def _put(self, key: K, value: V) -> bool:
        raw = self.layout.value.pack(key, value)
        known = self.layout.key.unpack(self.layout.key.pack(key))
        if known not in self.rows and len(self.rows) >= self.most:
            return False
        self.rows[known] = self.layout.value.unpack(raw)
        self._seen()
        return True


class FakeTables:
    """The maps that the agent writes. most: of how many rows, by map, where not the layout's."""

    def __init__(self, seen: Callable[[], object], most: Mapping[str, int]) -> None:
        def made(layout: Layout[K, V]) -> FakeTable[K, V]:
            return FakeTable(layout, seen, most.get(layout.name))

        self.frontends: FakeTable[FrontendKey, Frontend] = made(FRONTENDS)
        self.endpoints: FakeTable[EndpointKey, Endpoint] = made(ENDPOINTS)
        self.members: FakeTable[MemberKey, Member] = made(MEMBERS)
        self.addresses: FakeTable[str, Member] = made(ADDRESSES)
        self.settings: FakeTable[int, Settings] = FakeTable(SETTINGS, lambda: None)


class FakePlane:
    """In a plane's place: tables, apply(), and whether it is attached.

    refuses: what apply() raises, while it is not None.
    """

    def __init__(
        self, seen: Callable[[], object] = lambda: None, most: Mapping[str, int] | None = None
    ) -> None:
        self.tables = FakeTables(seen, most or {})
        self.place = Place(Path("/cgroup"), Path("/bpffs"))
        self.features = Features(set_retval=True, netns_option=True)
        self.fresh, self.attached, self.attachments, self.closed = True, False, 0, False
        self.pinned = True
        self.refuses: BpfError | None = None

    def attach(self) -> None:
        """Have the programs attached."""
        self.attached = True
        self.attachments += 1

    def settings(self, node: int, flags: Flag = Flag(0)) -> None:  # noqa: B008 - an immutable number
        """Tell the programs what to do."""
        self.tables.settings.put([(0, Settings(node, flags))])

    def prove(self) -> Proof:
        """Whether they are attached."""
        return Proof({"connect4": self.attached}, {"IPv4": self.attached}, node_cookie=7)

    def close(self) -> None:
        """Everything stays."""
        self.closed = True

    def apply(self, change: Change) -> None:
        """Raises TableFull, with all that there was room for in force."""
        if self.refuses is not None:
            raise self.refuses
        applying.apply(self.tables, change)
