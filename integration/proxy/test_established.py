"""Connections that are open already: rules decide where one begins, and nothing else of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flow_stage import Stage
from flows.objects import Port, Svc
from flows.places import service_address
from flows.world import FIRST, World

from podwire_core.family import Family
from podwire_core.objects import EndpointSlice, Service
from podwire_core.snapshot import Change

ADDRESS = service_address(FIRST, Family.IPV4)
Say = Callable[[], str]


def world(endpoints: str, **spec: Any) -> World:
    """Service `web` with these endpoints."""
    return World(endpoints or "none", (Svc("web", endpoints, Port(node=30080), **spec),), ())


def become(stage: Stage, after: World) -> None:
    """The cluster's objects become those of another world, piece by piece."""
    stage.change(*after.changes()[1])


@pytest.fixture
def conversation(stage: Stage) -> Iterator[Say]:
    """One connection of pod c to the Service; each call says a word and gives who answers."""
    stage.program(world("a"))
    with stage.netns["c"].inside():
        talk = socket.create_connection((ADDRESS, 80), timeout=5)
    with talk:

        def say() -> str:
            talk.sendall(b"hello\n")
            return talk.recv(4096).decode().split()[0]

        assert say() == "a:8080"
        yield say


def test_an_open_connection_outlives_its_endpoint(stage: Stage, conversation: Say) -> None:
    become(stage, world(""))
    assert stage.ask("c", [("tcp", ADDRESS, 80)])[0].end == "REJECT"
    assert conversation() == "a:8080"
    become(stage, world("b"))
    assert stage.ask("c", [("tcp", ADDRESS, 80)])[0].end == "b:8080"
    assert conversation() == "a:8080"


def test_an_open_connection_outlives_a_new_policy(stage: Stage, conversation: Say) -> None:
    become(stage, world("d", internalTrafficPolicy="Local"))
    assert stage.ask("c", [("tcp", ADDRESS, 80)], timeout=1)[0].end == "DROP"
    assert conversation() == "a:8080"


def test_an_open_connection_outlives_affinity(stage: Stage, conversation: Say) -> None:
    become(stage, world("a b", sessionAffinity="ClientIP"))
    assert conversation() == "a:8080"


def test_an_open_connection_outlives_its_service(stage: Stage, conversation: Say) -> None:
    doomed = [each for each in stage.snapshot.changes() if each.kind in {Service, EndpointSlice}]
    stage.change(*(Change(each.kind, each.name, None) for each in doomed))
    assert stage.ask("c", [("tcp", ADDRESS, 80)], timeout=1)[0].end == "DROP"
    assert conversation() == "a:8080"
