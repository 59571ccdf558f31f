"""Whatever happens to Services, the maps end where one sync from scratch does, and never lie."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_stage import endpoints, pod_address, service, sticky
from service_histories import HISTORIES, OPTIONS
from socket_programs import SocketPrograms
from socket_stage import Answer, SocketStage, adopted, answer, state, watched

from podwire_core.snapshot import Change
from podwire_ebpf.fake import FakePlane
from podwire_ebpf.records import FrontendKey
from podwire_proxy.frontend import Policy
from podwire_proxy.options import Options
from podwire_proxy.sockets import Reach, Room
from podwire_proxy.sockets.wishes import frontend_of

Histories = list[list[Change]]
PODS = st.sets(st.integers(1, 40), max_size=24)
ENDING = {"ready": False, "serving": True, "terminating": True}
REACHES = st.builds(
    Reach,
    masquerade_all=st.booleans(),
    external=st.booleans(),
    refuses=st.booleans(),
    masquerade=st.just(1),
    by_source=st.just(2),
)


@settings(max_examples=100, deadline=None, print_blob=True)
@given(HISTORIES, OPTIONS, REACHES)
def test_any_history_ends_where_a_fresh_start_does(
    steps: Histories, options: Options, reach: Reach
) -> None:
    stage = lived(SocketStage(reach, options), steps)
    assert state(stage.plane) == state(filled(stage)), "the maps are what was told"
    fresh = SocketStage(reach, options)
    fresh.take(stage.snapshot.changes())
    assert state(stage.plane) == state(fresh.plane)
    assert stage.sockets.left == fresh.sockets.left
    assert not adopted(stage.sockets, stage.plane), "and a repair finds nothing"


@settings(max_examples=100, deadline=None, print_blob=True)
@given(HISTORIES, OPTIONS, REACHES)
def test_a_restart_writes_nothing_whatever_was_before(
    steps: Histories, options: Options, reach: Reach
) -> None:
    stage = lived(SocketStage(reach, options), steps)
    assert not stage.again()


@settings(max_examples=60, deadline=None, print_blob=True)
@given(HISTORIES, HISTORIES, OPTIONS)
def test_any_maps_that_an_earlier_agent_left_are_repaired(
    before: Histories, now: Histories, options: Options
) -> None:
    stage = lived(SocketStage(options=options), before)
    other = SocketStage(options=options, plane=stage.plane)
    for changes in now:
        other.tell(changes)
    other.plane.apply(adopted(other.sockets, other.plane))
    fresh = SocketStage(options=options)
    fresh.take(other.snapshot.changes())
    assert state(other.plane) == state(fresh.plane)


@settings(max_examples=100, deadline=None, print_blob=True)
@given(HISTORIES, OPTIONS, REACHES)
def test_at_every_step_a_service_is_its_old_or_its_new_self_or_nftables(
    steps: Histories, options: Options, reach: Reach
) -> None:
    stage = SocketStage(reach, options)
    before: dict[FrontendKey, Answer] = {}
    after: dict[FrontendKey, Answer] = {}

    def look() -> None:
        for key in stage.plane.tables.frontends.rows:
            heard = answer(stage.plane, key)  # also: no slot below the count is missing
            may = (before.get(key) or frozenset()) | (after.get(key) or frozenset())
            assert heard is None or heard <= may, "only who was an endpoint, or is one"
            if not heard:
                assert frozenset() in (before.get(key), after.get(key)), "refused by right"

    watched(stage, look)
    for changes in steps:
        stage.tell(changes)
        change = stage.sockets.take()
        before = {key: answer(stage.plane, key) for key in stage.plane.tables.frontends.rows}
        after = answers(filled(stage))
        stage.plane.apply(change)
        assert answers(stage.plane) == after


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.lists(st.tuples(PODS, PODS), max_size=6), st.booleans())
def test_a_socket_of_udp_stays_with_its_endpoint_while_that_serves(
    steps: list[tuple[set[int], set[int]]], remembers: bool
) -> None:
    stage, port = SocketStage(), {"name": "", "port": 53, "protocol": "UDP"}
    stage.put((sticky if remembers else service)("dns", protocol="UDP"))
    went: dict[int, str] = {}
    programs = SocketPrograms()
    for ready, others in steps:
        ending = others - ready
        change = stage.put(
            endpoints("dns", *ready, port=port),
            endpoints("dns", *ending, port=port, name="dns-2", conditions=ENDING),
        )
        programs.apply(change)
        serving = {pod_address(each) for each in ready | ending}
        for socket in range(4):
            to = programs.send("c", socket, "10.96.0.10", 80).endpoints
            if went.get(socket) in serving:
                assert {each.address for each in to} == {went[socket]}
            else:
                assert {each.address for each in to} == set(map(pod_address, ready or ending))
            if to:
                went[socket] = programs.conversations[socket, "10.96.0.10", 80].address


@settings(max_examples=100, deadline=None, print_blob=True)
@given(HISTORIES, st.integers(0, 6), st.integers(0, 4), st.integers(1, 3))
def test_however_little_room_there_is_what_is_in_the_maps_is_right(
    steps: Histories, frontends: int, endpoints: int, members: int
) -> None:
    room = Room(frontends, endpoints, members)
    stage = lived(SocketStage(room=room), steps)
    for key in stage.plane.tables.frontends.rows:
        plan = stage.services._served[frontend_of(key)].plan
        assert answer(stage.plane, key) == (
            plan.local if plan.policy is Policy.LOCAL else plan.cluster
        )
    assert len(stage.plane.tables.frontends.rows) <= frontends
    assert len(stage.plane.tables.endpoints.rows) <= endpoints
    assert len(stage.plane.tables.members.rows) <= members
    assert not adopted(stage.sockets, stage.plane)


@settings(max_examples=100, deadline=None, print_blob=True)
@given(HISTORIES)
def test_each_frontend_is_in_the_maps_or_left_with_a_reason(steps: Histories) -> None:
    stage = lived(SocketStage(), steps)
    there = {frontend_of(key) for key in stage.plane.tables.frontends.rows}
    assert there | stage.sockets.left.keys() == stage.services._served.keys()
    assert not there & stage.sockets.left.keys()
    assert all(stage.sockets.left.values())


def lived(stage: SocketStage, steps: Histories) -> SocketStage:
    for changes in steps:
        stage.take(changes)
    return stage


def filled(stage: SocketStage) -> FakePlane:
    """Empty maps, and everything told to them at once."""
    plane = FakePlane()
    plane.apply(stage.sockets.everything())
    return plane


def answers(plane: FakePlane) -> dict[FrontendKey, Answer]:
    return {key: answer(plane, key) for key in plane.tables.frontends.rows}
