"""The part that owns the plane: what it does when all is well, and when a kernel refuses."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from proxy_stage import HERE, endpoints, service
from socket_stage import answer

from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change, Snapshot
from podwire_ebpf.errors import BpfError, Unsupported
from podwire_ebpf.fake import FakePlane
from podwire_ebpf.plane import Plane
from podwire_ebpf.records import Flag, FrontendKey, Settings
from podwire_node.metrics import Metrics
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.sockets import outside, socket_service
from podwire_node.sockets.opening import Opened, Outcome
from podwire_node.sockets.socket_service import SocketService
from podwire_proxy.services import Services
from podwire_proxy.sockets import Room, Sockets

VIP = FrontendKey("10.96.0.10", 80, 6)
PATIENCE_S = 20.0


class Node:
    """The part over a fake plane, and the loop that calls it."""

    def __init__(self, outcomes: list[Outcome], mode: str, room: Room | None) -> None:
        self.outcomes = outcomes
        config = AgentConfig(
            node=HERE, feed="/x", proxy_mode=mode, stale_sockets="none",  # type: ignore[arg-type]  # a word of the three
            ebpf_folder="/nowhere/podwire", ebpf_cgroup="/nowhere",
        )  # fmt: skip
        self.metrics = Metrics()
        self.sockets = Sockets(room=room)
        self.services = Services(HERE, None, None, self.sockets)
        self.snapshot = Snapshot()
        self.part = SocketService(
            config, self.services, self.sockets, self.metrics, lambda: self.outcomes.pop(0)
        )
        self.hears: dict[int, Callable[[], object]] = dict(self.part.watched())

    def put(self, *objects: KubernetesObject) -> None:
        changes = [Change(type(each), each.name, each) for each in objects]
        new = [each for each in changes if self.snapshot.apply(each)]
        self.services.update(self.snapshot, new)
        self.part.take(self.snapshot, new)
        self.part.sync(time.monotonic())

    def turn(self) -> None:
        """Wait for a fact, and do what follows."""
        found = select.select(list(self.hears), [], [], PATIENCE_S)[0]
        assert found, "nothing ever came"
        for each in found:
            self.hears[each]()
        self.part.sync(time.monotonic())

    def metric(self, name: str) -> str:
        lines = self.metrics.text().decode().splitlines()
        return next((each.split()[-1] for each in lines if each.startswith(name)), "")


@pytest.fixture(autouse=True)
def nobody_removes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would be removed of an earlier run: nothing real."""
    removed: list[object] = []

    def remember(place: object) -> str:
        removed.append(place)
        return ""

    monkeypatch.setattr(socket_service, "remove_earlier", remember)
    monkeypatch.setattr(socket_service, "remove_elsewhere", lambda _: None)
    monkeypatch.setattr(outside, "detach_uplinks", lambda: None)
    return removed


@pytest.fixture
def made() -> Iterator[list[Node]]:
    nodes: list[Node] = []
    yield nodes
    for each in nodes:
        each.part.close()


def node_with(
    made: list[Node], *outcomes: Outcome, mode: str = "ebpf", room: Room | None = None
) -> Node:
    made.append(Node(list(outcomes), mode, room))
    return made[-1]


def opened(plane: FakePlane) -> Opened:
    return Opened(cast("Plane", plane))


def test_the_maps_are_full_before_anyone_reads_them(made: list[Node]) -> None:
    plane = FakePlane(seen=lambda: pytest.fail("attached already") if plane.attached else None)
    node = node_with(made, opened(plane))
    node.put(service("web"), endpoints("web", 1, 2))
    assert (node.part.backend, node.part.settled, node.part.in_sync) == ("nftables", False, False)
    node.turn()
    assert plane.attached
    assert len(answer(plane, VIP) or ()) == 2
    assert (node.part.backend, node.part.settled) == ("nftables", False)
    assert node.part.why == "the programs are attached, and not proven yet"
    node.turn()
    assert (node.part.settled, node.part.in_sync, node.part.why) == (True, True, "")
    assert node.metric("podwire_proxy_sockets_attached") == "1.0"
    assert node.metric('podwire_proxy_backend{backend="ebpf"}') == "1.0"
    assert node.metric("podwire_proxy_sockets_frontends") == "1.0"
    assert plane.tables.settings.get(0) == Settings(7, Flag(0)), "as the canary says"


def test_a_plane_that_is_open_first_waits_for_the_objects(made: list[Node]) -> None:
    plane = FakePlane()
    node = node_with(made, opened(plane))
    node.turn()
    assert not plane.attached
    node.put(service("web"))
    assert plane.attached


def test_nothing_changed_is_nothing_written(made: list[Node]) -> None:
    plane = FakePlane()
    node = node_with(made, opened(plane))
    node.put(service("web"), endpoints("web", 1))
    node.turn()
    node.turn()
    plane.refuses = BpfError("nobody may call")
    node.put(service("web"), endpoints("web", 1))
    assert node.part.problems == []


def test_what_is_refused_is_left_to_nftables_and_tried_again(made: list[Node]) -> None:
    plane = FakePlane()
    node = node_with(made, opened(plane))
    node.put(service("web"), endpoints("web", 1))
    node.turn()
    apply, refusals = plane.apply, ["out of luck"]

    def refuse_once(change: object) -> None:
        if refusals:
            raise BpfError(refusals.pop())
        apply(change)  # type: ignore[arg-type]  # a Change

    plane.apply = refuse_once  # type: ignore[method-assign]  # the fake's own refusal is for ever
    node.put(endpoints("web", 2))
    assert answer(plane, VIP) is None, "nobody is sent to what is no endpoint any more"
    assert node.part.problems == ["sockets: out of luck"]
    assert not node.part.in_sync
    node.put(service("two", "10.96.0.11"), endpoints("two", 3))
    assert answer(plane, FrontendKey("10.96.0.11", 80, 6)) is None, "not while it waits"
    assert node.part.sync(time.monotonic() + 400) is None
    assert answer(plane, VIP) == {("10.244.0.2", 8080)}
    assert answer(plane, FrontendKey("10.96.0.11", 80, 6))
    assert node.part.problems == []


def test_a_full_map_leaves_the_rest_and_says_so(made: list[Node]) -> None:
    plane = FakePlane(most={"frontends": 1})
    node = node_with(made, opened(plane))
    node.put(service("web"), service("two", "10.96.0.11"))
    node.turn()
    assert len(plane.tables.frontends.rows) == 1
    assert node.part.problems == ["sockets: table frontends is full: 1 rows are not in"]


def test_what_has_no_room_is_told(made: list[Node]) -> None:
    node = node_with(made, opened(FakePlane()), room=Room(frontends=1))
    node.put(service("web"), service("two", "10.96.0.11"))
    node.turn()
    assert node.part.problems == [
        "sockets: the maps have no room for 1 frontends: nftables serves them"
    ]
    assert node.metric("podwire_proxy_sockets_left") == "1.0"


def test_mode_ebpf_ends_where_something_is_missing_and_leaves_nothing_attached(
    made: list[Node], nobody_removes: list[object]
) -> None:
    """An agent that ends at once, again and again, keeps no maps: nftables has to serve."""
    node = node_with(made, Unsupported("install python3-bpfcc"))
    with pytest.raises(Unsupported, match="install python3-bpfcc"):
        node.turn()
    assert nobody_removes == [node.part.place]


def test_mode_auto_stays_with_nftables_and_removes_what_nobody_keeps(
    made: list[Node], nobody_removes: list[object]
) -> None:
    node = node_with(made, Unsupported("install python3-bpfcc"), mode="auto")
    node.put(service("web"))
    node.turn()
    assert (node.part.backend, node.part.why) == ("nftables", "install python3-bpfcc")
    assert (node.part.settled, node.part.in_sync, node.part.problems) == (True, True, [])
    assert node.metric("podwire_proxy_backend_fallback{") == "1.0"
    assert nobody_removes == [node.part.place]
    assert node.part.sync(time.monotonic() + 1000) is None


@pytest.mark.parametrize("mode", ["ebpf", "auto"])
def test_a_kernel_that_refuses_is_asked_again(made: list[Node], mode: str) -> None:
    plane = FakePlane()
    node = node_with(made, BpfError("try later"), opened(plane), mode=mode)
    node.put(service("web"))
    node.turn()
    assert node.part.problems == ["sockets: try later"]
    assert node.part.settled, "a node is ready: nftables serves"
    node.part.sync(time.monotonic() + 400)
    node.turn()
    node.turn()
    assert (node.part.backend, node.part.problems) == ("ebpf", [])


@pytest.mark.parametrize("mode", ["ebpf", "auto"])
def test_sockets_are_served_where_programs_for_traffic_from_outside_cannot_be(
    made: list[Node], mode: str
) -> None:
    outcome = opened(FakePlane())._replace(refused=Unsupported("no clsact"))
    node = node_with(made, outcome, mode=mode)
    node.put(service("web"))
    node.turn()
    node.turn()
    assert (node.part.backend, node.part.in_sync) == ("ebpf", True)
    assert node.part.problems == ["what comes from outside is answered by nftables: no clsact"]


def test_what_someone_detached_is_told_and_attached_again(made: list[Node]) -> None:
    plane = FakePlane()
    node = node_with(made, opened(plane))
    node.put(service("web"))
    node.turn()
    node.turn()
    plane.attached = False
    node.part._prover.ask()
    node.turn()
    (wrong,) = node.part.unusable
    assert str(wrong) == "Node node1: sockets are not served: not attached: connect4"
    assert (node.part.backend, node.part.why) == (
        "nftables",
        "sockets are not served: not attached: connect4",
    )
    assert (plane.attached, plane.attachments) == (True, 2)
    node.turn()
    assert node.part.unusable == ()
    assert plane.attachments == 2
    assert (node.part.backend, node.part.why) == ("ebpf", "")


@pytest.mark.parametrize("mode", ["ebpf", "auto"])
def test_where_the_pins_are_gone_all_begins_anew(made: list[Node], mode: str) -> None:
    """bpffs was unmounted, or the folder removed: for a while there is not even a place for it."""
    lost, found = FakePlane(), FakePlane()
    node = node_with(made, opened(lost), Unsupported("no bpffs"), opened(found), mode=mode)
    node.put(service("web"), endpoints("web", 1))
    node.turn()
    node.turn()
    lost.attached = lost.pinned = False
    node.part._prover.ask()
    node.turn()
    assert lost.closed
    assert (node.part.backend, node.part.in_sync) == ("nftables", False)
    assert node.part.problems == ["sockets: what was pinned in /nowhere/podwire is gone"]
    node.part.sync(time.monotonic() + 400)
    node.turn()
    assert node.part.problems == ["sockets: no bpffs"], "who served once does not end, or give up"
    node.part.sync(time.monotonic() + 400)
    node.turn()
    node.turn()
    assert (node.part.backend, node.part.problems, node.part.in_sync) == ("ebpf", [], True)
    assert len(answer(found, VIP) or ()) == 1


def test_a_look_at_a_plane_that_is_gone_says_nothing(made: list[Node]) -> None:
    lost = FakePlane()
    node = node_with(made, opened(lost))
    node.put(service("web"))
    node.turn()
    node.turn()
    node.part._begin_anew(cast("Plane", lost))
    node.part._prover.ask()
    node.turn()
    assert node.part.problems == ["sockets: what was pinned in /nowhere/podwire is gone"]


def test_who_listens_is_told_to_the_programs_and_forgotten_at_a_start(made: list[Node]) -> None:
    plane = FakePlane()
    plane.settings(7, Flag.OBSERVED)
    node = node_with(made, opened(plane))
    node.put(service("web"))
    node.turn()
    found = plane.tables.settings.get(0)
    assert found is not None
    assert found.flags == Flag(0), "of a listener that was killed"
