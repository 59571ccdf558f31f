"""The last drops, who follows them, and which of them are asked for."""

from __future__ import annotations

import os
import select
import threading
from typing import Any

import msgspec
import pytest
from drop_site import CHAIN, DB, DB6, FRONTEND, FRONTEND6, WORLD, ground, logged, packet, ports, tcp

from podwire_node.control.errors import ControlError
from podwire_node.control.request import Request
from podwire_node.observe.naming import make
from podwire_node.observe.record import Record
from podwire_node.observe.ring import Ring
from podwire_node.observe.verb import observe_verb
from podwire_node.observe.wanted import Wanted, decode_wanted


def records(*payloads: bytes) -> list[Record]:
    here = ground()
    made = [make(logged(payload, CHAIN), here) for payload in payloads]
    return [each for each in made if each]


TCP, UDP, PING, OUT = records(
    packet(FRONTEND, DB, 6, tcp(41320, 5432)),
    packet(FRONTEND6, DB6, 17, ports(4000, 53)),
    packet(FRONTEND, DB, 1, b"\x08\x00"),
    packet(DB, WORLD, 132, ports(4000, 80)),
)


def numbered(count: int) -> list[Record]:
    return [msgspec.structs.replace(TCP, chain=str(number)) for number in range(count)]


def test_the_oldest_go_and_who_reads_too_late_is_told() -> None:
    ring = Ring(size=4)
    ring.add(numbered(3))
    assert [each.chain for each in ring.all().records] == ["0", "1", "2"]
    position = ring.all().position
    ring.add(numbered(6))
    news = ring.since(position)
    assert [each.chain for each in news.records] == ["2", "3", "4", "5"]
    assert news.missed == 2
    assert ring.since(news.position).records == ()
    assert ring.all().missed == 0


def test_more_than_the_ring_holds_at_once_leaves_the_newest() -> None:
    ring = Ring(size=4)
    ring.add(numbered(10))
    assert [each.chain for each in ring.all().records] == ["6", "7", "8", "9"]


def test_a_bell_rings_for_each_who_follows() -> None:
    ring = Ring()
    with ring.bell() as one, ring.bell() as other:
        ring.add([])
        assert not select.select([one, other], [], [], 0)[0]
        ring.add([TCP])
        assert select.select([one, other], [], [], 0)[0] == [one, other]
        assert os.eventfd_read(one) == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [TCP, UDP, PING, OUT]),
        ({"pods": ["shop/front"]}, [TCP, UDP, PING]),
        ({"pods": ["shop/db", "shop/frontend"]}, [TCP, UDP, PING, OUT]),
        ({"pods": ["other/"]}, []),
        ({"namespaces": ["shop"]}, [TCP, UDP, PING, OUT]),
        ({"namespaces": ["sho"]}, []),
        ({"ports": [53, 80]}, [UDP, OUT]),
        ({"ports": [4000]}, [UDP, OUT]),
        ({"protocols": ["tcp", "icmp"]}, [TCP, PING]),
        ({"protocols": ["sctp"], "pods": ["shop/front"]}, []),
        ({"last": 2}, [PING, OUT]),
        ({"last": 1, "protocols": ["tcp"]}, [TCP]),
        ({"last": 0}, []),
    ],
)
def test_what_is_asked_for_is_answered(fields: dict[str, Any], expected: list[Record]) -> None:
    ring = Ring()
    ring.add([TCP, UDP, PING, OUT])
    assert list(observe_verb(ring)(Request("observe", fields))) == expected


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"last": -1}, "last"),
        ({"last": 5000}, "last"),
        ({"last": "all"}, "last"),
        ({"pods": "shop/db"}, "pods"),
        ({"ports": [0]}, "ports"),
        ({"ports": [1] * 65}, "ports"),
        ({"verdict": "forwarded"}, "verdict"),
    ],
)
def test_what_cannot_be_asked_for_is_one_error(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ControlError, match=field):
        decode_wanted(fields)


def test_a_follower_hears_the_past_then_what_comes_then_what_it_missed() -> None:
    ring = Ring(size=3)
    ring.add(numbered(3))
    answers = iter(observe_verb(ring)(Request("observe", {"follow": True, "last": 1})))
    assert next(answers) == ring.all().records[-1]
    assert next(answers) is None
    threading.Timer(0.05, ring.add, [numbered(5)]).start()
    assert next(answers) == {"lost_events": {"source": "HUBBLE_RING_BUFFER", "num_events_lost": 2}}
    assert [next(answers) for _ in range(3)] == [*ring.all().records]
    assert next(answers) is None


def test_a_filter_of_nothing_wants_all() -> None:
    assert all(map(Wanted().matches, (TCP, UDP, PING, OUT)))


def test_what_never_came_into_the_ring_is_counted_and_rings() -> None:
    ring = Ring(4)
    with ring.bell() as bell:
        ring.lose(0)
        ring.lose(3)
        assert os.eventfd_read(bell) == 1
    ring.lose(2)
    assert ring.all().unseen == 5
    assert ring.all().missed == 0
