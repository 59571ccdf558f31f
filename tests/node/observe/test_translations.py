"""Programs tell of translations only while somebody follows; who follows sees them beside drops."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result
from drop_site import CHAIN, DB, FRONTEND, ground, logged, packet, snapshot, tcp
from msgspec.structs import replace

from podwire_ebpf.place import Place
from podwire_ebpf.records import Event, FrontendKey
from podwire_node.cli import main
from podwire_node.control.client import AgentClient
from podwire_node.control.errors import ControlError
from podwire_node.control.server import Control
from podwire_node.control.view import Moment
from podwire_node.observe.naming import make
from podwire_node.observe.record import Record
from podwire_node.observe.ring import Ring
from podwire_node.observe.sockets import Hear
from podwire_node.observe.translations import BURST, Translations
from podwire_node.observe.verb import observe_verb

T = TypeVar("T")
VIP = "10.96.0.13"


class StillView:
    """Objects that never change, and a loop that is whoever asks."""

    node = "node2"

    def __init__(self) -> None:
        self._moment = Moment(1, snapshot(), {})

    def now(self) -> Moment:
        return self._moment

    def in_loop(self, question: Callable[[], T]) -> T:
        return question()


class Told:
    """The kernel's ring, in Python."""

    def __init__(self) -> None:
        self.lost = 0
        self.closed = False
        self._waiting: deque[Event] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK)

    def put(self, *events: Event) -> None:
        self._waiting.extend(events)
        os.eventfd_write(self._bell, 1)

    def fileno(self) -> int:
        return self._bell

    def read(self) -> Sequence[Event]:
        found = list(self._waiting)
        self._waiting.clear()
        if found:
            os.eventfd_read(self._bell)
        return found

    def close(self) -> None:
        self.closed = True
        os.close(self._bell)


class StillSockets:
    """A part with programs, of which each reader is kept."""

    backend, why = "ebpf", ""
    place = Place(Path("/"), Path("/"))
    node_cookie = 1
    labels: Mapping[FrontendKey, str] = {FrontendKey(VIP, 80, 6): "shop/db:sql"}
    left: Mapping[FrontendKey, str] = {}

    def __init__(self) -> None:
        self.observed = False
        self.readers: list[Told] = []
        self.refusal = ""

    def observe(self, hear: Hear) -> None:
        if self.refusal:
            raise ControlError(self.refusal)
        self.observed = True
        self.hear = hear
        self.become_new()

    def become_new(self) -> None:
        """What was pinned is made anew, and so is the ring."""
        self.readers.append(Told())
        self.hear(self.readers[-1])

    def unobserve(self) -> None:
        self.observed = False

    def reached(self) -> int | None:
        return None


def event(socket: int = 9, endpoint: str = DB) -> Event:
    return Event(time.monotonic_ns(), 1, socket, 0, VIP, endpoint, 80, 5432, 6, 10)


def drop() -> Record:
    found = make(logged(packet(FRONTEND, DB, 6, tcp(41320, 5432)), CHAIN), ground())
    assert found is not None
    return found


def until(fact: str, holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"never came true: {fact}"
        time.sleep(0.01)


@pytest.fixture
def sockets() -> StillSockets:
    return StillSockets()


@pytest.fixture
def translations(sockets: StillSockets) -> Iterator[Translations]:
    made = Translations(StillView(), sockets)  # type: ignore[arg-type]  # it answers what is asked
    with closing(made):
        yield made


@pytest.fixture
def drops() -> Ring:
    return Ring()


@pytest.fixture
def path(drops: Ring, translations: Translations, tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "control/agent.sock"
    with closing(Control(found, {"observe": observe_verb(drops, translations)})):
        yield found


class Follower:
    """One who follows, in a thread; what it was told comes by a queue. It goes by `leave`."""

    def __init__(self, path: Path, **fields: object) -> None:
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        self._leaving = threading.Event()
        self._answers = AgentClient(path).ask("observe", {"follow": True, **fields}, stream=True)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        for each in self._answers:
            self.told.put(each)
            if self._leaving.is_set():
                break
        self._answers.close()  # type: ignore[attr-defined]  # a generator is a file's like

    def leave(self, wake: Callable[[], None]) -> None:
        self._leaving.set()
        wake()
        self._thread.join(20)

    def next(self) -> dict[str, Any]:
        return self.told.get(timeout=20)


def run(path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["observe", "--socket", str(path), *words])


def test_programs_are_asked_to_tell_while_somebody_follows(
    path: Path, sockets: StillSockets
) -> None:
    assert not sockets.observed
    one = Follower(path, types=["trace-sock"])
    until("they tell", lambda: sockets.observed)
    two = Follower(path, types=["trace-sock", "drop"])
    sockets.readers[0].put(event(1))
    assert one.next()["socket_cookie"] == "1"
    assert two.next()["verdict"] == "TRANSLATED"
    one.leave(lambda: sockets.readers[0].put(event(2)))
    assert two.next()["socket_cookie"] == "2"
    assert sockets.observed, "the second still follows"
    assert len(sockets.readers) == 1, "one reader of the kernel's ring"
    two.leave(lambda: sockets.readers[0].put(event(3)))
    until("they tell no more", lambda: not sockets.observed)
    assert sockets.readers[0].closed


def test_the_past_has_what_somebody_followed(path: Path, sockets: StillSockets) -> None:
    assert "use --follow" in " ".join(run(path, "--type", "trace-sock").output.split())
    follower = Follower(path, types=["trace-sock"])
    until("they tell", lambda: sockets.observed)
    sockets.readers[0].put(event())
    follower.next()
    follower.leave(lambda: sockets.readers[0].put(event()))
    assert "this node → 10.96.0.13:80 (shop/db)" in run(path, "--verdict", "translated").output


def test_by_default_there_are_drops_alone(
    path: Path, drops: Ring, translations: Translations
) -> None:
    drops.add([drop()])
    translations.ring.add([replace(drop(), verdict="TRANSLATED")])
    assert run(path).output.count("DROPPED") == 1
    assert "TRANSLATED" not in run(path).output
    both = run(path, "--type", "drop", "--type", "trace-sock").output
    assert both.count("DROPPED") == both.count("TRANSLATED") == 1


def test_a_refused_call_is_no_policys_drop(path: Path, drops: Ring, sockets: StillSockets) -> None:
    drops.add([drop()])
    follower = Follower(path, types=["trace-sock"], verdicts=["DROPPED"])
    until("they tell", lambda: sockets.observed)
    sockets.readers[0].put(event(1), event(2, endpoint=""))
    assert follower.next()["drop_reason_desc"] == "SERVICE_BACKEND_NOT_FOUND"
    follower.leave(lambda: sockets.readers[0].put(event(3, endpoint="")))
    assert "SERVICE" not in run(path, "--json").output


def test_services_are_found_by_the_beginning_of_their_names(
    path: Path, translations: Translations, sockets: StillSockets
) -> None:
    with translations.heard():
        sockets.readers[0].put(event())
        until("it is there", lambda: bool(translations.ring.all().records))
    shown = ("--type", "trace-sock", "--service")
    assert "TRANSLATED" in run(path, *shown, "shop/d").output
    assert "no translations that fit" in run(path, *shown, "shop/web").output
    assert "no translations that fit" in run(path, *shown, "db").output, "of namespace default"


def test_more_than_the_allowance_is_counted_and_told(path: Path, sockets: StillSockets) -> None:
    follower = Follower(path, types=["trace-sock"])
    until("they tell", lambda: sockets.observed)
    sockets.readers[0].lost = 7
    sockets.readers[0].put(*(event(number) for number in range(BURST + 500)))
    lost = 0
    while lost < 500:
        lost += follower.next().get("lost_events", {}).get("num_events_lost", 0)
    assert lost == 507
    follower.leave(lambda: sockets.readers[0].put(event()))


def test_why_there_are_none_is_told(path: Path, sockets: StillSockets) -> None:
    sockets.refusal = "the programs are not loaded: bcc cannot be imported: install python3-bpfcc"
    done = run(path, "--type", "trace-sock", "--follow")
    assert done.exit_code == 1
    assert "install python3-bpfcc" in done.output
    assert not sockets.observed


def test_a_ring_that_cannot_be_read_leaves_no_flag_behind(
    path: Path, sockets: StillSockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def observe(_: Hear) -> None:
        sockets.observed = True
        raise ControlError("the ring of events: Cannot allocate memory")

    monkeypatch.setattr(sockets, "observe", observe)
    done = run(path, "--type", "trace-sock", "--follow")
    assert "the ring of events: Cannot allocate memory" in done.output
    assert not sockets.observed


def test_who_follows_goes_on_with_the_ring_of_new_programs(
    path: Path, sockets: StillSockets
) -> None:
    follower = Follower(path, types=["trace-sock"])
    until("they tell", lambda: sockets.observed)
    sockets.readers[0].put(event(1))
    assert follower.next()["socket_cookie"] == "1"
    for _ in range(2):  # faster than anybody reads
        sockets.become_new()
    until("the rings of before are left", lambda: [each.closed for each in sockets.readers] == [
        *(True, True, False)
    ])  # fmt: skip
    sockets.readers[-1].put(event(2))
    assert follower.next()["socket_cookie"] == "2"
    follower.leave(lambda: sockets.readers[-1].put(event(3)))
    until("they tell no more", lambda: not sockets.observed)
    sockets.become_new()
    assert sockets.readers[-1].closed, "nobody follows any more"


def test_an_agent_without_programs_says_which_settings_bring_them(tmp_path: Path) -> None:
    without = Translations(StillView(), None, "it needs proxyMode ebpf")  # type: ignore[arg-type]  # see above
    path = tmp_path / "control/agent.sock"
    with closing(Control(path, {"observe": observe_verb(None, without)})):
        assert "proxyMode ebpf" in run(path, "--type", "trace-sock", "-f").output
        assert "no component policy" in run(path).output
