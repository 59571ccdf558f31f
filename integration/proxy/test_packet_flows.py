"""The packet-flow table over the kernel: real connections, many per row.

The namespaces are those that tests/tables/flows/places.py draws. A world's rows are dialled all at
once, by a thread for each source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from flow_stage import PATIENCE, STOPPED, Seen, Stage
from flows import basics
from flows.places import ADDRESSES
from flows.rows import CLOSED, DROP, REJECT, Flow
from flows.world import World
from packet_flows import WORLDS, cases

from podwire_core.family import Family

FEW = 4  # connections for an outcome that does not depend on a choice
SELDOM = 5  # in a world whose rows are many and alike
#: Connections for a number of endpoints: the chance that one is never picked is below 1e-6.
CONNECTIONS = (FEW, FEW, 21, 37, 53)
SILENCE = 1.0  # seconds until no answer is none

Case = tuple[Flow, Family]


class Group(NamedTuple):
    """Rows that are dialled by one thread."""

    source: str
    sctp: bool
    silent: bool


class Dialled:
    """What the rows of the world that was asked for last came to."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
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
            group = Group(
                flow.source, flow.protocol == "sctp", flow.outcome == DROP or bool(flow.deaf)
            )
            groups.setdefault(group, []).extend((flow, family) for family in flow.families)
        with ThreadPoolExecutor(len(groups)) as threads:
            found = threads.map(lambda group: self._ask(world, group, groups[group]), groups)
            return {case: seen for each in found for case, seen in each.items()}

    def _ask(self, world: World, group: Group, cases: Sequence[Case]) -> dict[Case, list[Seen]]:
        targets = [
            (flow.protocol, world.address(flow, family), flow.port)
            for flow, family in cases
            for _ in range(connections(world, flow))
        ]
        timeout = SILENCE if group.silent else PATIENCE
        seen = iter(self._stage.ask(group.source, targets, timeout))
        return {
            (flow, family): [next(seen) for _ in range(connections(world, flow))]
            for flow, family in cases
        }


def connections(world: World, flow: Flow) -> int:
    """How often a row is tried."""
    return SELDOM if world.seldom else CONNECTIONS[len(flow.ends)]


@pytest.fixture(scope="module")
def dialled(stage: Stage) -> Dialled:
    return Dialled(stage)


def expected(flow: Flow) -> frozenset[str]:
    """Its ends as a client can tell them apart; the tracer can do better."""
    if flow.source == "node" and flow.protocol != "tcp" and flow.outcome in {DROP, REJECT}:
        return frozenset({STOPPED})
    if flow.deaf:
        return flow.ends - flow.deaf | {DROP}
    return frozenset({REJECT}) if flow.outcome == CLOSED else flow.ends


@pytest.mark.parametrize(
    ("world", "flow", "family"), [pytest.param(*case, id=name) for name, case in cases()]
)
def test_flow(dialled: Dialled, world: World, flow: Flow, family: Family) -> None:
    seen = dialled.seen(world, flow, family)
    ends = {each.end for each in seen}
    assert ends <= expected(flow)
    assert world.seldom or ends == expected(flow)
    if flow.source == "node":
        return  # its own address either way
    for each in seen:
        if each.client:
            masqueraded = each.end in flow.masqueraded
            assert each.client == ADDRESSES["node" if masqueraded else flow.source][family], each


@pytest.fixture
def neighbour(stage: Stage) -> Iterator[str]:
    """A place whose way to 127.0.0.1 leads to node1, as anyone's may on a link of one's own."""
    stray = stage.netns["stray"]
    stray.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    stray.run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
    stray.run("ip", "route", "add", "127.0.0.1", "via", "169.254.1.1", "dev", "eth0", "onlink")
    yield "stray"
    stray.run("ip", "route", "del", "127.0.0.1")
    stray.run("ip", "address", "add", "127.0.0.1/8", "dev", "lo")


def test_no_neighbour_reaches_a_nodeport_at_the_loopback(stage: Stage, neighbour: str) -> None:
    for world in WORLDS:
        if world.options.localhost_nodeports:
            stage.program(world)
            (seen,) = stage.ask(neighbour, [("tcp", "127.0.0.1", 30080)], timeout=1)
            assert seen.end == DROP, world.name


@pytest.mark.parametrize("world", WORLDS[::5], ids=lambda world: world.name)
def test_the_kernel_holds_what_was_wanted(stage: Stage, world: World) -> None:
    stage.program(world)
    believed = dict(stage.owner.in_force)
    stage.owner.adopt()
    assert stage.owner.in_force == believed


def test_connections_spread_evenly(stage: Stage) -> None:
    stage.program(basics.WORLD)
    flow = next(flow for flow in basics.WORLD.flows if flow.to == "web" and flow.source == "c")
    target = ("tcp", basics.WORLD.address(flow, Family.IPV4), 80)
    to_a = sum(each.end == "a:8080" for each in stage.ask("c", [target] * 240))
    # 240 fair coins: outside 78…162 once in 30 million runs
    assert 78 <= to_a <= 162
