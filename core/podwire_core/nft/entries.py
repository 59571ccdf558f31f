"""Entries of dynamic sets: packets write them, the kernel drops them when their time is over.

    packet ─► update @clients { … timeout 3h : … } ─► entry ─┬─► its time is over
                                                             └─► forget()

The path of a packet announces nothing and makes no generation, so an entry can go between
reading it and deleting it, and the kernel refuses a transaction that deletes one that went.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet

from podwire_core.errors import NftError
from podwire_core.nft.objects import Table
from podwire_core.nft.transaction import Command, Gone, Transaction, Verb

MISSED = 0.001  # entries that all passes may have missed, by expectation
PART = 1000  # entries of one transaction: where one is gone, the rest is sent again
_ABSENT = "No such file or directory"

_Part = dict[str, tuple[str, ...]]  # keys, and the sets that each is to go from


class Passes:
    """Whether readings of a set, one after the other, have seen every entry that stayed.

    The kernel goes on with a dump, datagram by datagram, by a number of elements to skip: each that
    goes meanwhile moves another one into what is skipped. Where datagrams end at the same places
    in every pass, it is the same ones that are missed, so those who read vary their size; then
    passes miss independently of each other. What was there before a pass and behind it, but not
    in it, tells how many a pass misses.
    """

    def __init__(self) -> None:
        self._last: list[frozenset[bytes]] = []
        self._number = 0
        self._worst = 0.0

    def add(self, keys: AbstractSet[bytes]) -> None:
        """The keys that one pass has read."""
        self._last = [*self._last[-2:], frozenset(keys)]
        self._number += 1
        if len(self._last) == 3:
            before, between, behind = self._last
            stayed = before & behind
            self._worst = max(self._worst, len(stayed - between) / max(len(stayed), 1))

    @property
    def whole(self) -> bool:
        """Two passes that read the same, or hardly any that all of three or more have missed."""
        if len(self._last) < 2:
            return False
        if self._last[-1] == self._last[-2]:
            return True
        expected = len(self._last[-1]) * self._worst**self._number
        return len(self._last) == 3 and expected <= MISSED


def forget(
    table: Table,
    names: tuple[str, ...],
    keys: Collection[str],
    entries: Callable[[Table, str], Mapping[str, str]],
    commit: Callable[[Transaction], None],
) -> int:
    """Delete entries of dynamic sets by their key texts; returns how many were deleted.

    names: sets whose equal keys tell halves of one thing. Both go in one commit: of what has lost
    one half, the next packet would write down that half anew, and it fits the other no more.
    Those that went by themselves are no error. entries, commit: as of kernel.Nft.
    """
    ordered = sorted(keys)
    waiting = [
        dict.fromkeys(ordered[first : first + PART], names)
        for first in range(0, len(ordered), PART)
    ]
    deleted = 0
    while waiting:
        part = waiting.pop()
        try:
            commit(_deletion(table, names, part))
        except NftError as error:
            if _ABSENT not in str(error):
                raise
            waiting += _again(part, {name: entries(table, name) for name in names})
        else:
            deleted += sum(map(len, part.values()))
    return deleted


def _deletion(table: Table, names: tuple[str, ...], part: _Part) -> Transaction:
    gone = (
        Gone((*table.key, "element", name, key))
        for name in names
        for key, where in part.items()
        if name in where
    )
    return Transaction(tuple(Command(Verb.DELETE, each) for each in gone))


def _again(part: _Part, there: Mapping[str, Mapping[str, str]]) -> list[_Part]:
    """What is left to delete of a part that was refused, in two halves.

    One alone that is refused though it is there is given up.
    """
    left: _Part = {}
    for key, names in part.items():
        if found := tuple(name for name in names if key in there[name]):
            left[key] = found
    if len(part) == 1 and left == part:
        return []
    rows = list(left.items())
    middle = (len(rows) + 1) // 2
    return [dict(half) for half in (rows[:middle], rows[middle:]) if half]
