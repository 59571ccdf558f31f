"""The sets that rules look into, each declared while any rule does.

    acquire, release   a compiled policy begins or ceases to look into sets
    settle             what nothing looks into any more goes; what is new is declared

A pod asks which sets could take it in, and meets these alone (labels.Index).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from podwire_core.family import FAMILIES, Family
from podwire_policy.labels import Index, traits
from podwire_policy.population import Candidate
from podwire_policy.sets import (
    TABLES,
    Blocks,
    Interned,
    NamedPorts,
    NodePeers,
    PodPeers,
    PortList,
)
from podwire_policy.wanted import Draft

_Key = tuple[str, str]
"""A set's name, and its family if only one has it."""

Fillable = PodPeers | NodePeers | NamedPorts


class Library:
    """All interned sets. Those that pods or nodes fill are declared for both families."""

    def __init__(self) -> None:
        self._uses: Counter[_Key] = Counter()
        self._known: dict[_Key, Interned] = {}
        self._declared: set[_Key] = set()
        self._touched: set[_Key] = set()
        self._filled: Index[str] = Index()  # those that pods fill

    @property
    def node_peers(self) -> Iterator[NodePeers]:
        """Those that nodes fill."""
        return (each for each in self._known.values() if isinstance(each, NodePeers))

    def acquire(self, family: Family, sets: Iterable[Interned]) -> None:
        """A compiled policy looks into these."""
        for each in sets:
            key = _key(family, each)
            self._known.setdefault(key, each)
            self._uses[key] += 1
            self._touched.add(key)

    def release(self, family: Family, sets: Iterable[Interned]) -> None:
        """It does no more."""
        for each in sets:
            key = _key(family, each)
            self._uses[key] -= 1
            self._touched.add(key)

    def settle(self, draft: Draft) -> list[Fillable]:
        """Declare and drop. Answers the new ones that are to be filled."""
        fresh: list[Fillable] = []
        for key in sorted(self._touched):
            each = self._known[key]
            if self._uses[key]:
                if key not in self._declared:
                    self._declare(key, each, draft)
                    if not isinstance(each, Blocks | PortList):
                        fresh.append(each)
                continue
            del self._uses[key], self._known[key]
            if key in self._declared:
                self._drop(key, each, draft)
        self._touched.clear()
        return fresh

    def meeting(self, candidate: Candidate) -> Iterator[PodPeers | NamedPorts]:
        """The sets that could take a pod in."""
        where = candidate.namespace_labels.items()
        for name in dict.fromkeys(self._filled.find(where, traits(candidate.pod))):
            yield self._fillable(name)

    def _fillable(self, name: str) -> PodPeers | NamedPorts:
        found = self._known[name, ""]
        assert isinstance(found, PodPeers | NamedPorts)  # noqa: S101 - what the indices file
        return found

    def _declare(self, key: _Key, each: Interned, draft: Draft) -> None:
        self._declared.add(key)
        for family in _families(key):
            draft.put(each.declare(TABLES[family]))
            if isinstance(each, Blocks | PortList):
                for element in each.contents(TABLES[family]):
                    draft.put(element)
        if isinstance(each, PodPeers | NamedPorts):
            self._filled.add(each.name, *each.places)

    def _drop(self, key: _Key, each: Interned, draft: Draft) -> None:
        self._declared.discard(key)
        for family in _families(key):
            draft.drop_set(each.declare(TABLES[family]).key)
        if isinstance(each, PodPeers | NamedPorts):
            self._filled.remove(each.name, *each.places)


def _key(family: Family, each: Interned) -> _Key:
    return each.name, family.nft if isinstance(each, Blocks | PortList) else ""


def _families(key: _Key) -> Iterable[Family]:
    return (each for each in FAMILIES if key[1] in {"", each.nft})
