"""The packet-flow table over the fake: every random choice is explored."""

from __future__ import annotations

import re
from functools import cache

import pytest
from flows import affinity
from flows.affinity import Story
from flows.places import ADDRESSES, LINKS
from flows.rows import AWAY, CLOSED, DROP, REJECT, Flow
from flows.world import World
from packet_flows import NODE, WORLDS, cases

from podwire_core.family import Family
from podwire_core.nft.fake import Fake
from podwire_core.nft.objects import Element, Object
from podwire_core.nft.owner import Owner
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate, Ruleset, Trace, trace
from podwire_proxy.services import Services

NAMES = {address: name for name, row in ADDRESSES.items() for address in row.values()}
FATES = {Fate.DROP: DROP, Fate.REJECT: REJECT}


@cache
def in_force(world: World) -> tuple[Object, ...]:
    """The world's objects as the proxy makes them rules."""
    services = Services(NODE, options=world.options)
    fake = Fake()
    owner = Owner(fake, services.tables)
    owner.change(services.update(*world.changes()))
    return tuple(fake.objects())


@cache
def ruleset(world: World, remembered: tuple[Element, ...] = ()) -> Ruleset:
    """The rules that a packet meets, after others that are remembered."""
    return Ruleset([*in_force(world), *remembered], local=world.node_addresses())


def first_packet(world: World, flow: Flow, family: Family) -> Packet:
    """What opens the connection."""
    return Packet(
        family,
        saddr=world.source(flow, family),
        daddr=world.address(flow, family),
        protocol=flow.protocol,
        dport=flow.port,
        from_node=flow.source == "node",
        iif=LINKS.get(flow.source, ""),
    )


def end(way: Trace, local: frozenset[str]) -> str:
    """Where it ended, in the words of the table."""
    packet = way.packet
    if way.fate in FATES:
        return FATES[way.fate]
    if not packet.dnat and packet.daddr in local:
        return CLOSED
    name = NAMES.get(packet.daddr, "outside")
    return AWAY if name == "outside" else f"{name}:{packet.dport}"


@pytest.mark.parametrize(
    ("world", "flow", "family"), [pytest.param(*case, id=name) for name, case in cases()]
)
def test_flow(world: World, flow: Flow, family: Family) -> None:
    rules = ruleset(world)
    ways = trace(rules, first_packet(world, flow, family))
    assert {end(way, rules.local) for way in ways} == flow.ends
    masqueraded = {end(way, rules.local) for way in ways if way.packet.masqueraded}
    assert masqueraded == flow.masqueraded


def test_no_one_but_the_node_reaches_a_nodeport_at_the_loopback() -> None:
    """Who shares a link with the node may send it packets for 127.0.0.1 (CVE-2020-8558)."""
    (world,) = (each for each in WORLDS if each.name == "NodePorts at the loopback")
    packet = Packet(Family.IPV4, "192.168.77.9", "127.0.0.1", "tcp", 30080, iif="uplink")
    assert {way.fate for way in trace(ruleset(world), packet)} == {Fate.DROP}


def kind(why: str) -> str:
    """What rules of one kind have in common: not their numbers, nor Services' names."""
    return re.sub(r"\d+|^shop/\S+", "N", why)


def test_no_rule_is_without_a_row() -> None:
    """Each kind of rule did something to a packet of some row, or no row says what it is for."""
    firsts = [story.first for story in affinity.STORIES]
    flows = [(world, flow) for world in WORLDS for flow in world.flows if not world.seldom]
    rules, met = set(), {"localhost is for the node itself"}  # the test above
    for world, flow in flows + [(affinity.WORLD, first) for first in firsts]:
        found = ruleset(world)
        rules |= {kind(rule.why) for chain in found.chains.values() for rule in chain.rules}
        for family in flow.families:
            packet = first_packet(world, flow, family)
            ways = trace(found, packet)
            if world is affinity.WORLD:
                ways += trace(ruleset(world, ways[0].updates), packet)
            met |= {kind(step.why) for way in ways for step in way.steps}
    assert rules - met == set()


def test_answers_of_known_connections_meet_no_nat() -> None:
    packet = Packet(Family.IPV4, "10.244.1.7", "10.96.0.10", "tcp", 80, state="established")
    (way,) = trace(ruleset(WORLDS[0]), packet)
    assert not way.packet.dnat


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("story", affinity.STORIES, ids=lambda story: story.promise)
def test_a_second_connection(story: Story, family: Family) -> None:
    rules = ruleset(affinity.WORLD)
    firsts = trace(rules, first_packet(affinity.WORLD, story.first, family))
    assert {end(way, rules.local) for way in firsts} == story.first.ends
    for first in firsts:
        remembered = ruleset(affinity.WORLD, first.updates)
        seconds = trace(remembered, first_packet(affinity.WORLD, story.then, family))
        assert {end(way, rules.local) for way in seconds} == story.allowed(end(first, rules.local))
