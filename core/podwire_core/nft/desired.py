"""What the agent asks of whoever turns objects into rules (the proxy, the policy compiler)."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from typing import Protocol

from podwire_core.errors import ObjectError
from podwire_core.nft.objects import Key, Object, Table
from podwire_core.snapshot import Change, Snapshot


class Desired(Protocol):
    """The desired content of some tables, kept up to date object by object.

    No effect: it is told what changed and says what should be in force. Whoever holds it
    gives `update()`'s answer to Owner.change(), and `wanted` to Owner.sync().
    """

    @property
    def tables(self) -> Sequence[Table]:
        """Tables it fills; no one else does."""
        ...

    @property
    def wanted(self) -> Mapping[Key, Object]:
        """Everything that should be in force, as of the last update."""
        ...

    @property
    def problems(self) -> Sequence[ObjectError]:
        """Objects that are not, or not wholly, in `wanted`, and why."""
        ...

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        """Take changes in that `snapshot` holds already; answer keys whose wanted value changed.

        None means: nothing is wanted under that key any more. The first call, with every
        object as a change, answers everything.
        """
        ...


class Walk(Mapping[Key, Object]):
    """Everything wanted, made while it is walked through and never held whole.

    objects: starts a walk. Its order is safe: each object names only earlier ones, and any
    beginning of it may be in force alone for a moment. Looking one key up is a walk too.
    """

    def __init__(self, objects: Callable[[], Iterator[Object]]) -> None:
        self.objects = objects

    def __iter__(self) -> Iterator[Key]:
        return (each.key for each in self.objects())

    def __len__(self) -> int:
        return sum(1 for _ in self.objects())

    def __getitem__(self, key: Key) -> Object:
        for each in self.objects():
            if each.key == key:
                return each
        raise KeyError(key)

    def items(self) -> ItemsView[Key, Object]:
        """Pairs, in one walk."""
        return _Items(self)

    def values(self) -> ValuesView[Object]:
        """The objects, in one walk."""
        return _Values(self)


class _Items(ItemsView[Key, Object]):
    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self._walk = walk

    def __iter__(self) -> Iterator[tuple[Key, Object]]:
        return ((each.key, each) for each in self._walk.objects())


class _Values(ValuesView[Object]):
    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self._walk = walk

    def __iter__(self) -> Iterator[Object]:
        return self._walk.objects()
