"""Who wants which key, and who wins it.

Many owners (Services, pods, isolation groups) may ask for one key: two Services of one
endpoint both want its hairpin entry, two Services that name one address want different
answers for it. The claimant that sorts first holds the key; when it lets go, the next one
holds it. Order is the owner's own (its age and name), so a restart decides alike.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Mapping
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar


class Ordered(Hashable, Protocol):
    """An owner: hashable, and sorted by who has the older right."""

    def __lt__(self, other: Any, /) -> bool:
        """Whether this owner's right is the older one."""
        ...


Owner = TypeVar("Owner", bound=Ordered)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Claims(Generic[Owner, K, V]):
    """Claims of all owners; `winners` is what is to be in force."""

    def __init__(self) -> None:
        self.winners: dict[K, V] = {}
        self._claims: dict[Owner, Mapping[K, V]] = {}
        self._claimants: dict[K, Owner | list[Owner]] = {}
        self._contested: dict[K, None] = {}  # in the order in which they came to be

    def __getitem__(self, owner: Owner) -> Mapping[K, V]:
        """What one owner claims now; empty for an unknown one."""
        return self._claims.get(owner, {})

    def owners(self) -> tuple[Owner, ...]:
        """Everyone who claims anything."""
        return tuple(self._claims)

    def replace(self, owner: Owner, wanted: Mapping[K, V]) -> dict[K, V | None]:
        """Let `owner` claim exactly `wanted`. Returns keys whose winner changed (None: no one's).

        The cost grows with what this owner claims, not with what others do.
        """
        before = self._claims.pop(owner, {})
        if wanted:
            self._claims[owner] = wanted
        touched: dict[K, V | None] = {}
        for key in (*before, *(key for key in wanted if key not in before)):
            if key in before and key in wanted and before[key] == wanted[key]:
                continue
            self._settle(key, owner, wanted=key in wanted)
            winner = self._winner(key)
            value = None if winner is None else self._claims[winner][key]
            if self.winners.get(key) != value:
                touched[key] = value
                if value is None:
                    del self.winners[key]
                else:
                    self.winners[key] = value
        return touched

    def lost(self, most: int, each: int = 3) -> list[tuple[Owner, K, Owner]]:
        """(owner, key, holder) of owners that want a key with another value than its holder.

        Sorted by owner; at most so many owners and keys of each, however many want one key. Of
        very many contested keys only some are looked at.
        """
        found: dict[Owner, list[tuple[Owner, K, Owner]]] = {}
        for key in islice(self._contested, most * 10):
            held = self._claimants[key]
            if not isinstance(held, list):
                continue
            for owner in islice(held, 1, most + 1):
                rows = found.setdefault(owner, [])
                if len(rows) < each and self._claims[owner][key] != self.winners[key]:
                    rows.append((owner, key, held[0]))
        return [row for owner in sorted(found)[:most] for row in found[owner]]

    def losers(self, owner: Owner) -> dict[K, Owner]:
        """Keys that `owner` wants with another value than their holder: key → holder."""
        lost: dict[K, Owner] = {}
        for key, value in self[owner].items():
            winner = self._winner(key)
            if winner is not None and winner != owner and self.winners[key] != value:
                lost[key] = winner
        return lost

    def _settle(self, key: K, owner: Owner, *, wanted: bool) -> None:
        """Keep the sorted list of claimants; one claimant, by far the most, is not a list."""
        held = self._claimants.pop(key, None)
        claimants = held if isinstance(held, list) else [] if held is None else [held]
        at = bisect_left(claimants, owner)  # a sort for each claimant would be quadratic
        known = at < len(claimants) and claimants[at] == owner
        if wanted and not known:
            claimants.insert(at, owner)
        elif known and not wanted:
            del claimants[at]
        if len(claimants) > 1:
            self._contested[key] = None
        else:
            self._contested.pop(key, None)
        if claimants:
            self._claimants[key] = claimants[0] if len(claimants) == 1 else claimants

    def _winner(self, key: K) -> Owner | None:
        held = self._claimants.get(key)
        return held[0] if isinstance(held, list) else held
