"""Session affinity over the kernel: who remembers whom, for how long, and what it forgets."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from flow_stage import Stage, Target
from flows import affinity
from flows.affinity import Story
from flows.objects import Document, Port, Svc
from flows.places import ADDRESSES, NODE, service_address
from flows.rows import Flow
from flows.world import FIRST, World
from scratch import until

from podwire_core.family import Family
from podwire_core.nft.kernel import Kernel
from podwire_core.snapshot import Snapshot
from podwire_node.serving import Serving
from podwire_node.settings.agent_config import AgentConfig

TRIALS = 6  # of which each, without a memory, would come true by chance in half of all cases
MANY_TRIALS = 50  # two lists that agree in a third: (2/3)**50
#: Not pods of node2, to whom d would answer past node1.
CLIENTS = ("a", "b", "c", "stray", "outside", "node")


def one(stage: Stage, world: World, flow: Flow, family: Family) -> str:
    """Where one connection ends, as a pod's name."""
    target = (flow.protocol, world.address(flow, family), flow.port)
    (seen,) = stage.ask(flow.source, [target])
    return seen.end


@pytest.fixture(scope="module")
def remembering(stage: Stage) -> Stage:
    stage.program(affinity.WORLD)
    return stage


def place(end: str) -> str:
    return end.partition(":")[0]


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("story", affinity.STORIES, ids=lambda story: story.promise)
def test_a_second_connection(remembering: Stage, story: Story, family: Family) -> None:
    others = set()
    for _ in range(MANY_TRIALS if story.relation == "free" else TRIALS):
        remembering.forget()
        first = one(remembering, affinity.WORLD, story.first, family)
        assert first in story.first.ends
        then = one(remembering, affinity.WORLD, story.then, family)
        assert then in story.allowed(first)
        others.add(place(first) == place(then))
    assert story.relation != "free" or others == {True, False}


def sticky(name: str, seconds: int, *ports: Port, endpoints: str = "a b d") -> World:
    """One Service that remembers its clients for some seconds."""
    spec: Document = {
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}},
    }
    return World(name, (Svc("web", endpoints, *ports, **spec),), ())


def brief(seconds: int) -> World:
    """The same with 24 ports."""
    ports = (Port(8000 + number, 8080, f"p{number}") for number in range(24))
    return sticky("brief", seconds, *ports, endpoints="a b")


BRIEF = brief(2)


def all_ports(stage: Stage) -> tuple[str, ...]:
    """Where a connection to each of the brief Service's ports ends."""
    targets: list[Target] = [
        ("tcp", f"10.96.0.{FIRST}", port.number) for port in BRIEF.services[0].ports
    ]
    return tuple(seen.end for seen in stage.ask("c", targets))


def test_each_port_remembers_by_itself(stage: Stage) -> None:
    stage.program(brief(300))
    first = all_ports(stage)
    assert set(first) == {"a:8080", "b:8080"}, "24 ports that agree: once in eight million runs"
    assert all_ports(stage) == first


def test_every_connection_begins_the_time_anew(stage: Stage) -> None:
    stage.program(brief(6))
    first = all_ports(stage)
    began = time.monotonic()

    def dialled_for_longer() -> bool:
        assert all_ports(stage) == first
        return time.monotonic() - began > 8

    until("it was dialled for longer than it remembers", dialled_for_longer)


def test_a_memory_ends_with_its_time(stage: Stage) -> None:
    stage.program(BRIEF)
    stage.forget()
    first = all_ports(stage)
    until("no one is remembered", lambda: stage.remembered() == 0)
    assert all_ports(stage) != first, "24 ports that agree: once in sixteen million runs"


@dataclass
class Node:
    """The agent's own part for Services, in node1: what it does beside rules counts here."""

    stage: Stage
    serving: Serving
    snapshot: Snapshot

    def become(self, world: World) -> None:
        """The cluster's objects become those of a world of the same names."""
        objects = world.changes()[0].changes()
        self.serving.take(self.snapshot, [each for each in objects if self.snapshot.apply(each)])
        assert self.serving.sync(time.monotonic()) is None
        assert self.serving.in_sync

    def forget(self, world: World, gone: str) -> None:
        """The objects become a world's, and clients of an endpoint that went are forgotten."""
        self.become(world)
        left = ADDRESSES[gone].values()

        def none_remembered() -> bool:
            for descriptor, hear in self.serving.watched():
                if select.select([descriptor], [], [], 0)[0]:
                    hear()
            self.serving.sync(time.monotonic())
            return not set(left) & set(self.stage.remembered_addresses())

        until("its clients are forgotten", none_remembered)

    def ends(self) -> dict[tuple[str, Family], str]:
        """Where each client's connection to the Service ends."""
        found = {}
        for client in CLIENTS:
            targets: list[Target] = [
                ("tcp", service_address(FIRST, family), 80) for family in Family
            ]
            for family, seen in zip(Family, self.stage.ask(client, targets), strict=True):
                found[client, family] = seen.end
        return found


@pytest.fixture
def node(stage: Stage) -> Iterator[Node]:
    stage.program(World("empty", (), ()))
    with ExitStack() as undo:
        with stage.netns["node"].inside():
            serving = Serving(AgentConfig(node=NODE, feed="."), Kernel(), undo)
            undo.callback(serving._monitor.close)  # an agent's lives as long as its process
        yield Node(stage, serving, Snapshot())


def test_who_was_sent_to_an_endpoint_that_went_goes_to_another_and_the_others_stay(
    node: Node,
) -> None:
    node.become(sticky("all", 300, endpoints="a b d"))
    before = node.ends()
    assert node.ends() == before
    gone = place(next(iter(before.values())))
    node.forget(sticky("fewer", 300, endpoints=" ".join({"a", "b", "d"} - {gone})), gone)
    after = node.ends()
    assert node.ends() == after, "they are remembered where they went"
    for client, end in before.items():
        assert after[client] != f"{gone}:8080"
        assert place(end) == gone or after[client] == end
    node.become(sticky("all again", 300, endpoints="a b d"))
    assert node.ends() == after, "who came back is no reason to move"


def test_affinity_comes_and_goes_with_its_field(node: Node) -> None:
    node.become(sticky("on", 300, endpoints="a b"))
    before = node.ends()
    assert node.ends() == before
    node.become(World("off", (Svc("web", "a b"),), ()))
    targets: list[Target] = [("tcp", service_address(FIRST, Family.IPV4), 80)] * 24
    assert {seen.end for seen in node.stage.ask("c", targets)} == {"a:8080", "b:8080"}
    node.become(sticky("on again", 300, endpoints="a b"))
    again = node.ends()
    assert node.ends() == again


def test_a_restart_remembers_everyone(node: Node) -> None:
    world = sticky("kept", 300, endpoints="a b")
    node.become(world)
    before = node.ends()
    node.stage.program(world)
    assert node.ends() == before
