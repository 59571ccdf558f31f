"""The packet-flow table over socket programs beside nftables: real calls, many per row.

node1's places and its pods dial from a cgroup with the programs attached; what becomes of a row
then is said by tests/tables/flows/sockets.py, in the table's own terms and with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
import socket_flow_stage
from dialled_flows import Dialled, connections, expected
from flow_stage import Seen
from flows import affinity
from flows.affinity import Story
from flows.places import ADDRESSES
from flows.rows import CLOSED, DROP, Flow
from flows.sockets import HERE, LEFT, By, Expected
from flows.world import World
from packet_flows import WORLDS
from socket_flow_stage import Stage

from podwire_core.family import Family


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with socket_flow_stage.stage(tmp_path_factory.mktemp("bpffs")) as made:
        yield made


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """Rows by who answered them, and reasons by rows that they mark; told at the end."""
    made: Counter[str] = Counter()
    yield made
    print("\nrows:", ", ".join(f"{number} {what}" for what, number in made.most_common()))


def at_loopback(world: World) -> World | None:
    """The same with NodePorts at the loopback too, and the node dialling each there."""
    ports = {
        (flow.protocol, flow.port)
        for flow in world.flows
        if flow.to in {"node", "alt"} and flow.protocol != "sctp" and flow.port >= 30000
    }
    flows = tuple(
        Flow("node", "localhost", port, frozenset({CLOSED}), f"{port}/{protocol}", "", protocol)
        for protocol, port in sorted(ports)
    )
    options = replace(world.options, localhost_nodeports=True)
    return replace(world, flows=flows, options=options) if flows else None


LOOPBACK_WORLDS = [made for each in WORLDS if (made := at_loopback(each))]


def check(stage: Stage, world: World, tally: Counter[str], *, left: bool = True) -> None:
    """Every row of a world, and who answered. left: also those that are left to nftables."""
    dialled = Dialled(stage, lambda *row: hears_nothing(stage, *row))
    stage.program(world)
    maps, before, by_socket, wrong = stage.maps, stage.answered(), 0, []
    for flow in world.flows:
        for family in flow.families:
            wanted = maps.expected(world, flow, family)
            seen = dialled.seen(world, flow, family)
            by_socket += connections(world, flow) * (wanted.by is By.SOCKET)
            tally.update([f"by {wanted.by}", *wanted.reasons])
            if LEFT in wanted.reasons and not left:
                continue
            if not is_right(world, flow, family, wanted, seen):
                ends = Counter(f"{each.end} {each.client}" for each in seen)
                wrong.append(f"{flow.promise}, {family}: {dict(ends)}, not {wanted}")
    assert not wrong, "\n".join(wrong)
    assert stage.answered() - before == by_socket, "calls that the programs answered"


def hears_nothing(stage: Stage, world: World, flow: Flow, family: Family) -> bool:
    """Whether some connection of a row hears nothing."""
    return DROP in stage.maps.expected(world, flow, family).ends or bool(flow.deaf)


def is_right(world: World, flow: Flow, family: Family, wanted: Expected, seen: list[Seen]) -> bool:
    """Whether a row's connections ended where they should, and were seen as whom they should."""
    ends = {each.end for each in seen}
    might = expected(flow) if wanted.by is By.NFTABLES else wanted.ends
    # A row that is marked may have more ends than it was tried for.
    exact = not world.seldom and set(wanted.reasons) <= {LEFT}
    if not ends <= might or (exact and ends != might):
        return False
    if flow.source == "node":
        return True  # its own address either way
    return all(
        each.client == ADDRESSES["node" if each.end in wanted.masqueraded else flow.source][family]
        for each in seen
        if each.client
    )


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_flows(stage: Stage, world: World, tally: Counter[str]) -> None:
    check(stage, world, tally)


@pytest.mark.parametrize("world", LOOPBACK_WORLDS, ids=lambda world: world.name)
def test_nodeports_at_the_loopback(stage: Stage, world: World, tally: Counter[str]) -> None:
    check(stage, world, tally, left=False)


TRIALS = 6  # of which each, without a memory, would come true by chance in half of all cases
MANY_TRIALS = 50  # two lists that agree in a third: (2/3)**50


@pytest.fixture(scope="module")
def remembering(stage: Stage) -> Stage:
    stage.program(affinity.WORLD)
    return stage


def one(stage: Stage, flow: Flow, family: Family) -> str:
    """Where one connection ends."""
    target = (flow.protocol, affinity.WORLD.address(flow, family), flow.port)
    (seen,) = stage.ask(flow.source, [target])
    return seen.end


def place(end: str) -> str:
    return end.partition(":")[0]


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(
    "story",
    [each for each in affinity.STORIES if each.first.source in HERE],
    ids=lambda story: story.promise,
)
def test_a_second_connection(remembering: Stage, story: Story, family: Family) -> None:
    others = set()
    for _ in range(MANY_TRIALS if story.relation == "free" else TRIALS):
        remembering.forget()
        first = one(remembering, story.first, family)
        assert first in story.first.ends
        then = one(remembering, story.then, family)
        assert then in story.allowed(first)
        others.add(place(first) == place(then))
    assert story.relation != "free" or others == {True, False}
