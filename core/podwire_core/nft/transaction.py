"""A transaction: verbs and objects in an order the kernel accepts, committed all or nothing.

The order, and why each step stands where it does:

    1  add table, set, map, and every chain empty     rules and elements may name them
    2  flush set, delete element                      changed ones too: nft has no replace
    3  flush chain                                    before its rules are written anew
    4  add rule                                       the chains and sets they name are there
    5  add element                                    the chains their verdicts name are there
    6  delete set, delete chain                       nothing names them any more

Step 6 is a transaction of its own, the `sweep`: kernels before 6.2 still count a chain as
used that lost its last reference in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby

from podwire_core.delta import Delta
from podwire_core.nft.objects import Chain, Element, Key, Object, Set, Table


class Verb(StrEnum):
    """nft's verbs that we use."""

    ADD = "add"
    DELETE = "delete"
    FLUSH = "flush"


@dataclass(frozen=True, slots=True)
class Gone:
    """Something to delete, of which only the key is known."""

    key: Key

    @property
    def path(self) -> str:
        """`chain ip podwire-proxy services`, `element ip podwire-proxy frontends { … }`."""
        family, table, *rest = self.key
        if not rest:
            return f"table {family} {table}"
        if rest[0] == "element":
            return f"element {family} {table} {rest[1]} {{ {rest[2]} }}"
        return f"{rest[0]} {family} {table} {rest[1]}"


@dataclass(frozen=True, slots=True)
class Command:
    """One verb and its object. `add` of a chain adds it empty; its rules are a command each."""

    verb: Verb
    object: Object | Gone
    rule: int = -1

    @property
    def text(self) -> str:
        """One line of nft."""
        return _command_text(self)


def _command_text(command: Command) -> str:
    match command.object:
        case Gone() as gone:
            return f"{command.verb} {gone.path}"
        case Table() as table:
            return f"{command.verb} table {table.text}"
        case Set() as each:
            body = f'{{ {each.definition} comment "{each.comment}"; }}'
            return f"{command.verb} {each.verb_noun} {each.table.text} {each.name} {body}"
        case Chain() as chain if command.rule >= 0:
            return f"add rule {chain.table.text} {chain.name} {chain.rules[command.rule].text}"
        case Chain() as chain:
            hook = f" {{ {chain.hook.text} }}" if chain.hook and command.verb is Verb.ADD else ""
            return f"{command.verb} chain {chain.table.text} {chain.name}{hook}"
        case Element() as element:
            return f"add element {element.table.text} {element.set} {{ {_element_text(element)} }}"


def _element_text(element: Element) -> str:
    comment = f' comment "{element.comment}"' if element.words else ""
    data = f" : {element.data_text}" if element.data is not None else ""
    return f"{element.key_text}{comment}{data}"


@dataclass(frozen=True)
class Transaction:
    """Commands in order. False when there is nothing to do."""

    commands: tuple[Command, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.commands)

    def __len__(self) -> int:
        return len(self.commands)

    def __str__(self) -> str:
        return "\n".join(command.text for command in self.commands)

    @property
    def text(self) -> str:
        """Nft text for libnftables: neighbouring elements of one set share a command.

        A command per element costs libnftables 10 times the time and memory. What a new set of
        intervals holds is part of its definition: added to later, all sets are read for it.
        """
        held = _held_at_once(self.commands)
        commands = [each for each in self.commands if not _is_held(each, held)]
        return "\n".join(
            line for _, group in groupby(commands, _batch) for line in _batched(list(group), held)
        )

    def counts(self) -> dict[tuple[str, str], int]:
        """How many of each (verb, noun): what operation-count promises are made of."""
        counts: dict[tuple[str, str], int] = {}
        for command in self.commands:
            row = (str(command.verb), _noun(command))
            counts[row] = counts.get(row, 0) + 1
        return counts


@dataclass(frozen=True)
class Several(Transaction):
    """What several transactions did, of which only the numbers are kept."""

    numbers: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def __len__(self) -> int:
        return sum(self.numbers.values())

    def counts(self) -> dict[tuple[str, str], int]:
        """See Transaction.counts."""
        return dict(self.numbers)


class Filling(Transaction):
    """New elements by their set (table's key, name), of which no command is made unless asked for.

    A hundred thousand commands take as long as the elements themselves.
    """

    def __init__(self, elements: Iterable[Element]) -> None:
        groups: dict[tuple[Key, str], list[Element]] = {}
        home, group = "", list[Element]()  # the last one's: many of one set follow each other
        for each in elements:
            if each.set != home or each.table is not group[0].table:
                home, group = each.set, groups.setdefault((each.table.key, each.set), [])
            group.append(each)
        object.__setattr__(self, "groups", groups)

    groups: Mapping[tuple[Key, str], Sequence[Element]]

    @property
    def commands(self) -> tuple[Command, ...]:
        """See Transaction."""
        return tuple(
            Command(Verb.ADD, each) for elements in self.groups.values() for each in elements
        )

    def __bool__(self) -> bool:
        return bool(self.groups)

    def __len__(self) -> int:
        return sum(map(len, self.groups.values()))

    def counts(self) -> dict[tuple[str, str], int]:
        """See Transaction.counts."""
        return {(str(Verb.ADD), "element"): len(self)}


def _noun(command: Command) -> str:
    if isinstance(command.object, Gone):
        return command.object.path.split(" ", 1)[0]
    if isinstance(command.object, Set):
        return command.object.verb_noun
    return "rule" if command.rule >= 0 else type(command.object).__name__.lower()


def _batch(command: Command) -> tuple[str, ...]:
    """Commands that can share one line have equal, non-empty batches."""
    each = command.object
    if isinstance(each, Element):
        return (str(command.verb), *each.table.key, each.set)
    if isinstance(each, Gone) and len(each.key) == 5:
        return (str(command.verb), *each.key[:2], each.key[3])
    return ()


def _held_at_once(commands: Iterable[Command]) -> dict[Key, list[str]]:
    """What new sets of intervals hold: the set's key → its elements' text."""
    held: dict[Key, list[str]] = {}
    for command in commands:
        each = command.object
        if command.verb is not Verb.ADD:
            continue
        if isinstance(each, Set) and each.interval:
            held[each.key] = []
        elif held and isinstance(each, Element) and (home := set_of(each.key)) in held:
            held[home].append(_element_text(each))
    return held


def _is_held(command: Command, held: Mapping[Key, list[str]]) -> bool:
    each = command.object
    return bool(held) and isinstance(each, Element) and set_of(each.key) in held


def _filled(command: Command, held: Mapping[Key, list[str]]) -> str:
    elements = held.get(command.object.key) if isinstance(command.object, Set) else None
    if not elements:
        return command.text
    return f"{command.text.removesuffix(' }')} elements = {{ {', '.join(elements)} }}; }}"


def _batched(commands: list[Command], held: Mapping[Key, list[str]]) -> list[str]:
    batch = _batch(commands[0])
    if not batch:
        return [_filled(command, held) for command in commands]
    verb, family, table, name = batch
    bodies = ", ".join(_body(command.object) for command in commands)
    return [f"{verb} element {family} {table} {name} {{ {bodies} }}"]


def _body(element: Object | Gone) -> str:
    return _element_text(element) if isinstance(element, Element) else element.key[4]


def filling(objects: Sequence[Object]) -> Transaction:
    """Steps 1, 4 and 5 for objects that nothing holds a place of yet."""
    elements = [each for each in objects if isinstance(each, Element)]
    if len(elements) == len(objects):
        return Filling(elements)
    return transaction(Delta(added={each.key: each for each in objects}))


def transaction(change: Delta[Key, Object], emptied: AbstractSet[Key] = frozenset()) -> Transaction:
    """Steps 1 to 5 for a difference. What is removed but no element or table waits for sweep().

    emptied: keys of sets, no maps, that lose all they hold. They are flushed, because to delete
    n intervals one by one takes libnftables n² time: 4,000 are 2.6 s.
    """
    new, changed = list(change.added.values()), list(change.changed.values())
    commands = [Command(Verb.ADD, each) for each in new if isinstance(each, Table)]
    commands += [Command(Verb.ADD, each) for each in new if isinstance(each, Set)]
    commands += [Command(Verb.ADD, each) for each in new if isinstance(each, Chain)]
    commands += [Command(Verb.FLUSH, Gone(key)) for key in sorted(emptied)]
    commands += [
        Command(Verb.DELETE, Gone(key))
        for key in _doomed_elements(change)
        if set_of(key) not in emptied
    ]
    commands += [Command(Verb.FLUSH, each) for each in changed if isinstance(each, Chain)]
    commands += list(_rules(each for each in (*new, *changed) if isinstance(each, Chain)))
    elements = [each for each in (*new, *changed) if isinstance(each, Element)]
    elements.sort(key=lambda element: (element.table.key, element.set))
    commands += [Command(Verb.ADD, element) for element in elements]
    return Transaction(tuple(commands))


def staged(whole: Transaction) -> tuple[Transaction, ...]:
    """A transaction in two, if the first only adds what nothing leads to yet; else as it is.

    New chains and sets are libnftables', which reads all sets there are for an element that it
    adds; elements alone go by netlink (writer.py), in a tenth of the time. Until they are there,
    no packet meets any of the new rules.
    """
    held = _held_at_once(whole.commands)
    first: list[Command] = []
    second: list[Command] = []
    for command in whole.commands:
        each = command.object
        active = isinstance(each, Table) or (isinstance(each, Chain) and each.hook is not None)
        if active or command.verb is Verb.FLUSH:
            return (whole,)
        quiet = isinstance(each, Set | Chain) or _is_held(command, held)
        (first if quiet else second).append(command)
    parts = (Transaction(tuple(first)), Transaction(tuple(second)))
    return parts if all(parts) else (whole,)


def _doomed_elements(change: Delta[Key, Object]) -> Iterable[Key]:
    keys = [*change.removed, *change.changed]
    return sorted(key for key in keys if len(key) == 5)


def set_of(key: Key) -> Key:
    """The key of an element's set or map."""
    return (*key[:2], "set", key[3])


def _rules(chains: Iterable[Chain]) -> Iterable[Command]:
    for chain in chains:
        for index in range(len(chain.rules)):
            yield Command(Verb.ADD, chain, index)


def sweep(removed: Iterable[Key], known: Mapping[Key, str]) -> Transaction:
    """Step 6: delete chains, sets and tables; a chain is flushed first, for what it refers to."""
    keys = sorted(key for key in removed if len(key) != 5)
    chains = [key for key in keys if key[2:3] == ("chain",)]
    others = [key for key in keys if key[2:3] == ("set",)]
    tables = [key for key in keys if len(key) == 2]
    commands = [Command(Verb.FLUSH, Gone(key)) for key in chains if key in known]
    commands += [Command(Verb.DELETE, Gone(key)) for key in (*chains, *others, *tables)]
    return Transaction(tuple(commands))
