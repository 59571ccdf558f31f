"""The difference between what is and what should be."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class Delta(Generic[K, V]):
    """What turns one mapping into another: apply it and a second delta is empty."""

    added: Mapping[K, V] = field(default_factory=dict)
    changed: Mapping[K, V] = field(default_factory=dict)
    removed: frozenset[K] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __len__(self) -> int:
        return len(self.added) + len(self.changed) + len(self.removed)


def delta(have: Mapping[K, V], want: Mapping[K, V]) -> Delta[K, V]:
    """What has to be added, changed and removed so that `have` becomes `want`.

    `delta(x, x)` is empty and false. Orders follow `want`, so equal inputs give equal output.
    """
    added: dict[K, V] = {}
    changed: dict[K, V] = {}
    for key, value in want.items():
        if key not in have:
            added[key] = value
        elif have[key] != value:
            changed[key] = value
    return Delta(added, changed, frozenset(key for key in have if key not in want))
