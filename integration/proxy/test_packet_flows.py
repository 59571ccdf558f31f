"""The packet-flow table over the kernel: real connections, many per row.

The namespaces are those that tests/tables/flows/places.py draws.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dialled_flows import Dialled, expected
from flow_stage import Stage
from flows import basics
from flows.places import ADDRESSES
from flows.rows import DROP, Flow
from flows.world import World
from packet_flows import WORLDS, cases

from podwire_core.family import Family


@pytest.fixture(scope="module")
def dialled(stage: Stage) -> Dialled:
    return Dialled(stage)


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
