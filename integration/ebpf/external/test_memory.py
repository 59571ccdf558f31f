"""What is known of connections from outside: who fills it, and what is forgotten first."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

import crafted
import pytest
from flows.objects import Port
from flows.places import ADDRESSES
from scratch import until
from uplink_stage import (
    NODE_MAC,
    NODEPORT,
    OUTSIDE_MAC,
    Stage,
    datagrams,
    listening,
    node,
    say,
    send,
    send_frame,
    settled,
    talk,
    world,
)

from podwire_core.family import FAMILIES, Family
from podwire_ebpf.external import Connection, Flow, Way

pytestmark = pytest.mark.usefixtures("attached")


def test_a_full_map_serves_who_comes_and_who_talks(stage: Stage) -> None:
    """Whoever was silent longest is forgotten."""
    stage.program(world("a b"))
    table = stage.external.connections
    with talk(stage, node(Family.IPV4)) as connection:
        first = say(connection)
        for part in range(0, table.layout.max_entries, 16_384):
            numbers = range(part, part + 16_384)
            table.update(dict.fromkeys(map(stranger, numbers), SILENT))
            assert say(connection) == first
        targets = [("tcp", node(family), NODEPORT) for family in FAMILIES] * 100
        assert {each.end for each in stage.ask("outside", targets)} == {"a:8080", "b:8080"}
        assert say(connection) == first


@pytest.mark.parametrize("family", FAMILIES)
def test_a_flood_of_openings_ends_no_connection(stage: Stage, family: Family) -> None:
    """Under addresses that do not hear the answers; conntrack drops them first, too."""
    stage.program(world("a b"))
    table = stage.external.opening
    with ExitStack() as held:
        clients = [held.enter_context(talk(stage, node(family))) for _ in range(10)]
        asking = [held.enter_context(datagrams(stage, family)) for _ in range(10)]
        for each in asking:
            each.connect((node(family), NODEPORT))
            say(each)
        ends = [say(each) for each in (*clients, *asking)]
        before = stage.external.connections.read().keys()
        flood(stage, family, 4000)
        rows = dict.fromkeys(map(stranger, range(2 * table.layout.max_entries)), SILENT)
        table.update(rows)
        flood(stage, family, 4001)
        after = stage.external.connections.read().keys()
        assert len(before) == 2 * len(ends)
        assert before <= after
        assert {flow for flow in after if {4000, 4001} & set(flow)} == set()
        assert [say(each) for each in (*clients, *asking)] == ends
        # And who comes now is served.
        targets = [(protocol, node(family), NODEPORT) for protocol in ("tcp", "udp")] * 20
        assert "DROP" not in {each.end for each in stage.ask("outside", targets)}


SILENT = Connection("10.0.0.1", 80, 1, 1, answered=True)


def stranger(number: int) -> Flow:
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Flow(address, 1, "10.1.1.1", 1, socket.IPPROTO_TCP)


def flood(stage: Stage, family: Family, port: int) -> None:
    """A SYN and a datagram of each of five hundred."""
    sources = "10.200.{}.{}" if family is Family.IPV4 else "fd00:200::{}:{}"
    frames = []
    for number in range(500):
        source = sources.format(number >> 8, number & 255)
        way = crafted.Way(source, node(family), port, NODEPORT)
        packets = crafted.segment(way, 1), crafted.datagram(way, 1)
        frames += [crafted.frame(NODE_MAC, OUTSIDE_MAC, each) for each in packets]
    send_frame(stage, *frames)
    settled(stage)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tcp_client_is_believed_when_it_knows_the_endpoints_number(
    stage: Stage, family: Family
) -> None:
    stage.program(world("a"))
    opening, connections = stage.external.opening, stage.external.connections
    way = crafted.Way(ADDRESSES["outside"][family], node(family), 45_010, NODEPORT)
    key = Flow(way.source, way.sport, way.destination, way.dport, socket.IPPROTO_TCP)
    send(stage, crafted.segment(way, 1))
    until("the endpoint answers", lambda: opening.read()[key].answered)
    number = opening.read()[key].number
    for wrong in (number, number + (1 << 17) + 1, number - 1, number + (1 << 31)):
        send(stage, crafted.segment(way, 2, crafted.ACK, wrong % 2**32))
    send(stage, crafted.segment(way, 2, crafted.RST, 0))
    send(stage, crafted.segment(way, 2, crafted.SYN | crafted.ACK, (number + 1) % 2**32))
    settled(stage)
    assert key in opening.read()
    assert key not in connections.read()
    send(stage, crafted.segment(way, 2, crafted.ACK, (number + 1) % 2**32))
    until("it moves over", lambda: key in connections.read())
    mine = {flow for flow in connections.read() if way.sport in flow}
    assert {flow.way for flow in mine} == set(Way)
    assert all(connections.read()[flow].established for flow in mine)
    assert not mine & opening.read().keys()


def test_a_udp_client_is_believed_when_it_asks_again(stage: Stage) -> None:
    stage.program(world("a"))
    with datagrams(stage, Family.IPV4) as client:
        client.connect((node(Family.IPV4), NODEPORT))
        say(client)
        assert len(stage.external.opening.read()) == 2
        assert not stage.external.connections.read()
        say(client)
        assert not stage.external.opening.read()
        assert len(stage.external.connections.read()) == 2


def test_who_dials_anew_is_to_be_believed_anew(stage: Stage) -> None:
    """The connection of before is over: nothing of it stays."""
    stage.program(world("a"))
    with talk(stage, node(Family.IPV4), source_address=("", 45_011)) as client:
        assert say(client) == "a:8080"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stage.become(world("b"))
    way = crafted.Way(ADDRESSES["outside"][Family.IPV4], node(Family.IPV4), 45_011, NODEPORT)
    send(stage, crafted.segment(way, 1))
    until("it begins", lambda: len(stage.external.opening.read()) == 2)
    assert not stage.external.connections.read()


@pytest.mark.parametrize("way", list(Way), ids=lambda way: way.name)
def test_a_half_that_was_forgotten_comes_back(stage: Stage, way: Way) -> None:
    """Either half knows the other, and looks for it once a second of traffic."""
    stage.program(world("a", Port(target=9000, node=NODEPORT)))
    with stage.netns["a"].inside():
        listener = listening(9000)
    with listener, talk(stage, node(Family.IPV4)) as client:
        served, _ = listener.accept()
        with served:
            served.settimeout(5)
            sender, receiver = (client, served) if way is Way.REPLY else (served, client)
            (gone,) = [flow for flow in stage.connections() if flow.way is way]
            threading.Event().wait(1.1)
            stage.external.connections.delete([gone])
            sender.sendall(b"there and")
            assert receiver.recv(100) == b"there and"
            receiver.sendall(b"back")
            assert sender.recv(100) == b"back"
            assert gone in stage.connections()
