"""Events of the programs, as a reader of the ring gets them."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator

import pytest
from caller import Caller
from scratch import Netns, until

from podwire_ebpf import layout
from podwire_ebpf.place import Place
from podwire_ebpf.plane import Plane, open_plane
from podwire_ebpf.records import Endpoint, Event, Flag, Frontend, FrontendKey
from podwire_ebpf.ring import Events
from podwire_ebpf.rows import Change

VIP = ("10.96.0.10", 53)
TCP, UDP = 6, 17
ROOM = layout.RING[1] // (layout.EVENT_SIZE + 8)


@pytest.fixture(scope="module")
def plane(compiled: Place) -> Iterator[Plane]:
    """UDP to the VIP goes to a port where nobody has to listen, as connect() sends nothing."""
    made = open_plane(compiled)
    served = Frontend(7, 1, first=(Endpoint("127.0.0.1", 5353),))
    refused = Frontend(8, 0)
    rows = {FrontendKey(*VIP, UDP): served, FrontendKey(*VIP, TCP): refused}
    made.apply(Change(frontends=rows))
    made.attach()
    made.settings(0, Flag.OBSERVED)
    yield made
    made.close()


@pytest.fixture
def events(plane: Plane) -> Iterator[Events]:
    made = plane.events()
    made.read()
    yield made
    made.close()


@pytest.fixture
def caller(new_netns: Callable[[], Netns], plane: Plane) -> Iterator[Caller]:
    with Caller(new_netns(), plane.place.cgroup) as made:
        yield made


def test_a_call_is_told_with_what_was_dialled_and_where_it_went(
    events: Events, caller: Caller
) -> None:
    caller.connect(*VIP, "udp")
    (event,) = events.read()
    assert isinstance(event, Event)
    assert (event.dialled, event.dialled_port) == VIP
    assert (event.endpoint, event.endpoint_port) == ("127.0.0.1", 5353)
    assert (event.protocol, event.hook) == (UDP, 10)
    assert event.namespace
    assert event.socket
    assert events.read() == []


def test_a_refused_call_is_told_without_an_endpoint(events: Events, caller: Caller) -> None:
    with pytest.raises(OSError, match="connect"):
        caller.connect(*VIP)
    (event,) = events.read()
    assert (event.protocol, event.endpoint, event.endpoint_port) == (TCP, "", 0)


def test_its_descriptor_is_readable_while_events_wait(events: Events, caller: Caller) -> None:
    with select.epoll() as epoll:
        epoll.register(events.fileno(), select.EPOLLIN)
        assert epoll.poll(0) == []
        caller.connect(*VIP, "udp")
        until("it is readable", lambda: bool(epoll.poll(0)))
        assert len(events.read()) == 1
        assert epoll.poll(0) == []


def test_a_read_is_bounded_and_the_next_goes_on(events: Events, caller: Caller) -> None:
    assert caller.many(*VIP, 50) == 50
    found = [events.read(20), events.read(20), events.read(20)]
    assert [len(part) for part in found] == [20, 20, 10]
    times = [event.time for part in found for event in part]
    assert times == sorted(times)


def test_a_full_ring_counts_what_it_lost_and_goes_on(events: Events, caller: Caller) -> None:
    before = events.lost
    count = ROOM + 500
    assert caller.many(*VIP, count) == count
    found = 0
    while part := events.read():
        found += len(part)
    assert found <= ROOM
    assert found + events.lost - before == count
    assert events.lost > before
    # It has wrapped by now, and every event is whole.
    assert caller.many(*VIP, 300) == 300
    again = events.read()
    assert len(again) == 300
    assert {event.dialled for event in again} == {VIP[0]}
    assert {event.endpoint for event in again} == {"127.0.0.1"}


def test_nobody_listens_nothing_is_written(plane: Plane, events: Events, caller: Caller) -> None:
    plane.settings(0)
    caller.connect(*VIP, "udp")
    assert events.read() == []
    plane.settings(0, Flag.OBSERVED)


def test_a_reader_that_comes_later_reads_what_waits(
    plane: Plane, events: Events, caller: Caller
) -> None:
    caller.connect(*VIP, "udp")
    later = plane.events()
    assert len(later.read()) == 1
    later.close()
    assert events.read() == [], "there is one position, so one reader at a time"
