"""What the kernel of this node does with a packet: our chains, over the kernel's own sets.

    chains    as we want them; each that the packet comes by is compared with the kernel's, rule by
              rule (their comments carry digests of their text)
    sets      asked of the kernel, element by element: one that is missing there is missing here
    tracer    walks the two (podwire_core.nft.tracer)

Nothing is listed as a whole: an answer costs as much in a cluster of 100,000 pods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from podwire_core.errors import NftError
from podwire_core.family import Family
from podwire_core.nft.lookup import Counted, Lookup
from podwire_core.nft.netlink import Absent
from podwire_core.nft.objects import Chain, Element, Key, Object, Set, Table
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate, Ruleset, Step, Trace, trace
from podwire_node.explain.answer import KernelAnswer, StepAnswer

#: What is wanted under a key.
Wanted = Callable[[Key], Object | None]


class _Strange(Exception):  # noqa: N818 - it ends a walk, and is told, not raised on
    """The kernel holds what leads nowhere that we know."""


@dataclass(frozen=True)
class Walked:
    """A packet's way, None where it cannot be told, and what was found wrong on it."""

    way: Trace | None
    counted: dict[str, tuple[Counted, ...]]
    wrong: tuple[str, ...]


class InForce(Ruleset):
    """Our tables of one node as they are in force.

    tables: ours, one a family. local: addresses of the node itself.
    """

    def __init__(
        self, tables: Sequence[Table], wanted: Wanted, lookup: Lookup, local: Iterable[str]
    ) -> None:
        super().__init__((), local)
        self._tables = {table.family: table for table in tables}
        self._wanted = wanted
        self._lookup = lookup
        self._wrong: list[str] = []
        self.chains = _Chains(wanted)
        self.sets = _Sets(wanted)

    def base_chains(self, family: Family, hook: str) -> list[Chain]:
        """A base chain of ours is named after its hook, and no hook has two.

        Where the kernel has none, packets pass.
        """
        table = self._tables[family]
        found = self._wanted((*table.key, "chain", hook))
        if not isinstance(found, Chain):
            return []
        if self._rules(found) is None:
            self._wrong.append(f"chain {hook} of table {table.text} is not in the kernel")
            return []
        return [self.chains[*table.key, hook]]

    def find(self, chain: Chain, name: str, parts: Sequence[str]) -> Element | None:
        """The kernel's element; where it is not the wanted one, that is noted."""
        try:
            found = self._lookup.get(chain.table, name, tuple(parts))
        except Absent as error:
            raise _Strange(f"set {name} is not in the kernel") from error
        definition = self.sets[*chain.table.key, name]
        if not (definition.interval or definition.dynamic):
            self._compare(chain.table, name, tuple(parts), found)
        return found

    def walk(self, packet: Packet) -> Walked:
        """The packet's way. Raises NftError when the kernel cannot be asked."""
        self.chains.clear()
        self._wrong = []
        way = None
        try:
            (way,) = trace(self, packet)
        except _Strange as strange:
            self._wrong.append(str(strange))
        counted = {chain.name: self._rules(chain) or () for chain in self.chains.values()}
        others = [words for each in self.chains.values() for words in _differs(each, counted)]
        told = way if not others else None  # what other rules than ours do is not ours to tell
        return Walked(told, counted, (*self._wrong, *others))

    def _compare(
        self, table: Table, name: str, parts: tuple[str, ...], found: Element | None
    ) -> None:
        key = " . ".join(parts)
        wanted = self._wanted((*table.key, "element", name, key))
        ours = wanted.data_text if isinstance(wanted, Element) else None
        theirs = None if found is None else found.data_text
        if ours == theirs:
            return
        if theirs is None:
            self._wrong.append(f"{key} is not in {name} in the kernel, and should be")
        elif ours is None:
            self._wrong.append(f"{key} is in {name} in the kernel, and should not be")
        else:
            self._wrong.append(f"{key} leads to {theirs} by {name} in the kernel, not to {ours}")

    def _rules(self, chain: Chain) -> tuple[Counted, ...] | None:
        try:
            return tuple(self._lookup.rules(chain.table, chain.name))
        except Absent:
            return None


class _Chains(dict[tuple[str, ...], Chain]):
    """Chains that a packet comes by, by table and name."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__()
        self._wanted = wanted

    def __missing__(self, key: tuple[str, ...]) -> Chain:
        found = self._wanted((*key[:2], "chain", key[2]))
        if not isinstance(found, Chain):
            raise _Strange(f"a set in the kernel leads to chain {key[2]}, which is none of ours")
        self[key] = found
        return found


class _Sets(dict[tuple[str, ...], Set]):
    """Sets that the tracer asks about, by table and name."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__()
        self._wanted = wanted

    def __missing__(self, key: tuple[str, ...]) -> Set:
        found = self._wanted((*key[:2], "set", key[2]))
        if not isinstance(found, Set):
            raise _Strange(f"a rule of ours names set {key[2]}, which is none of ours")
        self[key] = found
        return found


def kernel_answer(node: str, judges: tuple[str, ...], walked: Walked) -> KernelAnswer:
    """What was found, for people."""
    way = walked.way
    if way is None:
        return KernelAnswer(node, None, judges, wrong=walked.wrong)
    steps = tuple(_step(step, walked.counted) for step in way.steps)
    return KernelAnswer(node, way.fate is Fate.ACCEPT, judges, steps, walked.wrong)


def unreadable(node: str, judges: tuple[str, ...], error: NftError) -> KernelAnswer:
    """The kernel could not be asked: nothing is known, which is not the same as denied."""
    return KernelAnswer(node, None, judges, wrong=(f"cannot be read: {error}",))


def _step(step: Step, counted: dict[str, tuple[Counted, ...]]) -> StepAnswer:
    rows = [row for row in counted.get(step.chain, ()) if row.comment.startswith(step.why)]
    packets = next((row.packets for row in rows if row.packets is not None), None)
    dropped = packets if step.effect == "drop" else None
    return StepAnswer(step.hook, step.chain, step.why, step.effect, dropped)


def _differs(chain: Chain, counted: dict[str, tuple[Counted, ...]]) -> list[str]:
    """What of a chain is not in the kernel as we want it; one sentence, or none."""
    comments = [row.comment for row in counted[chain.name]]
    ours = [rule.comment for rule in chain.rules]
    if comments == ours:
        return []
    if not comments:
        return [f"chain {chain.name} is empty or not in the kernel"]
    return [f"chain {chain.name}: its {len(comments)} rules in the kernel are not our {len(ours)}"]
