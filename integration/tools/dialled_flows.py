"""A world's rows, dialled all at once by a thread for each source: many connections per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from flow_stage import PATIENCE, STOPPED, Seen, Stage
from flows.rows import CLOSED, DROP, REJECT, Flow
from flows.world import World
from scratch import SLOWNESS

from podwire_core.family import Family

FEW = 4  # connections for an outcome that does not depend on a choice
SELDOM = 5  # in a world whose rows are many and alike
#: Connections for a number of endpoints: the chance that one is never picked is below 1e-9, and
#: there are a thousand such rows.
CONNECTIONS = (FEW, FEW, 34, 60, 85)
SILENCE = SLOWNESS**0.5  # seconds until no answer is none; it is waited for whole
LATE = 5 * SILENCE  # the same for rows of which some are heard: an answer may be late

Case = tuple[Flow, Family]
Silent = Callable[[World, Flow, Family], bool]


class Group(NamedTuple):
    """Rows that are dialled by one thread."""

    source: str
    sctp: bool
    patience: float


class Dialled:
    """What the rows of the world that was asked for last came to.

    is_silent: whether some connection of a row is to hear nothing, so that seconds are enough.
    """

    def __init__(self, stage: Stage, is_silent: Silent | None = None) -> None:
        self._stage, self._is_silent = stage, is_silent or _hears_nothing
        self._world: World | None = None
        self._seen: dict[Case, list[Seen]] = {}

    def seen(self, world: World, flow: Flow, family: Family) -> list[Seen]:
        """A row's connections; all rows of a world are dialled when the first is asked for."""
        if self._world is not world:
            self._world = None
            self._stage.program(world)
            self._seen = self._dial(world)
            self._world = world
        return self._seen[flow, family]

    def _dial(self, world: World) -> dict[Case, list[Seen]]:
        groups: dict[Group, list[Case]] = {}
        for flow in world.flows:
            for family in flow.families:
                patience = self._patience(world, flow, family)
                group = Group(flow.source, flow.protocol == "sctp", patience)
                groups.setdefault(group, []).append((flow, family))
        with ThreadPoolExecutor(len(groups)) as threads:
            found = threads.map(lambda group: self._ask(world, group, groups[group]), groups)
            return {case: seen for each in found for case, seen in each.items()}

    def _ask(self, world: World, group: Group, cases: Sequence[Case]) -> dict[Case, list[Seen]]:
        targets = [
            (flow.protocol, world.address(flow, family), flow.port)
            for flow, family in cases
            for _ in range(connections(world, flow))
        ]
        seen = iter(self._stage.ask(group.source, targets, group.patience))
        return {
            (flow, family): [next(seen) for _ in range(connections(world, flow))]
            for flow, family in cases
        }

    def _patience(self, world: World, flow: Flow, family: Family) -> float:
        if not self._is_silent(world, flow, family):
            return PATIENCE
        return SILENCE if flow.outcome == DROP else LATE


def _hears_nothing(_world: World, flow: Flow, _family: Family) -> bool:
    return flow.outcome == DROP or bool(flow.deaf)


def connections(world: World, flow: Flow) -> int:
    """How often a row is tried."""
    return SELDOM if world.seldom else CONNECTIONS[len(flow.ends)]


def expected(flow: Flow) -> frozenset[str]:
    """Its ends as a client can tell them apart; the tracer can do better."""
    if flow.source == "node" and flow.protocol != "tcp" and flow.outcome in {DROP, REJECT}:
        return frozenset({STOPPED})
    if flow.deaf:
        return flow.ends - flow.deaf | {DROP}
    return frozenset({REJECT}) if flow.outcome == CLOSED else flow.ends
