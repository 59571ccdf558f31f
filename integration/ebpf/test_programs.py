"""What the programs tell: canaries, events, counters; and that they are cheap to load."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from bpf_stage import ENDPOINTS4, ENDPOINTS6, PORT, TCP, UDP, Stage, cookie, refusal, who

from podwire_ebpf.records import Event, Flag, FrontendKey
from podwire_ebpf.ring import Events

VIP4, VIP6 = "10.96.0.10", "fd96::10"
CONNECT4, CONNECT6, SENDMSG4, SENDMSG6 = 10, 11, 14, 15  # enum bpf_attach_type

CANARIES = pytest.mark.parametrize(
    ("address", "family", "connect", "sendmsg"),
    [
        ("192.0.0.8", socket.AF_INET, CONNECT4, SENDMSG4),
        ("100::8", socket.AF_INET6, CONNECT6, SENDMSG6),
        ("::ffff:192.0.0.8", socket.AF_INET6, CONNECT6, SENDMSG4),
    ],
    ids=["IPv4", "IPv6", "mapped"],
)


@CANARIES
def test_canary_tells_where_it_sang_and_no_packet_leaves(
    on: Stage, address: str, family: socket.AddressFamily, connect: int, sendmsg: int
) -> None:
    with on.socket(on.b, family, socket.SOCK_DGRAM) as made:
        with pytest.raises(PermissionError):
            made.connect((address, 9))
        found = on.plane.tables.canaries.get(cookie(made))
        assert found
        assert found.hooks == 1 << connect
        with pytest.raises(PermissionError):
            made.sendto(b"", (address, 9))
        found = on.plane.tables.canaries.get(cookie(made))
        assert found
        assert (found.namespace, found.hooks) == (on.namespace(on.b), 1 << connect | 1 << sendmsg)
    with on.socket(on.b, family, socket.SOCK_STREAM) as made, pytest.raises(PermissionError):
        made.connect((address, 9))


def test_canary_of_another_port_is_an_address_like_others(on: Stage) -> None:
    with on.socket(on.b, socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.connect(("192.0.0.8", 10))
        assert on.plane.tables.canaries.get(cookie(made)) is None


# ------------------------------------------------------------------------------ events


def listening(on: Stage) -> Events:
    on.plane.settings(on.namespace(on.node), Flag.OBSERVED)
    events = on.plane.events()
    while events.read():
        pass
    return events


def test_translation_is_told_while_somebody_listens(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), ENDPOINTS4[0])
    events = listening(on)
    with on.dial(on.a, VIP4, 80) as made:
        (told,) = events.read()
        assert told == Event(
            time=told.time,
            namespace=on.namespace(on.a),
            socket=cookie(made),
            cgroup=on.place.cgroup.stat().st_ino,
            dialled=VIP4,
            endpoint=ENDPOINTS4[0],
            dialled_port=80,
            endpoint_port=PORT,
            protocol=TCP,
            hook=CONNECT4,
        )
    events.close()


def test_refusal_is_told_without_an_endpoint(on: Stage) -> None:
    on.serve(FrontendKey(VIP6, 80, UDP))
    events = listening(on)
    with on.socket(on.a, socket.AF_INET6, socket.SOCK_DGRAM) as made:
        with pytest.raises(refusal()):
            made.sendto(b"", (VIP6, 80))
        (told,) = events.read()
    assert (told.dialled, told.endpoint, told.hook) == (VIP6, "", SENDMSG6)
    events.close()


def test_datagrams_of_a_conversation_are_told_once(on: Stage) -> None:
    on.serve(FrontendKey(VIP6, 80, UDP), ENDPOINTS6[0])
    events = listening(on)
    with on.socket(on.a, socket.AF_INET6, socket.SOCK_DGRAM) as made:
        for _ in range(3):
            made.sendto(b"who?", (VIP6, 80))
    assert len(events.read()) == 1
    events.close()


def test_nothing_is_told_when_nobody_listens(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), ENDPOINTS4[0])
    events = listening(on)
    on.plane.settings(on.namespace(on.node))
    on.dial(on.a, VIP4, 80).close()
    assert events.read() == []
    events.close()


def test_calls_go_on_when_the_ring_is_full_and_what_is_lost_is_counted(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, UDP), ENDPOINTS4[0])
    events = listening(on)
    before, calls = events.lost, 16_000
    with on.socket(on.a, socket.AF_INET, socket.SOCK_DGRAM) as made:
        for _ in range(calls):
            made.connect((VIP4, 80))
    read = 0
    while part := events.read():
        read += len(part)
    assert read + events.lost - before == calls
    assert events.lost > before
    events.close()


# ------------------------------------------------------------------------------ many at once


def test_threads_on_all_processors_are_each_served(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), *ENDPOINTS4, counter=100)
    before, wrong = on.counted(100), []

    def work() -> None:
        for _ in range(50):
            with on.dial(on.a, VIP4, 80) as made:
                if made.getpeername() != (VIP4, 80) or who(made) not in ENDPOINTS4:
                    wrong.append(made.getpeername())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
    assert on.counted(100)[0] - before[0] == 400
    assert not on.plane.tables.peers.read()


def peer_in_the_kernel(made: socket.socket) -> str:
    """The peer that packets go to: that of the route, which no program translates back."""
    made.send(b"who?")
    return made.recv(100).decode()


def test_service_is_never_torn_while_it_changes(on: Stage) -> None:
    """Two Services change endpoints, and how many; nobody ever meets the other's."""
    mine, other = FrontendKey(VIP4, 80, UDP), FrontendKey(VIP4, 81, UDP)
    ended, met, wrong = threading.Event(), set[str](), []
    on.serve(mine, ENDPOINTS4[0])
    on.serve(other, ENDPOINTS4[2])

    def work() -> None:
        with on.socket(on.a, socket.AF_INET, socket.SOCK_DGRAM) as made:
            while not ended.is_set():
                made.connect((VIP4, 80))
                found = peer_in_the_kernel(made)
                met.add(found)
                if found not in ENDPOINTS4[:2]:
                    wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for each in threads:
        each.start()
    changes, deadline = 0, time.monotonic() + 60
    while changes < 600 or (len(met) < 2 and time.monotonic() < deadline):
        on.serve(other, *ENDPOINTS4[2:4], *[ENDPOINTS4[2]] * (changes % 30))
        on.serve(mine, *[ENDPOINTS4[changes % 2]] * (1 + changes % 30))
        changes += 1
    ended.set()
    for each in threads:
        each.join()
    assert not wrong
    assert met == set(ENDPOINTS4[:2])
