"""How many ports and connections there may be, and who goes when there are more."""

from __future__ import annotations

import resource

import pytest

from podwire_core.objects import ObjectName
from podwire_node.web import descriptors
from podwire_node.web.checks import share_out
from podwire_node.web.room import Room
from podwire_proxy.health import HealthCheck


class Guest:
    """Notes that it was hung up on."""

    def __init__(self) -> None:
        self.ended = False

    def end(self) -> None:
        self.ended = True


def filled(room: Room, site: str, number: int) -> list[Guest]:
    guests = [Guest() for _ in range(number)]
    room.open(site)
    for each in guests:
        room.enter(site, each)
    return guests


def name(text: str) -> ObjectName:
    return ObjectName("shop", text)


def test_the_oldest_of_a_full_site_goes() -> None:
    room = Room(a_site=3, in_all=10)
    guests = filled(room, "one", 5)
    assert [each.ended for each in guests] == [True, True, False, False, False]
    assert len(room) == 3


def test_when_all_is_full_the_site_with_most_loses_its_oldest() -> None:
    room = Room(a_site=8, in_all=10)
    greedy, modest = filled(room, "greedy", 8), filled(room, "modest", 4)
    assert [each.ended for each in greedy] == [True] * 2 + [False] * 6
    assert not any(each.ended for each in modest)


def test_who_left_leaves_room_once() -> None:
    room = Room(a_site=2, in_all=2)
    first, second = filled(room, "one", 2)
    room.leave("one", first)
    room.leave("one", first)
    filled(room, "two", 1)
    assert not second.ended
    assert len(room) == 2


def test_a_site_that_closes_ends_its_own_guests() -> None:
    room = Room()
    here, there = filled(room, "one", 3), filled(room, "two", 2)
    room.close("one")
    assert all(each.ended for each in here)
    assert not any(each.ended for each in there)
    assert len(room) == 2


def test_who_was_accepted_while_a_site_closed_does_not_stay() -> None:
    room, late = Room(), Guest()
    room.open("one")
    room.close("one")
    room.enter("one", late)
    assert late.ended
    assert len(room) == 0


def test_two_services_with_one_port_the_first_by_name_has_it() -> None:
    shares = share_out({name("b"): HealthCheck(30000, 1), name("a"): HealthCheck(30000, 1)})
    assert shares.granted == {name("a"): 30000}
    assert shares.refused == {name("b"): "port 30000 is that of Service shop/a already"}


def test_the_thousand_and_first_port_is_refused() -> None:
    checks = {name(f"s{number:04}"): HealthCheck(30000 + number, 1) for number in range(1001)}
    shares = share_out(checks)
    assert len(shares.granted) == 1000
    assert shares.refused == {name("s1000"): "there are more than 1000; this one is not served"}


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port_is_refused(port: int) -> None:
    assert "no port" in share_out({name("a"): HealthCheck(port, 1)}).refused[name("a")]


@pytest.mark.parametrize(
    ("limits", "ports", "asked"),
    [
        ((1024, 1_048_576), 1000, 1912),
        ((1024, 1024), 112, 1024),
        ((256, 256), 0, 256),
        ((1_048_576, 1_048_576), 1000, None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 1000, None),
    ],
    ids=["asks for more", "may not have more", "hardly any", "has enough", "no limit"],
)
def test_ports_leave_descriptors_for_the_rest_of_the_agent(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], ports: int, asked: int | None
) -> None:
    asked_for: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: asked_for.append(both[0]))
    assert descriptors.make_room() == ports
    assert asked_for == ([] if asked is None else [asked])
