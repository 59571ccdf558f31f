"""nf_tables in memory: commits the same transactions, and refuses what the kernel refuses.

    refused                                             as the kernel says it
    a table, chain, set or element that is not there    No such file or directory
    a rule or verdict that names what is not there      No such file or directory
    an element that is there with another value         File exists
    an interval that overlaps another                   interval overlaps with an existing one
    deleting what is still named                        Device or resource busy
    a key with too many or too few parts                Invalid argument
    an update of a map without a value                  Invalid argument
    an update of a set that is not dynamic              Operation not supported
    more elements than the set's size                   Too many open files in system
    dnat or masquerade where no packet can be changed   Operation not supported

integration/core/test_nft_kernel.py holds the kernel to the same table.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from podwire_core.errors import NftError
from podwire_core.nft.expressions import Concat
from podwire_core.nft.intervals import span
from podwire_core.nft.objects import Chain, Element, Hook, Key, Object, Rule, Set, State, Table
from podwire_core.nft.statements import (
    Dnat,
    Load,
    Masquerade,
    Match,
    Statement,
    Update,
    Verdict,
    Vmap,
)
from podwire_core.nft.transaction import Command, Transaction, Verb

T = TypeVar("T")

_ABSENT = "No such file or directory"
_PRESENT = "File exists"
_BUSY = "Device or resource busy"
_INVALID = "Invalid argument"
_UNSUPPORTED = "Operation not supported"
_FULL = "Too many open files in system"

#: Hooks in which a statement may change a packet.
_NAT_HOOKS = {Dnat: {"prerouting", "output"}, Masquerade: {"postrouting"}}


@dataclass
class _Chain:
    hook: Hook | None
    rules: list[Rule] = field(default_factory=list)


@dataclass
class _Set:
    declared: Set
    elements: dict[str, Element] = field(default_factory=dict)


@dataclass
class _Table:
    table: Table
    chains: dict[str, _Chain] = field(default_factory=dict)
    sets: dict[str, _Set] = field(default_factory=dict)

    def copy(self) -> _Table:
        return _Table(
            self.table,
            {name: _Chain(chain.hook, [*chain.rules]) for name, chain in self.chains.items()},
            {name: _Set(each.declared, dict(each.elements)) for name, each in self.sets.items()},
        )


class Fake:
    """Does what Kernel does (see kernel.Nft), in memory. `log` keeps what was committed."""

    def __init__(self) -> None:
        self.log: list[Transaction] = []
        self._tables: dict[Key, _Table] = {}

    def commit(self, transaction: Transaction) -> None:
        """All or nothing, as the kernel commits."""
        draft = {key: table.copy() for key, table in self._tables.items()}
        for command in transaction.commands:
            _apply(draft, command)
        for table in draft.values():
            _check_references(table)
            _check_updates(table)
            _check_ports(table)
            _check_hooks(table)
        self._tables = draft
        self.log.append(transaction)

    def read(self, tables: Iterable[Table]) -> State:
        """What is in force in these tables."""
        wanted = {table.key for table in tables}
        return {
            each.key: each.fingerprint
            for each in self.objects()
            if each.key[:2] in wanted and not self._is_entry(each)
        }

    def entries(self, table: Table, name: str) -> Mapping[str, str]:
        """What packets wrote into a dynamic set."""
        there = self._set(table, name)
        found = there.elements.values() if there and there.declared.dynamic else ()
        return {each.key_text: each.data_text for each in found}

    def remember(self, entries: Iterable[Element]) -> None:
        """What a packet's path does (tracer.Trace.updates): no transaction, and in no log."""
        for each in entries:
            there = self._tables[each.table.key].sets[each.set]
            there.elements.setdefault(each.key_text, each)

    def expire(self, table: Table, name: str, key_text: str) -> None:
        """What time does to an entry: it is gone."""
        del self._tables[table.key].sets[name].elements[key_text]

    def _is_entry(self, each: Object) -> bool:
        if not isinstance(each, Element):
            return False
        there = self._set(each.table, each.set)
        return there is not None and there.declared.dynamic

    def _set(self, table: Table, name: str) -> _Set | None:
        there = self._tables.get(table.key)
        return there.sets.get(name) if there else None

    def objects(self) -> list[Object]:
        """Everything in force, as values: what a tracer reads and a person can print."""
        found: list[Object] = []
        for table in self._tables.values():
            found.append(table.table)
            for name, chain in table.chains.items():
                found.append(Chain(table.table, name, tuple(chain.rules), chain.hook))
            for each in table.sets.values():
                found += [each.declared, *each.elements.values()]
        return found

    def flush_ruleset(self) -> None:
        """What `nft flush ruleset` does: everything is gone."""
        self._tables = {}

    def copy(self) -> Fake:
        """Another fake in the same state."""
        return copy.deepcopy(self)


def _refuse(command: Command, reason: str) -> NftError:
    return NftError(f"Could not process rule: {reason}: {command.text}")


def _apply(draft: dict[Key, _Table], command: Command) -> None:
    each = command.object
    if isinstance(each, Table):
        draft.setdefault(each.key, _Table(each))
        return
    key = each.key
    if key[:2] not in draft:
        raise _refuse(command, _ABSENT)
    if len(key) == 2:
        del draft[key]
        return
    if command.verb is Verb.ADD:
        _add(draft[key[:2]], command)
    elif command.verb is Verb.FLUSH and key[2] == "set":
        _flush_set(draft[key[:2]], key, command)
    elif command.verb is Verb.FLUSH:
        _named(draft[key[:2]].chains, key[3], command).rules.clear()
    else:
        _delete(draft[key[:2]], key, command)


def _add(table: _Table, command: Command) -> None:
    match command.object:
        case Chain() as chain if command.rule >= 0:
            _named(table.chains, chain.name, command).rules.append(chain.rules[command.rule])
        case Chain() as chain:
            table.chains.setdefault(chain.name, _Chain(chain.hook))
        case Set() as declared:
            there = table.sets.setdefault(declared.name, _Set(declared))
            if there.declared.definition != declared.definition:
                raise _refuse(command, _PRESENT)
        case Element() as element:
            _add_element(_named(table.sets, element.set, command), element, command)


def _named(things: dict[str, T], name: str, command: Command) -> T:
    if name not in things:
        raise _refuse(command, _ABSENT)
    return things[name]


def _add_element(target: _Set, element: Element, command: Command) -> None:
    if len(element.parts) != target.declared.width:
        raise _refuse(command, _INVALID)
    if bool(target.declared.data) != (element.data is not None):
        raise _refuse(command, _INVALID)
    there = target.elements.get(element.key_text)
    if there is not None and there.data_text != element.data_text:
        raise _refuse(command, _PRESENT)
    if there is None and target.declared.interval and _overlaps(target, element):
        raise NftError(f"interval overlaps with an existing one: {command.text}")
    if there is None and 0 < target.declared.size <= len(target.elements):
        raise _refuse(command, _FULL)
    target.elements.setdefault(element.key_text, element)


def _overlaps(target: _Set, element: Element) -> bool:
    """Two keys overlap when all their parts do."""
    mine = [span(part) for part in element.parts]
    for other in target.elements.values():
        theirs = [span(part) for part in other.parts]
        if all(a[0] <= b[1] and b[0] <= a[1] for a, b in zip(mine, theirs, strict=True)):
            return True
    return False


def _flush_set(table: _Table, key: Key, command: Command) -> None:
    there = _named(table.sets, key[3], command)
    if there.declared.data:  # nft knows a map by its own noun alone
        raise _refuse(command, _ABSENT)
    there.elements.clear()


def _delete(table: _Table, key: Key, command: Command) -> None:
    noun, name = key[2], key[3]
    if noun == "element":
        elements = _named(table.sets, name, command).elements
        _named(elements, key[4], command)
        del elements[key[4]]
    elif noun == "chain":
        _named(table.chains, name, command)
        del table.chains[name]
        if name in _named_chains(table):
            raise _refuse(command, _BUSY)
    else:
        _named(table.sets, name, command)
        del table.sets[name]
        if name in _named_sets(table):
            raise _refuse(command, _BUSY)


def _statements(table: _Table) -> Iterable[Statement]:
    for chain in table.chains.values():
        for rule in chain.rules:
            yield from rule.statements


def _named_chains(table: _Table) -> set[str]:
    """Chains that rules and elements lead to."""
    names = {each.chain for each in _statements(table) if isinstance(each, Verdict) and each.chain}
    for target in table.sets.values():
        for element in target.elements.values():
            if isinstance(element.data, Verdict) and element.data.chain:
                names.add(element.data.chain)
    return names


def _named_sets(table: _Table) -> set[str]:
    """Sets and maps that rules look into."""
    looked = (each for each in _statements(table) if isinstance(each, Match | Update))
    names = {each.set for each in looked if each.set}
    names |= {each.map for each in _statements(table) if isinstance(each, Vmap | Load | Dnat)}
    return names | {each.ports for each in _statements(table) if isinstance(each, Dnat)} - {""}


def _check_references(table: _Table) -> None:
    dangling = (_named_chains(table) - table.chains.keys()) | (
        _named_sets(table) - table.sets.keys()
    )
    if dangling:
        name = min(dangling)
        raise NftError(f"Could not process rule: {_ABSENT}: {table.table.text} {name}")


def _check_updates(table: _Table) -> None:
    """Packets write into dynamic sets alone, and into a map what maps hold."""
    for each in _statements(table):
        if not isinstance(each, Update):
            continue
        declared = table.sets[each.set].declared
        reason = "" if declared.dynamic else _UNSUPPORTED
        if bool(declared.data) != (each.data is not None):
            reason = _INVALID
        if reason:
            raise NftError(f"Could not process rule: {reason}: {table.table.text}: {each.text}")


def _check_ports(table: _Table) -> None:
    """Not refused by libnftables, which ends the process; none of ours may come to that."""
    for each in _statements(table):
        if isinstance(each, Dnat) and each.ports:
            data = table.sets[each.map].declared.data
            if isinstance(data, Concat):
                raise NftError(f"{table.table.text}: {each.text}: @{each.map} has ports already")


def _check_hooks(table: _Table) -> None:
    """Whatever a base chain can reach runs in its hook, and must be allowed there."""
    for name, chain in table.chains.items():
        if chain.hook is None:
            continue
        for reached in _reachable(table, name):
            for rule in table.chains[reached].rules:
                for statement in rule.statements:
                    _check_statement(table, statement, chain.hook)


def _check_statement(table: _Table, statement: Statement, hook: Hook) -> None:
    hooks = _NAT_HOOKS.get(type(statement))
    if hooks is not None and (hook.type != "nat" or hook.hook not in hooks):
        raise NftError(
            f"Could not process rule: {_UNSUPPORTED}: {table.table.text}: {statement.text}"
        )


def _reachable(table: _Table, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for rule in table.chains[name].rules:
            for statement in rule.statements:
                if isinstance(statement, Verdict) and statement.chain:
                    waiting.append(statement.chain)
                if isinstance(statement, Vmap):
                    elements = table.sets[statement.map].elements.values()
                    verdicts = (e.data for e in elements if isinstance(e.data, Verdict))
                    waiting += [verdict.chain for verdict in verdicts if verdict.chain]
    return seen
