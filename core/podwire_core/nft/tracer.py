"""One packet through a ruleset: which rules it met, and what became of it.

    from outside or a pod:   prerouting ─► routing ─┬─► forward ─► postrouting ─►
                                                    └─► input
    from the node itself:    output ─► routing ─┬─► postrouting ─►
                                                └─► input

It reads the same values the kernel is given (Chain, Element, …), so it is the naive twin of
nf_tables for what our rules use; random choices are all explored. NAT is per connection and
happens once in each direction, as conntrack has it. What packets write into dynamic maps is in
the Trace (updates); a Ruleset made with it is what the next packet meets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from podwire_core.family import Family
from podwire_core.nft.expressions import (
    DADDR_TYPE,
    IIFNAME,
    OIF,
    SADDR_TYPE,
    Concat,
    Expression,
    Field,
    Jhash,
    Numgen,
    parts_of,
)
from podwire_core.nft.intervals import holds, span
from podwire_core.nft.objects import (
    DYNAMIC_SIZE,
    Chain,
    Element,
    Key,
    Object,
    Rule,
    Set,
    digest,
)
from podwire_core.nft.packet import FIELDS, Packet
from podwire_core.nft.statements import (
    AnyBit,
    Counter,
    Dnat,
    Limit,
    Load,
    Log,
    Masquerade,
    Match,
    Reject,
    Update,
    Verdict,
    VerdictKind,
    Vmap,
)

MAX_OUTCOMES = 10_000

_Action = Dnat | Load | Log | Masquerade | Reject | Update

#: Hooks in which the kernel knows where a packet goes out.
_LEAVING = frozenset({"forward", "output", "postrouting"})


class Fate(StrEnum):
    """What became of a packet."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that did something: where, and in the rule's own words."""

    hook: str
    table: str
    chain: str
    why: str
    effect: str


@dataclass(frozen=True)
class Trace:
    """The packet as it left (or ended), its fate, and the rules that did something.

    updates: the entries of dynamic maps that it made, or whose time it began anew.
    """

    fate: Fate
    packet: Packet
    steps: tuple[Step, ...]
    updates: tuple[Element, ...] = ()


class Ruleset:
    """Objects arranged for evaluation. `local` are the node's own addresses."""

    def __init__(self, objects: Iterable[Object], local: Iterable[str] = ()) -> None:
        self.local = frozenset(local)
        self.chains: dict[tuple[str, ...], Chain] = {}
        self.elements: dict[tuple[str, ...], dict[str, Element]] = {}
        self.sets: dict[tuple[str, ...], Set] = {}
        for each in objects:
            if isinstance(each, Chain):
                self.chains[*each.table.key, each.name] = each
            elif isinstance(each, Set):
                self.sets[*each.table.key, each.name] = each
            elif isinstance(each, Element):
                found = self.elements.setdefault((*each.table.key, each.set), {})
                found[each.key_text] = each

    def base_chains(self, family: Family, hook: str) -> list[Chain]:
        """Base chains of a hook in the order packets meet them."""
        chains = [
            chain
            for chain in self.chains.values()
            if chain.hook and chain.hook.hook == hook and chain.table.family is family
        ]
        return sorted(chains, key=lambda chain: chain.hook.priority if chain.hook else 0)

    def find(self, chain: Chain, name: str, parts: Sequence[str]) -> Element | None:
        """The element of a set that holds the key, or None."""
        where = (*chain.table.key, name)
        elements = self.elements.get(where, {})
        if not self.sets[where].interval:
            return elements.get(" . ".join(parts))
        wanted = [span(part)[0] for part in parts]
        for element in elements.values():
            spans = [span(part) for part in element.parts]
            if all(low <= value <= high for value, (low, high) in zip(wanted, spans, strict=True)):
                return element
        return None


class _Ended(Exception):  # noqa: N818 - control flow: the packet's way ends here
    """The packet is accepted by, or ends in, the base chain being walked."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate


@dataclass
class _Walk:
    """One packet on its way, with the random choices it is to make."""

    ruleset: Ruleset
    packet: Packet
    choices: list[int]
    arities: list[int] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    updates: dict[Key, Element] = field(default_factory=dict)
    hook: str = ""

    def run(self) -> Trace:
        fate = Fate.ACCEPT
        try:
            for hook in self._hooks():
                self._pass(hook)
        except _Ended as end:
            fate = end.fate
        return Trace(fate, self.packet, tuple(self.steps), tuple(self.updates.values()))

    def _hooks(self) -> Iterable[str]:
        """Hooks in order; asked lazily, because DNAT decides the routing."""
        yield "output" if self.packet.from_node else "prerouting"
        if self.packet.daddr in self.ruleset.local:
            yield "input"
            return
        if not self.packet.from_node:
            yield "forward"
        yield "postrouting"

    def _pass(self, hook: str) -> None:
        self.hook = hook
        for chain in self.ruleset.base_chains(self.packet.family, hook):
            if chain.hook and chain.hook.type == "nat" and self.packet.state != "new":
                continue
            try:
                self._chain(chain)
            except _Ended as end:
                if end.fate is not Fate.ACCEPT:
                    raise

    def _chain(self, chain: Chain) -> None:
        """Walk a chain to its end, or to where it returns or goes elsewhere for good."""
        for rule in chain.rules:
            verdict = self._rule(chain, rule)
            if verdict is None:
                continue
            match verdict.kind:
                case VerdictKind.ACCEPT:
                    raise _Ended(Fate.ACCEPT)
                case VerdictKind.DROP:
                    raise _Ended(Fate.DROP)
                case VerdictKind.RETURN:
                    return
                case VerdictKind.JUMP:
                    self._chain(self._target(chain, verdict))
                case VerdictKind.GOTO:
                    self._chain(self._target(chain, verdict))
                    return

    def _target(self, chain: Chain, verdict: Verdict) -> Chain:
        return self.ruleset.chains[*chain.table.key, verdict.chain]

    def _rule(self, chain: Chain, rule: Rule) -> Verdict | None:
        """The rule's verdict; None when it does not match, or does its work and goes on."""
        for statement in rule.statements:
            match statement:
                case Match() | AnyBit():
                    if not self._matches(chain, statement):
                        return None
                case Vmap():
                    element = self._lookup(chain, statement.expression, statement.map)
                    if element is None or not isinstance(element.data, Verdict):
                        return None
                    self._note(chain, rule, f"{element.key_text} : {element.data.text}")
                    return element.data
                case Verdict():
                    self._note(chain, rule, statement.text)
                    return statement
                case Dnat() | Load() | Log() | Masquerade() | Reject() | Update():
                    if not self._act(chain, rule, statement):
                        return None
                case Counter() | Limit():  # of one packet alone, no limit is reached
                    pass
        return None

    def _act(self, chain: Chain, rule: Rule, statement: _Action) -> bool:
        """Remember, or do what ends a base chain. False when a map has no answer or no room."""
        if isinstance(statement, Update):
            return self._update(chain, rule, statement)
        if isinstance(statement, Load):
            return self._load(chain, rule, statement)
        if isinstance(statement, Log):
            self._note(chain, rule, f"logged {statement.prefix}")
            return True
        if isinstance(statement, Reject):
            self._note(chain, rule, "reject")
            raise _Ended(Fate.REJECT)
        if isinstance(statement, Masquerade):
            self.packet = replace(self.packet, masqueraded=True)
            self._note(chain, rule, "masquerade")
            raise _Ended(Fate.ACCEPT)
        maps = [statement.map, statement.ports] if statement.ports else [statement.map]
        parts = self._values(statement.expression)
        found = [self._find(chain, name, parts) for name in maps]
        data = [each.data for each in found if each and isinstance(each.data, tuple)]
        if len(data) < len(maps):
            return False
        address, port = (part for each in data for part in each)
        self.packet = self.packet.translated(address, int(port))
        self._note(chain, rule, f"dnat to {address} port {port}")
        raise _Ended(Fate.ACCEPT)

    def _load(self, chain: Chain, rule: Rule, load: Load) -> bool:
        """Into the one field that rules of ours write."""
        element = self._lookup(chain, load.expression, load.map)
        if element is None or not isinstance(element.data, tuple):
            return False
        self.packet = replace(self.packet, priority=element.data_text)
        self._note(chain, rule, f"{element.key_text} : {element.data_text}")
        return True

    def _update(self, chain: Chain, rule: Rule, update: Update) -> bool:
        """Remember; what is remembered already keeps its value. False when there is no room."""
        parts = self._values(update.expression)
        element = self._find(chain, update.set, parts)
        if element is None:
            if self._is_full(chain, update.set):
                return False
            data = None if update.data is None else self._values(update.data)
            element = Element(chain.table, update.set, parts, data)
        self.updates[element.key] = element
        words = " : ".join(filter(None, (element.key_text, element.data_text)))
        self._note(chain, rule, f"remember {words}")
        return True

    def _is_full(self, chain: Chain, name: str) -> bool:
        where = (*chain.table.key, name)
        room = self.ruleset.sets[where].size or DYNAMIC_SIZE
        there = {each.key for each in self.ruleset.elements.get(where, {}).values()}
        return len(there | {key for key in self.updates if key[3] == name}) >= room

    def _matches(self, chain: Chain, match: Match | AnyBit) -> bool:
        if isinstance(match, AnyBit):
            return bool(int(self._value(match.field)) & match.bits)
        if match.set:
            found = self._lookup(chain, match.expression, match.set) is not None
        elif match.expression == IIFNAME:
            found = any(_is_named(self.packet.iif, name) for name in match.values)
        else:
            value = self._value(match.expression)
            found = any(holds(each, value) for each in match.values)
        return found != match.negated

    def _lookup(self, chain: Chain, expression: Expression, name: str) -> Element | None:
        return self._find(chain, name, self._values(expression))

    def _find(self, chain: Chain, name: str, parts: tuple[str, ...]) -> Element | None:
        remembered = self.updates.get((*chain.table.key, "element", name, " . ".join(parts)))
        return remembered or self.ruleset.find(chain, name, parts)

    def _values(self, expression: Expression) -> tuple[str, ...]:
        return tuple(self._value(part) for part in parts_of(expression))

    def _value(self, expression: Expression) -> str:
        if isinstance(expression, Numgen):
            chosen = self._choose(expression.mod) if expression.mod > 1 else 0
            return str(expression.offset + chosen)
        if isinstance(expression, Jhash):
            return _hash(self._value(expression.field), expression.seed)
        if isinstance(expression, Concat):
            return " . ".join(self._values(expression))
        if expression in {DADDR_TYPE, SADDR_TYPE}:
            packet = self.packet
            address = packet.daddr if expression == DADDR_TYPE else packet.saddr
            return "local" if address in self.ruleset.local else "unicast"
        if expression == OIF:
            return "1" if self.hook in _LEAVING else "0"
        return FIELDS[_familyless(expression)](self.packet)

    def _choose(self, arity: int) -> int:
        made = len(self.arities)
        self.arities.append(arity)
        if made >= len(self.choices):
            self.choices.append(0)
        return self.choices[made]

    def _note(self, chain: Chain, rule: Rule, effect: str) -> None:
        self.steps.append(Step(self.hook, chain.table.text, chain.name, rule.why, effect))


def _hash(value: str, seed: int) -> str:
    """Some number for a value: another one than the kernel's, and always the same."""
    return str(int(digest(f"{seed} {value}"), 16) % ((1 << 32) - 1))


def _is_named(interface: str, name: str) -> bool:
    """Whether an interface has this name, or with "*" at its end this prefix."""
    return interface.startswith(name[:-1]) if name.endswith("*") else interface == name


def _familyless(field_: Field) -> str:
    return " ".join("ip" if word == "ip6" else word for word in field_.text.split())


def trace(ruleset: Ruleset, packet: Packet) -> list[Trace]:
    """Every way the packet can go, one Trace for each combination of random choices.

    At most MAX_OUTCOMES of them; a Service with more endpoints is cut there.
    """
    traces: list[Trace] = []
    choices: list[int] | None = []
    while choices is not None and len(traces) < MAX_OUTCOMES:
        walk = _Walk(ruleset, packet, choices)
        traces.append(walk.run())
        choices = _next(walk.choices, walk.arities)
    return traces


def _next(choices: list[int], arities: list[int]) -> list[int] | None:
    """The next combination, as an odometer counts; None after the last."""
    for index in reversed(range(len(arities))):
        if choices[index] + 1 < arities[index]:
            return [*choices[:index], choices[index] + 1]
    return None
