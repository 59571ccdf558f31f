"""The packet-flow table over the socket programs' twin, with the rules' tracer for what it passes.

connect() ─► twin over the maps' rows ─┬─ passed ──────────► tracer: as without us
                                       ├─ refused            REJECT
                                       └─ an endpoint ─────► tracer: a call to the endpoint
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import pytest
from flows import affinity
from flows.affinity import Story
from flows.places import ADDRESSES, LINKS, NODE
from flows.rows import AWAY, CLOSED, DROP, REJECT, Flow
from flows.sockets import HERE, By, Expected, Maps
from flows.world import World
from packet_flows import WORLDS, cases
from socket_programs import Call, SocketPrograms

from podwire_core.family import Family
from podwire_core.nft.fake import Fake
from podwire_core.nft.owner import Owner
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate, Ruleset, Trace, trace
from podwire_core.objects import Protocol
from podwire_ebpf.records import Endpoint
from podwire_ebpf.rows import Change
from podwire_proxy.services import Services
from podwire_proxy.sockets import Reach, Sockets
from podwire_proxy.sockets.wishes import NUMBERS

NAMES = {address: name for name, row in ADDRESSES.items() for address in row.values()}
FATES = {Fate.DROP: DROP, Fate.REJECT: REJECT}


class Node(NamedTuple):
    """node1 in a world: its rules, its maps, and what decides who answers."""

    rules: Ruleset
    programs: SocketPrograms
    sockets: Sockets
    maps: Maps


@functools.cache
def node(world: World) -> Node:
    """The world's objects as the proxy makes them rules and rows."""
    sockets = Sockets(Reach(masquerade_all=world.options.masquerade_all))
    services = Services(NODE, options=world.options, sockets=sockets)
    fake = Fake()
    Owner(fake, services.tables).change(services.update(*world.changes()))
    programs = SocketPrograms(world.options.localhost_nodeports)
    programs.apply(sockets.take())
    programs.apply(Change(addresses=dict.fromkeys(answering(world, services), True)))
    rules = Ruleset(list(fake.objects()), local=world.node_addresses())
    plans = services._frontends.winners
    return Node(
        rules,
        programs,
        sockets,
        Maps(plans, services.nodeport_networks, world.cidrs, world.options),
    )


def answering(world: World, services: Services) -> Iterator[str]:
    """The node's addresses at which NodePorts answer, but for the loopback's."""
    networks = [ip_network(each) for each in services.nodeport_networks]
    for address in set(world.node_addresses()):
        own = ip_address(address)
        if not own.is_loopback and any(own in each for each in networks):
            yield address


def called(world: World, flow: Flow, family: Family) -> Call:
    """What the programs do to a flow's connect()."""
    protocol = NUMBERS.get(Protocol(flow.protocol.upper()))
    if flow.source not in HERE or protocol is None:
        return Call(passed=True)
    address = world.address(flow, family)
    return node(world).programs.connect(flow.source, address, flow.port, protocol)


def traced(world: World, flow: Flow, family: Family, to: Endpoint | None) -> list[Trace]:
    """The first packet's ways through the rules; to: where the programs sent it."""
    packet = Packet(
        family,
        saddr=ADDRESSES[flow.source][family] if to else world.source(flow, family),
        daddr=to.address if to else world.address(flow, family),
        protocol=flow.protocol,
        dport=to.port if to else flow.port,
        from_node=flow.source == "node",
        iif=LINKS.get(flow.source, ""),
    )
    return trace(node(world).rules, packet)


def end(way: Trace, local: frozenset[str]) -> str:
    """Where it ended, in the words of the table."""
    packet = way.packet
    if way.fate in FATES:
        return FATES[way.fate]
    name = NAMES.get(packet.daddr, "outside")
    if not packet.dnat and packet.daddr in local and packet.dport != 8080:
        return CLOSED
    return AWAY if name == "outside" else f"{name}:{packet.dport}"


def expected(world: World, flow: Flow, family: Family) -> Expected:
    return node(world).maps.expected(world, flow, family)


@pytest.mark.parametrize(
    ("world", "flow", "family"), [pytest.param(*case, id=name) for name, case in cases()]
)
def test_flow(world: World, flow: Flow, family: Family) -> None:
    wanted, call = expected(world, flow, family), called(world, flow, family)
    assert (By.NFTABLES if call.passed else By.SOCKET) == wanted.by
    assert wanted.by == By.SOCKET or (wanted.ends, wanted.masqueraded) == (
        flow.ends,
        flow.masqueraded,
    )
    if not call.passed and not call.endpoints:
        assert wanted.ends == {REJECT}
        return
    rules = node(world).rules
    ways = [
        way
        for to in (call.endpoints if not call.passed else [None])
        for way in traced(world, flow, family, to)
    ]
    assert {end(way, rules.local) for way in ways} == wanted.ends
    masqueraded = {end(way, rules.local) for way in ways if way.packet.masqueraded}
    assert masqueraded == wanted.masqueraded


def test_most_rows_of_this_node_are_answered_at_the_socket() -> None:
    found = [(flow, expected(world, flow, family)) for _, (world, flow, family) in cases()]
    by = Counter(wanted.by for _, wanted in found)
    here = Counter(wanted.by for flow, wanted in found if flow.source in HERE)
    marked = Counter(why for _, wanted in found for why in wanted.reasons)
    print(f"\n{len(found)} rows: {dict(by)}, of this node's own {dict(here)}; marked:")
    for why, number in marked.most_common():
        print(f"  {number:5} {why}")
    assert here[By.SOCKET] > here[By.NFTABLES]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_whatis_leftis_left_with_a_reason(world: World) -> None:
    made = node(world)
    left = {each for each in made.maps.plans if made.maps.is_left(each)}
    assert made.sockets.left.keys() == left
    assert all(made.sockets.left.values())


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(
    "story",
    [each for each in affinity.STORIES if each.first.source in HERE],
    ids=lambda story: story.promise,
)
def test_a_second_connection(story: Story, family: Family) -> None:
    world = affinity.WORLD
    first = called(world, story.first, family)
    if first.passed:
        assert story.first.protocol == "sctp"
        return
    assert {spelled(each) for each in first.endpoints} == story.first.ends
    for to in first.endpoints:
        programs = node(world).programs
        protocol = NUMBERS[Protocol(story.first.protocol.upper())]
        where = (world.address(story.first, family), story.first.port, protocol)
        programs.memory.clear()
        programs.went(story.first.source, *where, to)
        second = called(world, story.then, family)
        assert {spelled(each) for each in second.endpoints} == story.allowed(spelled(to)) or (
            story.then.source not in HERE
        )
    programs.memory.clear()


def spelled(endpoint: Endpoint) -> str:
    return f"{NAMES[endpoint.address]}:{endpoint.port}"


def test_a_memory_ends_with_its_time_and_with_its_endpoint() -> None:
    flow = affinity.STORIES[0].first
    programs = SocketPrograms(frontends=dict(node(affinity.WORLD).programs.frontends))
    programs.endpoints = dict(node(affinity.WORLD).programs.endpoints)
    programs.members = dict(node(affinity.WORLD).programs.members)
    where = (affinity.WORLD.address(flow, Family.IPV4), flow.port, 6)
    everyone = programs.connect("c", *where).endpoints
    one = min(everyone)
    programs.went("c", *where, one, now=100.0)
    assert programs.connect("c", *where, now=101.0).endpoints == {one}
    assert programs.connect("c", *where, now=100.0 + 10_801).endpoints == everyone
    for key in [key for key in programs.members if key[1:] == one]:
        del programs.members[key]
    assert programs.connect("c", *where, now=101.0).endpoints == everyone
