"""What is in force of our tables, and the only one to change it.

    adopt()           read the kernel: after a start, a failure, or someone else's change
    replace(want)     make the tables exactly this; sends what differs
    change(some)      the same for some keys only; costs nothing for the rest
    forget(keys)      entries that packets wrote into dynamic sets: no one wants those

The middle two send at most one transaction (or two, the first of which adds what nothing leads
to yet: transaction.staged) and then sweep away chains and sets that nothing names any more. When
nothing differs, nothing is sent: a restarted agent disturbs no packet.

Only tables that are not there yet may be filled in parts (sync() of a Walk, whose order is
safe): one transaction of a quarter of a million elements costs half a gigabyte.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

from podwire_core.delta import Delta
from podwire_core.errors import NftError
from podwire_core.garbage import collection_paused
from podwire_core.nft import entries
from podwire_core.nft.desired import Walk
from podwire_core.nft.kernel import Nft
from podwire_core.nft.ledger import Ledger
from podwire_core.nft.objects import Chain, Key, Object, Set, Table
from podwire_core.nft.transaction import (
    Command,
    Filling,
    Gone,
    Several,
    Transaction,
    Verb,
    filling,
    set_of,
    staged,
    sweep,
    transaction,
)

PART = 4000  # objects of one transaction, when new tables are filled in parts
_DIGEST = re.compile(r"#[0-9a-f]{8}$")


class Owner:
    """Owner of some tables. After NftError, call adopt() and replace()."""

    def __init__(self, nft: Nft, tables: Sequence[Table]) -> None:
        self.tables = tuple(tables)
        self.in_force = Ledger()
        self.commits = 0
        #: Called after each transaction; long fillings let the kernel's announcements be heard.
        self.after_commit: Callable[[], object] = lambda: None
        self._nft = nft
        self._leftovers: set[Key] = set()

    def adopt(self) -> None:
        """Learn what the kernel holds of our tables."""
        self.in_force = Ledger()  # let go first: two of a quarter of a million elements are much
        found = self._nft.read(self.tables)
        self.in_force = found if isinstance(found, Ledger) else Ledger(found)
        self._leftovers.clear()

    def replace(self, want: Mapping[Key, Object]) -> Transaction:
        """Make the tables hold exactly `want`. Returns what was sent; raises NftError."""
        return self.change(self._differing(want))

    def change(self, some: Mapping[Key, Object | None]) -> Transaction:
        """Make these keys hold these values (None: nothing). Returns what was sent."""
        difference = self._difference(some)
        if self._needs_rebuild(difference):
            raise NftError("a set's definition or a chain's hook changed: rebuild the tables")
        sent = transaction(difference, self._emptied(difference))
        if sent:
            for part in staged(sent):
                self._commit(part)
            self._remember(difference)
        swept = self._sweep({key for key in difference.removed if len(key) != 5})
        return Transaction((*sent.commands, *swept.commands))

    def rebuild(self, want: Mapping[Key, Object]) -> Transaction:
        """Delete our tables and make them anew, in one transaction: no packet sees a gap."""
        doomed = [Command(Verb.ADD, table) for table in self.tables]  # deleting needs them there
        doomed += [Command(Verb.DELETE, Gone(table.key)) for table in self.tables]
        fresh = transaction(Delta(added=dict(want.items())))
        sent = Transaction((*doomed, *fresh.commands))
        self._commit(sent)
        self.in_force = Ledger({key: each.fingerprint for key, each in want.items()})
        self._leftovers.clear()
        return sent

    def sync(self, want: Mapping[Key, Object]) -> Transaction:
        """replace(), or rebuild() where the kernel cannot change a thing in place."""
        filled = Transaction()
        absent = {table.key for table in self.tables} - self.in_force.keys()
        if not self.in_force and isinstance(want, Walk):
            return self._fill(want.objects())
        if absent and isinstance(want, Walk):
            filled = self._fill(each for each in want.objects() if _table_of(each) in absent)
        some = self._differing(want)
        if not some and filled:
            return filled
        if self._needs_rebuild(self._difference(some)):
            return self.rebuild(want)
        sent = self.change(some)
        # Someone's rule may hold on to what we want gone, or ours to what someone renamed.
        return self.rebuild(want) if self._leftovers else sent or filled

    def entries(self, table: Table, name: str) -> Mapping[str, str]:
        """Key text → data text of what packets wrote into a dynamic set of ours."""
        return self._nft.entries(table, name)

    def forget(self, table: Table, names: tuple[str, ...], keys: Collection[str]) -> int:
        """Delete entries of dynamic sets, of all at once; see entries.forget. Returns how many."""
        return entries.forget(table, names, keys, self._nft.entries, self._commit)

    def _fill(self, objects: Iterator[Object]) -> Transaction:
        """Fill tables that are not there, in parts; what one part names is in an earlier one."""
        numbers: Counter[tuple[str, str]] = Counter()
        with collection_paused():
            while part := list(islice(objects, PART)):
                sent = filling(part)
                self._commit(sent)
                if isinstance(sent, Filling):
                    for home, elements in sent.groups.items():
                        self.in_force.file_elements(*home, elements)
                else:
                    self.in_force.update((each.key, each.fingerprint) for each in part)
                numbers.update(sent.counts())
        return Several(numbers=dict(numbers))

    def _differing(self, want: Mapping[Key, Object]) -> dict[Key, Object | None]:
        """Keys whose value in force is not the wanted one; the rest of `want` is not kept."""
        some: dict[Key, Object | None] = {}
        known = 0
        for key, each in want.items():
            have = self.in_force.get(key)
            known += have is not None
            self._leftovers.discard(key)
            if have != each.fingerprint:
                some[key] = each
        if known < len(self.in_force):
            gone = self.in_force.copy()
            for key in want:
                gone.pop(key, None)
            some.update(dict.fromkeys(gone))
        return some

    def _difference(self, some: Mapping[Key, Object | None]) -> Delta[Key, Object]:
        added: dict[Key, Object] = {}
        changed: dict[Key, Object] = {}
        removed: set[Key] = set()
        for key, want in some.items():
            have = self.in_force.get(key)
            if want is None:
                if have is not None and not self._goes_with_its_set(key):
                    removed.add(key)
            elif have is None:
                added[key] = want
            elif have != want.fingerprint:
                changed[key] = want
            if want is not None:
                self._leftovers.discard(key)
        return Delta(added, changed, frozenset(removed))

    def _emptied(self, difference: Delta[Key, Object]) -> set[Key]:
        """Sets, and no maps, that go with all they hold: nft flushes each by its own noun."""
        elements = [key for key in difference.removed if len(key) == 5]
        maps = {set_of(key) for key in elements if self.in_force[key].partition("\n")[0]}
        return ({set_of(key) for key in elements} & difference.removed) - maps

    def _goes_with_its_set(self, key: Key) -> bool:
        """Whether a key is an element of a set that is not ours: it may be of any type.

        Sets of ours are known by the digest at the end of their comment.
        """
        if len(key) != 5:
            return False
        comment = self.in_force.get((*key[:2], "set", key[3]), "")
        return _DIGEST.search(comment) is None

    def _needs_rebuild(self, difference: Delta[Key, Object]) -> bool:
        """nft can replace neither a set's definition, a base chain's hook nor a table's flags."""
        return any(
            isinstance(each, Set | Table)
            or (isinstance(each, Chain) and _hook(self.in_force[key]) != _hook(each.fingerprint))
            for key, each in difference.changed.items()
        )

    def _commit(self, sent: Transaction) -> None:
        self._nft.commit(sent)
        self.commits += 1
        self.after_commit()

    def _remember(self, difference: Delta[Key, Object]) -> None:
        for key, each in (*difference.added.items(), *difference.changed.items()):
            self.in_force[key] = each.fingerprint
        for key in difference.removed:
            if len(key) == 5:
                del self.in_force[key]

    def _sweep(self, removed: set[Key]) -> Transaction:
        """Delete what nothing names any more; what the kernel still holds on to waits."""
        self._leftovers |= removed
        if not self._leftovers:
            return Transaction()
        swept = sweep(self._leftovers, self.in_force)
        try:
            self._commit(swept)
        except NftError:
            return Transaction()  # it costs memory, it decides nothing: the next change tries again
        self._forget(self._leftovers)
        self._leftovers.clear()
        return swept

    def _forget(self, keys: set[Key]) -> None:
        """Chains and sets that are gone; what a foreign set held went with it."""
        for key in keys:
            self.in_force.pop(key, None)
            if key[2:3] == ("set",):
                self.in_force.forget_set(key)


def _table_of(each: Object) -> Key:
    return each.key if isinstance(each, Table) else each.table.key


def _hook(fingerprint: str) -> str:
    return fingerprint.partition("\n")[0]
