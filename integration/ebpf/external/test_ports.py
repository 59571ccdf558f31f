"""How connections from outside are told apart by their ports, and how they end."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import crafted
import pytest
from flows.objects import Port
from flows.places import ADDRESSES, service_address
from flows.world import FIRST
from uplink_stage import (
    LOCAL,
    NODEPORT,
    Stage,
    datagrams,
    listening,
    node,
    requests,
    say,
    send,
    settled,
    talk,
    world,
)

from podwire_core.family import FAMILIES, Family

pytestmark = pytest.mark.usefixtures("attached")


# ----------------------------------------------------------------------------------------- ports


def test_a_port_that_is_used_again_is_a_new_connection(stage: Stage) -> None:
    stage.program(world("a"))
    for end in ("a", "b", "a", "d"):
        stage.become(world(end))
        with talk(stage, node(Family.IPV4), source_address=("", 45000)) as connection:
            assert say(connection) == f"{end}:8080"
            reset_on_close(connection)
    assert len(requests(stage)) == 1
    # What an endpoint of before was known by went with it.
    assert len(stage.connections()) == 2


def reset_on_close(connection: socket.socket) -> None:
    """So that its port is free at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_one_port_to_two_addresses_with_one_endpoint(stage: Stage) -> None:
    """The endpoint could not tell them apart, so one of them is left to nftables."""
    stage.program(world("a", **LOCAL))
    ends = [(node(Family.IPV4), NODEPORT), (service_address(FIRST, Family.IPV4, "lb"), 80)]
    with ExitStack() as open_:
        for _ in range(2):
            with datagrams(stage, Family.IPV4, port=45001) as client:
                for address, port in ends:
                    client.sendto(b"hello\n", (address, port))
                    answer, source = client.recvfrom(4096)
                    assert (answer.split()[0], source) == (b"a:5353", (address, port))
        made = []
        for address, port in ends:
            with stage.netns["outside"].inside():
                each = open_.enter_context(socket.socket())
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.settimeout(5)
            each.bind(("", 45002))
            each.connect((address, port))
            made.append(each)
        for _ in range(3):
            assert [say(each) for each in made] == ["a:8080", "a:8080"]
    assert sorted(half.nftables for _, half in requests(stage)) == [False, False, True, True]


def test_a_socket_of_the_node_keeps_its_answers(stage: Stage) -> None:
    """It sends from a NodePort's number: what comes back is no client's."""
    stage.program(world("a"))
    with datagrams(stage, Family.IPV4, "node", NODEPORT) as mine:
        with datagrams(stage, Family.IPV4, port=45003) as outside:
            mine.sendto(b"question\n", (ADDRESSES["outside"][Family.IPV4], 45003))
            question, source = outside.recvfrom(4096)
            assert (question, source[1]) == (b"question\n", NODEPORT)
            outside.sendto(b"answer\n", source)
            assert mine.recv(4096) == b"answer\n"
        # Any other client is one of the Service's.
        (seen,) = stage.ask("outside", [("udp", node(Family.IPV4), NODEPORT)])
        assert seen.end == "a:5353"


def test_a_conversation_that_nftables_began_stays_its(stage: Stage) -> None:
    stage.detach()
    stage.program(world("a"))
    with datagrams(stage, Family.IPV4) as client:
        client.connect((node(Family.IPV4), NODEPORT))
        assert say(client) == "a:5353"
        stage.attach()
        # The first datagram may be anyone's: the answer tells.
        assert say(client) == "a:5353"
        stage.become(world("a b d"))
        assert {say(client) for _ in range(20)} == {"a:5353"}


def test_an_endpoint_that_says_something_of_itself_says_it_as_itself(stage: Stage) -> None:
    """A conversation that was silent too long is none; conntrack has it so, too."""
    stage.program(world("a", Port(80, 9100, "u", "UDP", NODEPORT), **LOCAL))
    with (
        datagrams(stage, Family.IPV4, "a", 9100) as server,
        datagrams(stage, Family.IPV4) as client,
    ):
        client.sendto(b"hello", (node(Family.IPV4), NODEPORT))
        _, source = server.recvfrom(100)
        server.sendto(b"an answer", source)
        assert client.recvfrom(100)[1] == (node(Family.IPV4), NODEPORT)
        halves = stage.connections()
        # It may be that the machine has not run for so long: the number goes round.
        long_ago = (time.monotonic_ns() - 200 * 10**9) % 2**64
        aged = {flow: half._replace(last=long_ago) for flow, half in halves.items()}
        stage.external.opening.update(aged)
        server.sendto(b"something new", source)
        assert client.recvfrom(100)[1] == (ADDRESSES["a"][Family.IPV4], 9100)


# --------------------------------------------------------------------------------------- closing


def test_a_connection_that_is_half_closed_goes_on(stage: Stage) -> None:
    stage.program(world("a", Port(target=9000, node=NODEPORT)))
    with stage.netns["a"].inside():
        listener = listening(9000)
    with listener, talk(stage, node(Family.IPV4)) as client:
        client.sendall(b"all of it")
        client.shutdown(socket.SHUT_WR)
        served, _ = listener.accept()
        with served:
            served.settimeout(5)
            assert served.recv(100) + served.recv(100) == b"all of it"
            for number in range(3):
                served.sendall(b"%d" % number)
                assert client.recv(100) == b"%d" % number
            served.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
    ((_, half),) = requests(stage)
    assert half.finished == (True, True)
    assert not half.reset


def test_an_endpoints_reset_is_seen(stage: Stage) -> None:
    stage.program(world("a", Port(target=9000, node=NODEPORT)))
    with stage.netns["a"].inside():
        listener = listening(9000)
    with listener, talk(stage, node(Family.IPV4)) as client:
        served, _ = listener.accept()
        reset_on_close(served)
        served.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    ((_, half),) = requests(stage)
    assert half.reset


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reset_under_a_clients_address_ends_nothing(stage: Stage, family: Family) -> None:
    """Anybody can send one, and a SYN behind it that would be a new connection."""
    stage.program(world("a b d", **LOCAL))
    for _ in range(10):
        with talk(stage, node(family)) as connection:
            end = say(connection)
            way = crafted.Way(*connection.getsockname()[:1], node(family))
            way = way._replace(sport=connection.getsockname()[1], dport=NODEPORT)
            send(stage, crafted.segment(way, 12_345, crafted.RST))
            send(stage, crafted.segment(way, 777, crafted.SYN))
            settled(stage)
            assert say(connection) == end


@pytest.mark.parametrize("policy", [{}, LOCAL], ids=["Cluster", "Local"])
@pytest.mark.parametrize("words", [0, 1, 50])
def test_a_clients_own_reset_is_seen(stage: Stage, policy: dict[str, str], words: int) -> None:
    stage.program(world("a", **policy))
    with talk(stage, node(Family.IPV4)) as connection:
        for _ in range(words):
            say(connection)
        reset_on_close(connection)
    ((_, half),) = requests(stage)
    assert half.reset


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_of_before_meets_who_serves_now(stage: Stage, family: Family) -> None:
    """Which is nftables, as the Service has source ranges by now."""
    stage.program(world("a"))
    balancer = service_address(FIRST, family, "lb")
    with talk(stage, balancer, 80, source_address=("", 45_020)) as connection:
        assert say(connection) == "a:8080"
        reset_on_close(connection)
    stage.become(world("b", loadBalancerSourceRanges=["0.0.0.0/0", "::/0"]))
    with talk(stage, balancer, 80, source_address=("", 45_020)) as connection:
        assert say(connection) == "b:8080"
        reset_on_close(connection)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_of_before_dials_the_endpoint_itself(stage: Stage, family: Family) -> None:
    stage.program(world("a", **LOCAL))
    ends = (service_address(FIRST, family, "lb"), 80), (ADDRESSES["a"][family], 8080)
    for _ in range(2):
        for end in ends:
            with talk(stage, *end, source_address=("", 45_021)) as connection:
                assert say(connection) == "a:8080"
                reset_on_close(connection)
