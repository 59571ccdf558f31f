"""Which endpoint serves who comes from outside, while endpoints come and go."""

from __future__ import annotations

import threading

import pytest
from flows.places import service_address
from flows.world import FIRST, World
from scratch import until
from uplink_stage import (
    LOCAL,
    NODEPORT,
    Stage,
    datagrams,
    node,
    requests,
    say,
    talk,
    world,
)

from podwire_core.family import FAMILIES, Family
from podwire_core.objects import EndpointSlice, Service
from podwire_core.snapshot import Change

pytestmark = pytest.mark.usefixtures("attached")


# ---------------------------------------------------------------------------------- endpoints go


def test_an_open_connection_outlives_endpoint_and_service(stage: Stage) -> None:
    stage.program(world("a"))
    with talk(stage, node(Family.IPV4)) as connection:
        assert say(connection) == "a:8080"
        stage.become(world("b"))
        assert stage.ask("outside", [("tcp", node(Family.IPV4), NODEPORT)])[0].end == "b:8080"
        assert say(connection) == "a:8080"
        doomed = [row for row in stage.snapshot.changes() if row.kind in {Service, EndpointSlice}]
        stage.change(*(Change(row.kind, row.name, None) for row in doomed))
        assert say(connection) == "a:8080"


def test_an_open_connection_outlives_new_programs(stage: Stage) -> None:
    """An agent that restarts puts them there again, between two packets."""
    stage.program(world("a"))
    with talk(stage, node(Family.IPV6)) as connection:
        for _ in range(3):
            stage.attach()
            assert say(connection) == "a:8080"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_udp_conversation_moves_when_its_endpoint_goes(stage: Stage, family: Family) -> None:
    stage.program(world("a"))
    with datagrams(stage, family) as client:
        client.connect((node(family), NODEPORT))
        assert say(client) == "a:5353"
        stage.become(world("b"))
        assert say(client) == "b:5353"
        assert len(requests(stage)) == 1


def test_a_udp_conversation_goes_on_with_an_endpoint_that_is_ending(stage: Stage) -> None:
    stage.program(world("a"))
    with datagrams(stage, Family.IPV4) as client, datagrams(stage, Family.IPV4) as other:
        client.connect((node(Family.IPV4), NODEPORT))
        other.connect((node(Family.IPV4), NODEPORT))
        assert say(client) == "a:5353"
        stage.become(world("a!ending b"))
        assert say(client) == "a:5353"
        assert say(other) == "b:5353"


def test_a_thousand_connections_while_endpoints_come_and_go(stage: Stage) -> None:
    """Each is served; and who is no endpoint any more gets no new one."""
    stage.program(world("a b"))
    ended = threading.Event()
    worlds = [world(each) for each in ("a", "a b d", "b d", "a b")]

    def churn() -> None:
        while not ended.is_set():
            for each in worlds:
                stage.become(each)

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        targets = [("tcp", node(family), NODEPORT) for family in FAMILIES] * 250
        seen = [each.end for _ in range(2) for each in stage.ask("outside", targets)]

        def each_was_met() -> bool:
            seen.extend(each.end for each in stage.ask("outside", targets[:50]))
            return len(set(seen)) > 2

        until("each was met", each_was_met)
    finally:
        ended.set()
        churning.join()
    assert len(seen) > 1000
    assert set(seen) == {"a:8080", "b:8080", "d:8080"}
    stage.become(world("b"))
    assert {each.end for each in stage.ask("outside", targets[:50])} == {"b:8080"}


def test_no_endpoint_is_refused_by_nftables(stage: Stage) -> None:
    stage.program(world("a"))
    stage.become(world(""))
    targets = [(protocol, node(Family.IPV4), NODEPORT) for protocol in ("tcp", "udp")]
    assert [each.end for each in stage.ask("outside", targets)] == ["REJECT", "REJECT"]


# -------------------------------------------------------------------------------------- affinity


def sticky(endpoints: str, seconds: int = 10_800, **more: str) -> World:
    config = {"clientIP": {"timeoutSeconds": seconds}}
    return world(endpoints, sessionAffinity="ClientIP", sessionAffinityConfig=config, **more)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policy", [{}, LOCAL], ids=["Cluster", "Local"])
def test_a_client_returns_to_its_endpoint(
    stage: Stage, family: Family, policy: dict[str, str]
) -> None:
    stage.program(sticky("a b c", **policy))
    target = ("tcp", node(family), NODEPORT)
    (end,) = {each.end for each in stage.ask("outside", [target]) * 1}
    assert {each.end for each in stage.ask("outside", [target] * 20)} == {end}
    balancer = ("tcp", service_address(FIRST, family, "lb"), 80)
    assert {each.end for each in stage.ask("outside", [balancer] * 20)} == {end}


def test_a_client_whose_endpoint_went_has_another(stage: Stage) -> None:
    stage.program(sticky("a"))
    target = ("tcp", node(Family.IPV4), NODEPORT)
    assert stage.ask("outside", [target])[0].end == "a:8080"
    stage.become(sticky("a!ending b"))
    assert {each.end for each in stage.ask("outside", [target] * 10)} == {"b:8080"}
    stage.become(sticky("a b"))
    assert {each.end for each in stage.ask("outside", [target] * 10)} == {"b:8080"}


def test_a_client_returns_though_another_processor_wrote_a_moment_later(stage: Stage) -> None:
    stage.program(sticky("a b c", seconds=60))
    target = ("tcp", node(Family.IPV4), NODEPORT)
    (end,) = {each.end for each in stage.ask("outside", [target])}
    affinity = stage.plane.tables.affinity
    for _ in range(12):
        ((key, known),) = affinity.read().items()
        affinity.update({key: known._replace(last=known.last + 10**9)})
        assert {each.end for each in stage.ask("outside", [target])} == {end}


def test_a_client_is_forgotten_in_time(stage: Stage) -> None:
    stage.program(sticky("a b", seconds=1))
    target = ("tcp", node(Family.IPV4), NODEPORT)
    first = stage.ask("outside", [target])[0].end

    def elsewhere() -> bool:
        threading.Event().wait(1.1)
        return stage.ask("outside", [target])[0].end != first

    until("it meets the other one", elsewhere)
