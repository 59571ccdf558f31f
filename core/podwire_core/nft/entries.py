"""Entries of dynamic sets: packets write them, the kernel drops them when their time is over.

    packet ─► update @clients { … timeout 3h : … } ─► entry ─┬─► its time is over
                                                             └─► forget()

The path of a packet announces nothing and makes no generation, so an entry can go between
reading it and deleting it, and the kernel refuses a transaction that deletes one that went.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from podwire_core.errors import NftError
from podwire_core.nft.objects import Table
from podwire_core.nft.transaction import Command, Gone, Transaction, Verb

PART = 1000  # entries of one transaction: where one is gone, the rest is sent again
_ABSENT = "No such file or directory"


def forget(
    table: Table,
    name: str,
    keys: Collection[str],
    entries: Callable[[Table, str], Mapping[str, str]],
    commit: Callable[[Transaction], None],
) -> int:
    """Delete entries of a dynamic set by their key texts; returns how many were deleted.

    Those that went by themselves are no error. entries, commit: as of kernel.Nft.
    """
    ordered = sorted(keys)
    waiting = [ordered[first : first + PART] for first in range(0, len(ordered), PART)]
    deleted = 0
    while waiting:
        part = waiting.pop()
        try:
            commit(_deletion(table, name, part))
        except NftError as error:
            if _ABSENT not in str(error):
                raise
            waiting += _again(part, entries(table, name))
        else:
            deleted += len(part)
    return deleted


def _deletion(table: Table, name: str, keys: Collection[str]) -> Transaction:
    gone = (Gone((*table.key, "element", name, key)) for key in keys)
    return Transaction(tuple(Command(Verb.DELETE, each) for each in gone))


def _again(part: list[str], there: Mapping[str, str]) -> list[list[str]]:
    """What is left to delete of a part that was refused, in two halves; one alone is given up."""
    left = [key for key in part if key in there]
    middle = (len(left) + 1) // 2
    return [half for half in (left[:middle], left[middle:]) if half and len(part) > 1]
