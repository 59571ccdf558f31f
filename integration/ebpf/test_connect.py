"""connect() and getpeername(): both protocols, both families, and dual-stack sockets."""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter

import kernel_features
import pytest
from bpf_stage import (
    ENDPOINTS4,
    ENDPOINTS6,
    PORT,
    TCP,
    UDP,
    Stage,
    cookie,
    refusal,
    who,
)

from podwire_ebpf.records import FrontendKey

VIP4, VIP6 = "10.96.0.10", "fd96::10"

BOTH = pytest.mark.parametrize(
    ("vip", "endpoints"), [(VIP4, ENDPOINTS4), (VIP6, ENDPOINTS6)], ids=["IPv4", "IPv6"]
)
WAYS = pytest.mark.parametrize(
    ("vip", "endpoints", "mapped"),
    [(VIP4, ENDPOINTS4, False), (VIP6, ENDPOINTS6, False), (VIP4, ENDPOINTS4, True)],
    ids=["IPv4", "IPv6", "mapped"],
)
PROTOCOLS = pytest.mark.parametrize("protocol", [TCP, UDP], ids=["TCP", "UDP"])


def call(on: Stage, protocol: int, vip: str, port: int, *, mapped: bool = False) -> socket.socket:
    dial = on.dial if protocol == TCP else on.talk
    return dial(on.a, vip, port, mapped=mapped)


def shown(address: str, *, mapped: bool) -> str:
    return f"::ffff:{address}" if mapped else address


@PROTOCOLS
@WAYS
def test_what_is_dialled_is_an_endpoint(
    on: Stage, vip: str, endpoints: tuple[str, ...], mapped: bool, protocol: int
) -> None:
    on.serve(FrontendKey(vip, 80, protocol), *endpoints)
    answers = Counter()
    for _ in range(80):  # one of four is never met: 4 * (3/4)**80
        with call(on, protocol, vip, 80, mapped=mapped) as made:
            answers[who(made)] += 1
    assert answers.keys() == set(endpoints), "each has its share"


@PROTOCOLS
@WAYS
def test_peer_is_what_was_dialled(
    on: Stage, vip: str, endpoints: tuple[str, ...], mapped: bool, protocol: int
) -> None:
    on.serve(FrontendKey(vip, 80, protocol), endpoints[0])
    with call(on, protocol, vip, 80, mapped=mapped) as made:
        assert made.getpeername()[:2] == (shown(vip, mapped=mapped), 80)
        assert who(made) == endpoints[0]
        assert made.getpeername()[:2] == (shown(vip, mapped=mapped), 80), "also after it has sent"


@PROTOCOLS
@pytest.mark.parametrize(
    ("vip", "mapped"), [(VIP4, False), (VIP6, False), (VIP4, True)], ids=["IPv4", "IPv6", "mapped"]
)
def test_no_endpoint_refuses_at_once(on: Stage, vip: str, mapped: bool, protocol: int) -> None:
    before = on.counted(7)
    on.serve(FrontendKey(vip, 80, protocol), counter=7)
    with pytest.raises(refusal()):
        call(on, protocol, vip, 80, mapped=mapped)
    assert on.counted(7) == (before[0], before[1] + 1)


@BOTH
def test_endpoint_that_is_dialled_itself_is_shown_as_it_is(
    on: Stage, vip: str, endpoints: tuple[str, ...]
) -> None:
    on.serve(FrontendKey(vip, 80, TCP), endpoints[0])
    with on.dial(on.a, endpoints[0], PORT) as made:
        assert made.getpeername()[:2] == (endpoints[0], PORT)
        assert who(made) == endpoints[0]
        assert not on.remembered(made)


def test_protocols_and_ports_are_services_of_their_own(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), ENDPOINTS4[0])
    on.serve(FrontendKey(VIP4, 80, UDP), ENDPOINTS4[1])
    on.serve(FrontendKey(VIP4, 81, TCP), ENDPOINTS4[2])
    with (
        on.dial(on.a, VIP4, 80) as first,
        on.talk(on.a, VIP4, 80) as second,
        on.dial(on.a, VIP4, 81) as third,
    ):
        assert [who(each) for each in (first, second, third)] == list(ENDPOINTS4[:3])


def test_slots_past_the_frontends_own_are_served(on: Stage) -> None:
    key = FrontendKey(VIP4, 80, UDP)
    on.serve(key, *[ENDPOINTS4[0]] * 16, *[ENDPOINTS4[1]] * 400)
    answers = Counter()
    for _ in range(60):
        with on.talk(on.a, VIP4, 80) as made:
            answers[who(made)] += 1
    assert answers[ENDPOINTS4[1]] > answers[ENDPOINTS4[0]]


def test_slot_that_is_missing_passes_untouched(on: Stage) -> None:
    key = FrontendKey(VIP4, 80, UDP)
    on.serve(key, *[ENDPOINTS4[0]] * 400)
    on.plane.tables.endpoints.delete(on.plane.tables.endpoints.read())
    told = Counter()
    for _ in range(50):
        with on.talk(on.a, VIP4, 80) as made:
            told[bool(on.remembered(made))] += 1
    assert told[False] > told[True], "it was not refused, and nobody else was dialled"


def test_endpoint_with_another_seal_is_not_dialled(on: Stage) -> None:
    key = FrontendKey(VIP4, 80, UDP)
    on.serve(key, ENDPOINTS4[0])
    other = key._replace(port=81)
    frontends = on.plane.tables.frontends
    raw = frontends.layout.value.pack(key, frontends.read()[key])
    forged = frontends.layout.value.unpack(raw)
    assert forged.first
    on.serve(other, ENDPOINTS4[1])
    _write_raw(on, other, raw)
    with on.talk(on.a, VIP4, 81) as made:
        assert not on.remembered(made), "what stands there is another frontend's"


def _write_raw(on: Stage, key: FrontendKey, raw: bytes) -> None:
    from podwire_ebpf import syscall  # noqa: PLC0415 - what no writer of rows would do

    frontends = on.plane.tables.frontends
    syscall.update(frontends.descriptor, frontends.layout.key.pack(key), raw)


# ------------------------------------------------------------------------------ a socket's life


@PROTOCOLS
@BOTH
def test_closed_socket_leaves_nothing(
    on: Stage, vip: str, endpoints: tuple[str, ...], protocol: int
) -> None:
    on.serve(FrontendKey(vip, 80, protocol), endpoints[0])
    made = call(on, protocol, vip, 80)
    assert on.remembered(made) == {(endpoints[0], PORT)}
    number = cookie(made)
    made.close()
    tables = on.plane.tables
    assert number not in {key.socket for key in tables.reverse.read()}
    assert number not in {peer.socket for peer in tables.peers.read().values()}


def test_socket_whose_place_is_taken_is_remembered_elsewhere(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), *ENDPOINTS4)
    tables = on.plane.tables
    with on.dial(on.a, VIP4, 80) as first, neighbour(on, first) as second:
        second.connect((VIP4, 80))
        assert {key.socket for key in tables.reverse.read()} == {cookie(first)}
        for made in (first, second):
            assert len(on.remembered(made)) == 1
            assert (who(made), PORT) in on.remembered(made)
            assert made.getpeername() == (VIP4, 80)
    assert not tables.reverse.read()
    assert not any(each.socket for each in tables.peers.read().values())


def test_place_whose_socket_closed_unseen_serves_again(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), ENDPOINTS4[0])
    peers = on.plane.tables.peers
    with on.dial(on.a, VIP4, 80) as made, neighbour(on, made) as later:
        place, held = next(each for each in peers.read().items() if each[1].socket == cookie(made))
        peers.update({place: held._replace(socket=(1 << 60) + place)})
        later.connect((VIP4, 80))
        assert peers.read()[place].socket == cookie(later)
        assert {key.socket for key in on.plane.tables.reverse.read()} == {(1 << 60) + place}


def neighbour(on: Stage, of: socket.socket) -> socket.socket:
    """Another socket, with the same place."""
    places = on.plane.tables.peers.layout.max_entries
    for _ in range(10 * places):
        made = on.socket(on.a, socket.AF_INET, socket.SOCK_STREAM)
        if cookie(made) % places == cookie(of) % places:
            return made
        made.close()
    raise AssertionError("no cookie met the place")


def test_udp_socket_that_dials_again_shows_the_newest(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, UDP), ENDPOINTS4[0])
    on.serve(FrontendKey(VIP4, 81, UDP), ENDPOINTS4[1])
    with on.talk(on.a, VIP4, 80) as made:
        made.connect((VIP4, 81))
        assert made.getpeername() == (VIP4, 81)
        assert who(made) == ENDPOINTS4[1]
        made.connect((VIP4, 80))
        assert made.getpeername() == (VIP4, 80)
        assert who(made) == ENDPOINTS4[0]


def test_peer_of_two_services_is_named_as_connect_named_it(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, UDP), ENDPOINTS4[0])
    on.serve(FrontendKey(VIP4, 81, UDP), ENDPOINTS4[0])
    with on.talk(on.a, VIP4, 80) as made:
        made.connect((VIP4, 81))
        assert made.getpeername() == (VIP4, 81)
        assert made.sendto(b"who?", (VIP4, 80))
        assert made.recvfrom(100)[1] == (VIP4, 81)
        assert made.getpeername() == (VIP4, 81)


def test_udp_socket_that_then_dials_the_endpoint_itself_shows_the_endpoint(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, UDP), ENDPOINTS4[0])
    with on.talk(on.a, VIP4, 80) as made:
        made.connect((ENDPOINTS4[0], PORT))
        assert made.getpeername() == (ENDPOINTS4[0], PORT)


def test_socket_can_be_disconnected_and_dial_again(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, UDP), ENDPOINTS4[0])
    with on.talk(on.a, VIP4, 80) as made:
        _disconnect(made)
        with pytest.raises(OSError, match="not connected"):
            made.getpeername()
        made.connect((VIP4, 80))
        assert who(made) == ENDPOINTS4[0]


def _disconnect(made: socket.socket) -> None:
    """connect() to AF_UNSPEC, which Python's socket has no address for."""
    import ctypes  # noqa: PLC0415 - for this one call

    code = ctypes.CDLL(None, use_errno=True).connect(made.fileno(), bytes(16), 16)
    assert code == 0, os.strerror(ctypes.get_errno())


def test_call_that_does_not_wait_is_translated_too(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), ENDPOINTS4[0])
    with on.socket(on.a, socket.AF_INET, socket.SOCK_STREAM) as made:
        made.setblocking(False)
        assert made.connect_ex((VIP4, 80)) == errno.EINPROGRESS
        made.settimeout(20)
        assert who(made) == ENDPOINTS4[0]


def test_call_with_its_first_bytes_is_translated_too(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), ENDPOINTS4[0])
    with on.socket(on.a, socket.AF_INET, socket.SOCK_STREAM) as made:
        made.setblocking(True)
        made.sendto(b"who?\n", socket.MSG_FASTOPEN, (VIP4, 80))
        assert made.recv(100).decode() == ENDPOINTS4[0]
        assert made.getpeername() == (VIP4, 80)


def test_tcp_socket_that_was_refused_and_dials_the_endpoint_itself_shows_it(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), ENDPOINTS4[0])
    with on.socket(on.a, socket.AF_INET, socket.SOCK_STREAM) as made:
        made.setblocking(False)
        assert made.connect_ex((VIP4, 80)) == errno.EINPROGRESS
        _disconnect(made)
        made.settimeout(20)
        made.connect((ENDPOINTS4[0], PORT))
        assert made.getpeername() == (ENDPOINTS4[0], PORT)


def test_connections_are_counted_once_each(on: Stage) -> None:
    before = on.counted(70)
    on.serve(FrontendKey(VIP4, 80, TCP), ENDPOINTS4[0], counter=70)
    on.serve(FrontendKey(VIP4, 81, UDP), ENDPOINTS4[0], counter=70)
    for _ in range(3):
        on.dial(on.a, VIP4, 80).close()
        on.talk(on.a, VIP4, 81).close()
    assert on.counted(70) == (before[0] + 6, before[1])
    assert on.counted(71) == (0, 0), "its neighbour"


# ------------------------------------------------------------------------------ what passes


@pytest.mark.parametrize("kind", ["raw", "ping"])
def test_socket_without_ports_passes(on: Stage, kind: str) -> None:
    on.a.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    on.serve(FrontendKey(VIP4, 80, UDP), ENDPOINTS4[0])
    with on.a.inside():
        made = (
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
            if kind == "raw"
            else socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        )
    with made:
        made.connect((VIP4, 80))
        assert made.getpeername()[0] == VIP4
        assert not on.remembered(made)


def test_udp_lite_passes(on: Stage) -> None:
    kernel_features.needs("udp_lite")
    on.serve(FrontendKey(VIP4, 80, UDP), ENDPOINTS4[0])
    with on.a.inside():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDPLITE)
    with made:
        made.connect((VIP4, 80))
        assert not on.remembered(made)


def test_socket_of_another_cgroup_passes(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, UDP), ENDPOINTS4[0])
    home = on.place.cgroup.parent / "cgroup.procs"
    home.write_text(str(os.getpid()))
    try:
        made = on.talk(on.a, VIP4, 80)
    finally:
        (on.place.cgroup / "cgroup.procs").write_text(str(os.getpid()))
    with made:
        assert not on.remembered(made)
