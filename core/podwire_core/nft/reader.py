"""Reads what is in force of some tables, straight from nf_tables: small, fast, and of one moment.

    generation ─► table, chains, rules, sets, elements of each set ─► generation
                                                                          │
         the same, or no commit between them touched our tables: done ◄───┴───► else once more

libnftables needs 2.7 KB for each element that it lists, and 1.0.6 fetches all of them even
when it shall not list them (--terse). What only libnftables can spell it is asked for, set
by set.

Entries that packets write are no part of that: who wants to know them asks for them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import cycle, islice

from podwire_core.errors import NftError
from podwire_core.netlink import attributes
from podwire_core.nft import netlink
from podwire_core.nft.datatypes import Unreadable
from podwire_core.nft.elements import Row, elements, rows_of, spelled
from podwire_core.nft.entries import Passes
from podwire_core.nft.ledger import Ledger
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.netlink import (
    Absent,
    Attributes,
    Questions,
    name,
    number,
    text,
    userdata,
)
from podwire_core.nft.objects import Key, State, Table
from podwire_core.nft.sets import Declared

ATTEMPTS = 10
PASSES = 18  # over entries that come and go
#: Bytes of a datagram in each pass, so that none breaks off where another did: see entries.Passes.
DATAGRAMS = (32768, 24000, 28000, 20500, 30200, 22300)
EARS_BYTES = 8 * 1024 * 1024  # for commits while we read
_TABLE_FLAGS = {0x1: "dormant", 0x2: "owner", 0x4: "persist"}  # NFT_TABLE_F_*
_BINDING = 0x4  # NFT_CHAIN_BINDING: a part of a rule, not an object
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")  # NF_INET_*
_POLICIES = ("drop", "accept")  # NF_DROP, NF_ACCEPT

#: What libnftables lists of a set (`map ip podwire-proxy frontends`), as keys and fingerprints.
ListSet = Callable[[str], State]


class Reader:
    """Reads in the network namespace it was made in. Close it, or it goes with who has it."""

    def __init__(self, list_set: ListSet) -> None:
        self._list_set = list_set
        self._short: dict[Key, int] = {}
        self._questions = Questions()
        self._passes = [Questions(size) for size in DATAGRAMS]
        self._ears = netlink.listener(EARS_BYTES)
        self._closed = weakref.finalize(self, self._ears.close)

    def close(self) -> None:
        """Give back the sockets."""
        for each in (self._questions, *self._passes):
            each.close()
        self._closed()

    def read(self, tables: Iterable[Table]) -> Ledger:
        """What is in force in these tables at one moment; raises NftError.

        Others may commit to other tables as often as they like meanwhile.
        """
        tables = tuple(tables)
        for _ in range(ATTEMPTS):
            if (found := self._attempt(tables)) is not None:
                return found
        names = ", ".join(table.text for table in tables)
        raise NftError(f"someone keeps changing {names} while they are read")

    def entries(self, table: Table, name: str) -> dict[str, str]:
        """Key text → data text of a dynamic set now; nothing of one that is not there.

        Entries that come or go while they are read may be in it or not; see entries.Passes.
        """
        found: dict[bytes, Row] = {}
        passes = Passes()
        try:
            for questions in islice(cycle(self._passes), PASSES):
                declared = self._declared(table, name)
                with closing(self._dump_elements(table, declared, questions)) as dump:
                    read = {row.key: row for row in rows_of(declared, dump)}
                found |= read
                passes.add(read.keys())
                if passes.whole:
                    break
            texts = spelled(declared, found.values())
        except Absent:
            return {}
        except Unreadable as error:
            raise NftError(f"cannot spell the entries of {table.text} {name}") from error
        return {key: fingerprint.partition("\n")[0] for key, fingerprint in texts.items()}

    def _declared(self, table: Table, name: str) -> Declared:
        names = netlink.name(1, table.name) + netlink.name(2, name)
        return Declared(self._questions.one(netlink.GETSET, table.family.nft, names))

    def _attempt(self, tables: tuple[Table, ...]) -> Ledger | None:
        """What is in force, None when that changed under our eyes."""
        short, self._short = self._short, {}
        with self._overhearing(tables) as monitor:
            before = self._begin()
            try:
                found = self._tables(tables)
            except Absent:
                return None  # a set that was there a moment ago
            # Short by as much twice, of a kernel that counts otherwise than we do.
            whole = not self._short or self._short == short
            return found if whole and self._of_one_moment(before, monitor) else None

    @contextmanager
    def _overhearing(self, tables: Iterable[Table]) -> Iterator[Monitor]:
        monitor = Monitor(tables, self._ears)
        try:
            yield monitor
        finally:
            netlink.leave(self._ears)
            monitor.forget()

    def _begin(self) -> int:
        self._questions.interrupted = self._questions.lost = False
        return self._questions.generation()

    def _of_one_moment(self, before: int, monitor: Monitor) -> bool:
        after = self._questions.generation()
        if self._questions.lost:
            return False
        if after == before and not self._questions.interrupted:
            return True
        return not monitor.foreign_until(after)

    def _tables(self, tables: Iterable[Table]) -> Ledger:
        found = Ledger()
        for table in tables:
            try:
                fields = self._questions.one(
                    netlink.GETTABLE, table.family.nft, name(1, table.name)
                )
            except Absent:
                continue
            found[table.key] = _table_flags(fields)
            for chain, fingerprint in self._chains(table):
                found[(*table.key, "chain", chain)] = fingerprint
            for declared in self._sets(table):
                self._read_set(table, declared, found)
        return found

    def _chains(self, table: Table) -> Iterator[tuple[str, str]]:
        """Each chain's name and fingerprint: its hook, and its rules' comments."""
        hooks = {
            text(fields.get(3)): _hook(fields)  # NFTA_CHAIN_NAME
            for fields in self._dump(netlink.GETCHAIN, table)
            if not number(fields.get(10)) & _BINDING  # NFTA_CHAIN_FLAGS
        }
        rules: dict[str, list[str]] = {}
        for fields in self._dump(netlink.GETRULE, table):
            comment = userdata(fields.get(7)).get(0)  # NFTA_RULE_USERDATA
            chain = text(fields.get(2))  # NFTA_RULE_CHAIN
            rules.setdefault(chain, []).append("?" if comment is None else text(comment))
        for chain, hook in hooks.items():
            yield chain, "\n".join([hook, *rules.get(chain, ())])

    def _sets(self, table: Table) -> list[Declared]:
        found = [Declared(fields) for fields in self._dump(netlink.GETSET, table)]
        return [each for each in found if not each.anonymous]

    def _read_set(self, table: Table, declared: Declared, into: Ledger) -> None:
        key: Key = (*table.key, "set", declared.name)
        into[key] = declared.comment
        if declared.dynamic:
            return
        try:
            found = self._elements(table, declared)
        except Unreadable:
            into.update(self._list_set(f"{declared.noun} {table.text} {declared.name}"))
            return
        if declared.size not in {None, len(found)}:
            self._short[key] = len(found)
        into.file_set(key, found)

    def _elements(self, table: Table, declared: Declared) -> dict[str, str]:
        with closing(self._dump_elements(table, declared, self._questions)) as dump:
            return elements(declared, dump)

    def _dump_elements(
        self, table: Table, declared: Declared, questions: Questions
    ) -> Generator[bytes, None, None]:
        names = name(1, table.name) + name(2, declared.name)
        return questions.dump(netlink.GETSETELEM, table.family.nft, names)

    def _dump(self, kind: int, table: Table) -> Iterator[Attributes]:
        """The objects of a kind that are this table's; of chains the kernel says all."""
        for body in self._questions.dump(kind, table.family.nft, name(1, table.name)):
            fields = netlink.fields_of(body)
            if text(fields.get(1)) == table.name:
                yield fields


def _table_flags(fields: Attributes) -> str:
    flags = number(fields.get(2))  # NFTA_TABLE_FLAGS
    return " ".join(word for bit, word in _TABLE_FLAGS.items() if flags & bit)


def _hook(fields: Attributes) -> str:
    """A chain's hook as objects.Hook says it; nothing for a chain without."""
    if 4 not in fields:  # NFTA_CHAIN_HOOK
        return ""
    hook = attributes(fields[4])
    priority = int.from_bytes(hook.get(2, b""), "big", signed=True)
    policy = _word(_POLICIES, number(fields.get(5, b"\1")))  # NFTA_CHAIN_POLICY
    return f"{text(fields.get(7))}/{_word(_HOOKS, number(hook.get(1)))}/{priority}/{policy}"


def _word(words: tuple[str, ...], index: int) -> str:
    return words[index] if index < len(words) else str(index)
