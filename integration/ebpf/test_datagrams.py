"""Datagrams of sockets that do not connect(): where they go, and who is said to answer."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing

import pytest
from bpf_stage import ENDPOINTS4, ENDPOINTS6, PORT, UDP, Stage, cookie, family_of, refusal, who
from scratch import Netns

from podwire_core.family import Family
from podwire_core.sock_diag import CONNECTED, SockDiag
from podwire_core.sock_diag import UDP as UDP_SOCKETS
from podwire_ebpf.records import FrontendKey

VIP4, VIP6 = "10.96.0.10", "fd96::10"
NODE4, NODE6 = "10.8.1.1", "fd08:1::1"
CHAIN = 40

WAYS = pytest.mark.parametrize(
    ("vip", "endpoints", "mapped"),
    [(VIP4, ENDPOINTS4, False), (VIP6, ENDPOINTS6, False), (VIP4, ENDPOINTS4, True)],
    ids=["IPv4", "IPv6", "mapped"],
)


def shown(address: str, *, mapped: bool) -> str:
    return f"::ffff:{address}" if mapped else address


def unconnected(on: Stage, where: Netns, target: str) -> socket.socket:
    return on.socket(where, family_of(target), socket.SOCK_DGRAM)


def ask(made: socket.socket, target: str, port: int) -> tuple[str, tuple[str, int]]:
    """Who answered, and where the answer is said to come from."""
    made.sendto(b"who?", (target, port))
    told, sender = made.recvfrom(100)
    return told.decode(), sender[:2]


@WAYS
def test_answer_comes_from_what_was_dialled(
    on: Stage, vip: str, endpoints: tuple[str, ...], mapped: bool
) -> None:
    on.serve(FrontendKey(vip, 53, UDP), endpoints[0])
    target = shown(vip, mapped=mapped)
    with unconnected(on, on.a, target) as made:
        assert ask(made, target, 53) == (endpoints[0], (target, 53))


@WAYS
def test_socket_stays_with_its_endpoint(
    on: Stage, vip: str, endpoints: tuple[str, ...], mapped: bool
) -> None:
    on.serve(FrontendKey(vip, 53, UDP), *endpoints)
    target = shown(vip, mapped=mapped)
    met = set()
    for _ in range(80):  # one of four is never met: 4 * (3/4)**80
        with unconnected(on, on.a, target) as made:
            answers = {ask(made, target, 53)[0] for _ in range(3)}
            assert len(answers) == 1
            met |= answers
    assert met == set(endpoints), "and sockets are spread"


@WAYS
def test_socket_stays_with_its_endpoint_while_that_serves(
    on: Stage, vip: str, endpoints: tuple[str, ...], mapped: bool
) -> None:
    key, target = FrontendKey(vip, 53, UDP), shown(vip, mapped=mapped)
    first, *others = endpoints
    with ExitStack() as open_sockets:
        on.serve(key, first)
        made = [open_sockets.enter_context(unconnected(on, on.a, target)) for _ in range(16)]

        def heard() -> set[str]:
            return {ask(each, target, 53)[0] for each in made}

        assert heard() == {first}
        on.serve(key, *others, first)
        assert heard() == {first}, "whatever comes"
        on.serve(key, others[0], first)
        assert heard() == {first}, "whatever else goes"
        on.serve(key, *others, ending=frozenset({first}))
        assert heard() == {first}, "while it serves as it ends"
        on.serve(key, *others)
        assert heard() <= set(others)
        assert len(heard()) > 1
        moved = [ask(each, target, 53)[0] for each in made]
        on.serve(key, first, *others)
        assert [ask(each, target, 53)[0] for each in made] == moved, "and where it went it stays"


@WAYS
def test_no_endpoint_refuses_each_datagram(
    on: Stage, vip: str, endpoints: tuple[str, ...], mapped: bool
) -> None:
    before = on.counted(9)
    on.serve(FrontendKey(vip, 53, UDP), counter=9)
    target = shown(vip, mapped=mapped)
    with unconnected(on, on.a, target) as made:
        for _ in range(2):
            with pytest.raises(refusal()):
                made.sendto(b"who?", (target, 53))
        on.serve(FrontendKey(vip, 53, UDP), endpoints[0], counter=9)
        assert ask(made, target, 53)[0] == endpoints[0], "the same socket serves again"
    assert on.counted(9) == (before[0] + 1, before[1] + 2)


def test_conversation_is_counted_once(on: Stage) -> None:
    before = on.counted(10)
    on.serve(FrontendKey(VIP4, 53, UDP), ENDPOINTS4[0], counter=10)
    with unconnected(on, on.a, VIP4) as made:
        for _ in range(5):
            ask(made, VIP4, 53)
    assert on.counted(10) == (before[0] + 1, before[1])


@pytest.mark.parametrize(
    ("address", "wildcard", "endpoint"),
    [(NODE4, "0.0.0.0", ENDPOINTS4[0]), (NODE6, "::", ENDPOINTS6[0])],
    ids=["IPv4", "IPv6"],
)
def test_node_port_answers(on: Stage, address: str, wildcard: str, endpoint: str) -> None:
    on.serve(FrontendKey(wildcard, 30053, UDP), endpoint)
    on.answers_at(address)
    with unconnected(on, on.a, address) as made:
        assert ask(made, address, 30053) == (endpoint, (address, 30053))


@pytest.mark.parametrize(
    ("address", "wildcard", "endpoint"),
    [("127.0.0.1", "0.0.0.0", ENDPOINTS4[0]), ("::1", "::", ENDPOINTS6[0])],
    ids=["IPv4", "IPv6"],
)
def test_node_port_answers_at_the_loopback(
    on: Stage, address: str, wildcard: str, endpoint: str
) -> None:
    on.serve(FrontendKey(wildcard, 30053, UDP), endpoint)
    on.localhost()
    with unconnected(on, on.node, address) as made:
        assert ask(made, address, 30053) == (endpoint, (address, 30053))


# ------------------------------------------------------------------------------ many peers


def test_endpoint_that_is_asked_itself_answers_as_itself(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 53, UDP), ENDPOINTS4[0])
    with unconnected(on, on.a, VIP4) as made:
        assert ask(made, ENDPOINTS4[0], PORT)[1] == (ENDPOINTS4[0], PORT)
        assert ask(made, VIP4, 53)[1] == (VIP4, 53)
        assert ask(made, ENDPOINTS4[0], PORT)[1] == (ENDPOINTS4[0], PORT)
        assert ask(made, VIP4, 53)[1] == (VIP4, 53), "what was dialled last is shown"


def test_two_services_of_one_endpoint_show_what_was_dialled_last(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 53, UDP), ENDPOINTS4[0])
    on.serve(FrontendKey(VIP4, 54, UDP), ENDPOINTS4[0])
    with unconnected(on, on.a, VIP4) as made:
        for port in (53, 54, 54, 53):
            assert ask(made, VIP4, port)[1] == (VIP4, port)


def test_services_of_several_endpoints_are_kept_apart(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 53, UDP), ENDPOINTS4[0])
    on.serve(FrontendKey(VIP4, 54, UDP), ENDPOINTS4[1])
    with unconnected(on, on.a, VIP4) as made:
        made.sendto(b"who?", (VIP4, 53))
        made.sendto(b"who?", (VIP4, 54))
        told = {made.recvfrom(100) for _ in range(2)}
    assert told == {
        (ENDPOINTS4[0].encode(), (VIP4, 53)),
        (ENDPOINTS4[1].encode(), (VIP4, 54)),
    }


def test_connected_socket_may_send_elsewhere(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 53, UDP), ENDPOINTS4[0])
    with on.talk(on.a, ENDPOINTS4[1], PORT) as made:
        assert made.sendto(b"who?", (VIP4, 53))
        assert on.remembered(made) == {(ENDPOINTS4[0], PORT)}
        assert made.getpeername() == (ENDPOINTS4[1], PORT)


@WAYS
def test_connected_socket_that_sends_to_its_service_by_name_is_answered(
    on: Stage, vip: str, endpoints: tuple[str, ...], mapped: bool
) -> None:
    key, target = FrontendKey(vip, 53, UDP), shown(vip, mapped=mapped)
    on.serve(key, *endpoints)
    with ExitStack() as open_sockets:
        talks = [
            open_sockets.enter_context(on.talk(on.a, vip, 53, mapped=mapped)) for _ in range(8)
        ]
        before = [who(each) for each in talks]
        assert [ask(each, target, 53) for each in talks] == [
            (each, (target, 53)) for each in before
        ]
        on.serve(key, *endpoints[1:])
        assert [ask(each, target, 53)[0] for each in talks] == before, "the peer is the peer"
        assert {each.getpeername()[:2] for each in talks} == {(target, 53)}


@WAYS
def test_socket_that_connects_goes_where_it_sent_before(
    on: Stage, vip: str, endpoints: tuple[str, ...], mapped: bool
) -> None:
    on.serve(FrontendKey(vip, 53, UDP), *endpoints)
    target = shown(vip, mapped=mapped)
    for _ in range(8):
        with unconnected(on, on.a, target) as made:
            before = ask(made, target, 53)[0]
            made.connect((target, 53))
            assert who(made) == before


@pytest.mark.parametrize(
    ("endpoints", "mapped"),
    [(ENDPOINTS4, False), (ENDPOINTS6, False), (ENDPOINTS4, True)],
    ids=["IPv4", "IPv6", "mapped"],
)
def test_connected_socket_is_left_alone_when_its_peer_becomes_a_service(
    on: Stage, endpoints: tuple[str, ...], mapped: bool
) -> None:
    with on.talk(on.a, endpoints[0], PORT, mapped=mapped) as made:
        on.serve(FrontendKey(endpoints[0], PORT, UDP), endpoints[1])
        assert who(made) == endpoints[0]
        target = shown(endpoints[0], mapped=mapped)
        assert ask(made, target, PORT) == (endpoints[0], (target, PORT))


def test_peers_name_stays_whatever_service_leads_there(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 53, UDP), ENDPOINTS4[0])
    on.serve(FrontendKey(VIP4, 54, UDP), ENDPOINTS4[0])
    with on.talk(on.a, VIP4, 53) as made:
        assert ask(made, VIP4, 54)[0] == ENDPOINTS4[0]
        assert made.getpeername() == (VIP4, 53)
    with on.talk(on.a, ENDPOINTS4[0], PORT) as made:
        assert ask(made, VIP4, 53)[0] == ENDPOINTS4[0]
        assert made.getpeername() == (ENDPOINTS4[0], PORT)


@pytest.mark.parametrize("mapped", [False, True], ids=["IPv4", "mapped"])
def test_connected_socket_hears_what_it_dialled(on: Stage, mapped: bool) -> None:
    on.serve(FrontendKey(VIP4, 53, UDP), ENDPOINTS4[0])
    with on.talk(on.a, VIP4, 53, mapped=mapped) as made:
        for _ in range(2):
            made.send(b"who?")
            assert made.recvfrom(100)[1][:2] == (shown(VIP4, mapped=mapped), 53)


def test_stranger_is_shown_as_it_is(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 53, UDP), ENDPOINTS4[0])
    with unconnected(on, on.a, VIP4) as made, unconnected(on, on.b, VIP4) as stranger:
        ask(made, VIP4, 53)
        stranger.sendto(b"hello", ("10.8.1.2", made.getsockname()[1]))
        assert made.recvfrom(100)[1][0] == "10.8.2.2"


def test_deleted_service_answers_no_more(on: Stage) -> None:
    key = FrontendKey(VIP4, 53, UDP)
    on.serve(key, ENDPOINTS4[0])
    with unconnected(on, on.a, VIP4) as made:
        made.sendto(b"who?", (VIP4, 53))
        on.withdraw(key)
        assert made.recvfrom(100)[1] == (ENDPOINTS4[0], PORT)


def test_late_answer_of_an_endpoint_that_went_is_the_services(on: Stage) -> None:
    key = FrontendKey(VIP4, 53, UDP)
    on.serve(key, ENDPOINTS4[0])
    with unconnected(on, on.a, VIP4) as made:
        made.sendto(b"who?", (VIP4, 53))
        on.serve(key, ENDPOINTS4[1])
        assert made.recvfrom(100) == (ENDPOINTS4[0].encode(), (VIP4, 53))
        assert ask(made, VIP4, 53) == (ENDPOINTS4[1], (VIP4, 53))


# ------------------------------------------------------------------------------ affinity


def test_sockets_of_a_pod_share_their_endpoint(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 53, UDP), *ENDPOINTS4, affinity=600)
    met = set()
    for _ in range(8):
        with unconnected(on, on.a, VIP4) as made:
            met.add(ask(made, VIP4, 53)[0])
    assert len(met) == 1


def test_socket_stays_though_its_pod_is_sent_elsewhere(on: Stage) -> None:
    key = FrontendKey(VIP4, 53, UDP)
    on.serve(key, *ENDPOINTS4, affinity=600)
    with unconnected(on, on.a, VIP4) as made:
        before = ask(made, VIP4, 53)[0]
        affinity = on.plane.tables.affinity
        (row,) = affinity.read()
        (other, *_) = (each for each in ENDPOINTS4 if each != before)
        affinity.update({row: affinity.read()[row]._replace(address=other)})
        with unconnected(on, on.a, VIP4) as newer:
            assert ask(newer, VIP4, 53)[0] == other
        assert ask(made, VIP4, 53)[0] == before


# ------------------------------------------------------------------------------ closing


def entries(on: Stage, number: int) -> int:
    return sum(key.socket == number for key in on.plane.tables.reverse.read())


@pytest.mark.parametrize("port", [None, 60, 51, 54], ids=["not", "anew", "the first", "the last"])
def test_closed_socket_leaves_nothing_of_many_conversations(on: Stage, port: int | None) -> None:
    """The socket has talked to 51 to 54, when it connects to one of them, or to another."""
    for number in range(1, 5):
        on.serve(FrontendKey(VIP4, 50 + number, UDP), ENDPOINTS4[number - 1])
        on.serve(FrontendKey(VIP6, 50 + number, UDP), ENDPOINTS6[number - 1])
    on.serve(FrontendKey(VIP4, 60, UDP), "10.9.0.99")
    with unconnected(on, on.a, VIP4) as made, unconnected(on, on.a, VIP6) as other:
        for number in range(1, 5):
            ask(made, VIP4, 50 + number)
            ask(other, VIP6, 50 + number)
        if port:
            made.connect((VIP4, port))
        numbers = [cookie(made), cookie(other)]
        assert [entries(on, each) for each in numbers] == [9 + (port == 60), 9]
    assert [entries(on, each) for each in numbers] == [0, 0]


def connects_again_and_again(on: Stage, made: socket.socket, vip: str, where: str) -> None:
    for number in range(10):
        key = FrontendKey(vip, 1000 + number, UDP)
        on.serve(key, f"fd09::1:{number}" if key.address.count(":") else f"10.9.1.{number}")
        made.connect((where, key.port))


def disconnects(_on: Stage, made: socket.socket, _vip: str, _where: str) -> None:
    unspecified = bytes(28)  # a struct sockaddr of AF_UNSPEC
    assert ctypes.CDLL(None).connect(made.fileno(), unspecified, len(unspecified)) == 0


def connects_to_no_service(_on: Stage, made: socket.socket, _vip: str, where: str) -> None:
    made.connect((where, 9999))


def is_destroyed(on: Stage, made: socket.socket, _vip: str, _where: str) -> None:
    family = Family.IPV6 if made.family == socket.AF_INET6 else Family.IPV4
    with on.a.inside():
        diag = SockDiag()
    with closing(diag):
        found = diag.sockets(family, UDP_SOCKETS, CONNECTED[UDP_SOCKETS])
        assert diag.destroy([each for each in found if each.cookie == cookie(made)]) == 1


@WAYS
@pytest.mark.parametrize(
    "meanwhile", [connects_again_and_again, disconnects, connects_to_no_service, is_destroyed]
)
def test_closed_socket_leaves_nothing_of_what_it_connected_to(
    on: Stage,
    vip: str,
    endpoints: tuple[str, ...],
    mapped: bool,
    meanwhile: Callable[[Stage, socket.socket, str, str], None],
) -> None:
    on.serve(FrontendKey(vip, 53, UDP), endpoints[0])
    with on.talk(on.a, vip, 53, mapped=mapped) as made:
        number = cookie(made)
        assert entries(on, number) == 2
        meanwhile(on, made, vip, shown(vip, mapped=mapped))
    assert entries(on, number) == 0


def test_longest_chain_is_bounded(on: Stage) -> None:
    for number in range(CHAIN):
        on.serve(FrontendKey(VIP4, 1000 + number, UDP), f"10.9.1.{number + 1}")
    with unconnected(on, on.a, VIP4) as made:
        for number in range(CHAIN):
            made.sendto(b"who?", (VIP4, 1000 + number))
        number = cookie(made)
        assert entries(on, number) == 2 * CHAIN + 1
    assert entries(on, number) == 2 * (CHAIN - 32), "the rest goes by the map's own age"
