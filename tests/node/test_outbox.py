"""What goes to the API server goes in order, within bounds, and holds up no one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from podwire_core.feed.api_server import ApiError
from podwire_core.objects import Node, NodeCondition, NodeStatus, ObjectMeta
from podwire_node.reports.conditions import NetworkCondition, NetworkIsUp
from podwire_node.reports.outbox import MAX_TRIES, Outbox, Postbag


@dataclass
class Note:
    """A letter that does what it is told, and notes that it was sent."""

    subject: str
    arrived: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def send(self, _server: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.arrived.append(self.subject)


# ------------------------------------------------------------------------ bookkeeping


def test_a_burst_goes_at_once_and_then_one_a_second() -> None:
    bag = Postbag(burst=3, rate=1)
    for number in range(10):
        bag.put(Note(str(number)))
    sent = []
    now = 0.0
    while (wait := bag.wait(now)) is not None:
        if wait == 0:
            sent.append((now, bag.take().subject))
            bag.delivered()
        now += wait
    assert [subject for _, subject in sent] == [str(number) for number in range(10)]
    assert [round(when) for when, _ in sent] == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7]
    assert bag.sent == 10


def test_too_many_letters_drop_the_oldest_and_are_counted() -> None:
    bag = Postbag(most=3)
    for number in range(5):
        bag.put(Note(str(number)))
    assert [bag.take().subject for _ in range(3)] == ["2", "3", "4"]
    assert bag.dropped == 2


def test_a_server_that_is_away_is_tried_later_and_later_and_costs_no_letter() -> None:
    bag = Postbag()
    bag.put(Note("first"))
    bag.put(Note("second"))
    now, waits = 0.0, []
    for _ in range(4 * MAX_TRIES):
        bag.take()
        assert bag.returned(now, tried=False)
        wait = bag.wait(now)
        assert wait
        waits.append(wait)
        now += wait
    assert 0.5 <= waits[0] <= 1.5
    assert 30 <= waits[-1] <= 90
    bag.take()
    bag.delivered()
    bag.wait(now + 100)
    assert bag.wait(now + 100) == 0, "an answer ends the back-off"
    assert (bag.failed, bag.dropped) == (0, 0)


def test_a_letter_that_fails_lets_the_others_pass() -> None:
    bag = Postbag()
    for subject in ("poison", "second", "third"):
        bag.put(Note(subject))
    seen = [bag.take().subject]
    bag.returned(0, tried=True)
    for _ in range(2):
        seen.append(bag.take().subject)
        bag.delivered()
    seen.append(bag.take().subject)
    assert seen == ["poison", "second", "third", "poison"]


def test_a_letter_that_always_fails_is_given_up_and_counted() -> None:
    bag = Postbag()
    bag.put(Note("poison"))
    tries = 0
    while not bag.empty:
        bag.take()
        bag.returned(0, tried=True)
        tries += 1
    assert (tries, bag.failed, bag.dropped) == (MAX_TRIES, 1, 0)


def test_a_letter_that_comes_back_to_a_full_bag_is_dropped() -> None:
    bag = Postbag(most=1)
    bag.put(Note("old"))
    bag.take()
    bag.put(Note("new"))
    assert not bag.returned(0, tried=False)
    assert bag.dropped == 1
    assert bag.take().subject == "new"


def test_a_bag_is_empty_when_what_became_of_its_last_letter_is_known() -> None:
    bag = Postbag()
    assert bag.empty
    bag.put(Note("only"))
    assert not bag.empty
    bag.take()
    assert not bag.empty
    bag.delivered()
    assert bag.empty


def test_nothing_to_send_is_nothing_to_wait_for() -> None:
    assert Postbag().wait(5) is None


# -------------------------------------------------------------------------- the thread


@pytest.fixture
def outbox() -> Iterator[Callable[..., Outbox]]:
    made: list[Outbox] = []

    def make(**bag: Any) -> Outbox:
        made.append(Outbox(None, "tests", Postbag(**bag)))  # type: ignore[arg-type]  # notes need no server
        return made[-1]

    yield make
    for each in made:
        each.close()


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_letters_arrive_in_order(outbox: Callable[..., Outbox]) -> None:
    box, arrived = outbox(), list[str]()
    for number in range(5):
        box.put(Note(str(number), arrived))
    eventually(lambda: len(arrived) == 5)
    assert arrived == ["0", "1", "2", "3", "4"]


def test_a_letter_that_hangs_holds_up_no_one(outbox: Callable[..., Outbox]) -> None:
    hung = threading.Event()

    class Hanging(Note):
        def send(self, _server: Any) -> None:
            hung.wait(60)

    box = outbox()
    before = time.monotonic()
    box.put(Hanging("hangs"))
    for number in range(2000):
        box.put(Note(str(number)))
    assert time.monotonic() - before < 20
    box.close()
    assert time.monotonic() - before < 20
    hung.set()


def test_a_forbidden_letter_is_said_once_and_the_next_one_goes(
    outbox: Callable[..., Outbox], caplog: pytest.LogCaptureFixture
) -> None:
    box, arrived = outbox(), list[str]()
    for number in range(3):
        box.put(Note(str(number), arrived, [ApiError(403, "events is forbidden")]))
    eventually(lambda: box.postbag.failed == 3)
    assert caplog.text.count("events is forbidden") == 1
    box.put(Note("fine", arrived))
    eventually(lambda: arrived == ["fine"])


@pytest.mark.parametrize("status", [0, 401, 409, 429, 503])
def test_what_a_passing_fault_stopped_arrives_later(
    outbox: Callable[..., Outbox], status: int
) -> None:
    box, arrived = outbox(), list[str]()
    box.put(Note("late", arrived, [ApiError(status, "not now")]))
    eventually(lambda: arrived == ["late"])
    assert box.postbag.sent == 1


def test_a_poisoned_letter_holds_up_no_other(outbox: Callable[..., Outbox]) -> None:
    box, arrived = outbox(), list[str]()
    poison = Note("poison", arrived, [ApiError(500, "etcd says no") for _ in range(MAX_TRIES)])
    box.put(poison)
    box.put(Note("second", arrived))
    eventually(lambda: arrived == ["second"])
    assert not box.idle
    assert len(poison.errors) >= MAX_TRIES - 3


def test_a_bug_in_one_letter_ends_no_thread(
    outbox: Callable[..., Outbox], caplog: pytest.LogCaptureFixture
) -> None:
    box, arrived = outbox(), list[str]()
    box.put(Note("bug", arrived, [ZeroDivisionError()]))
    box.put(Note("fine", arrived))
    eventually(lambda: arrived == ["fine"])
    assert "ZeroDivisionError" in caplog.text


# ------------------------------------------------------------------------- the condition


class Tray:
    """Stands for the Outbox: what is in it stays on its way until the test says otherwise."""

    def __init__(self) -> None:
        self.letters: list[NetworkIsUp] = []
        self.idle = True

    def put(self, letter: NetworkIsUp) -> None:
        self.letters.append(letter)
        self.idle = False


def node(status: str) -> Node:
    rows = (NodeCondition("Ready", "True"),)
    if status:
        rows = (*rows, NodeCondition("NetworkUnavailable", status))
    return Node(ObjectMeta("n1"), status=NodeStatus(conditions=rows))


@pytest.mark.parametrize("status", ["", "True", "Unknown"])
def test_the_condition_is_cleared_each_time_it_is_seen(status: str) -> None:
    tray = Tray()
    condition = NetworkCondition(tray)  # type: ignore[arg-type]  # a stand-in
    mine = node(status)
    condition.sync(mine, 0, up=False)
    assert tray.letters == []
    for second in range(3):
        assert condition.sync(mine, second, up=True) is None
    assert tray.letters == [NetworkIsUp("n1")], "one is on its way"
    tray.idle = True
    condition.sync(node("False"), 3, up=True)
    assert len(tray.letters) == 1
    condition.sync(node("True"), 3.1, up=True)
    assert len(tray.letters) == 2, "someone set it again, which is no failure of ours"


def test_a_refused_condition_is_tried_again_later_and_later_while_it_stands() -> None:
    tray = Tray()
    condition = NetworkCondition(tray)  # type: ignore[arg-type]  # a stand-in
    mine, now, waits = node("True"), 0.0, list[float]()
    for _ in range(12):
        condition.sync(mine, now, up=True)
        tray.idle = True  # 403: the outbox has given it up
        again = condition.sync(mine, now, up=True)
        assert again is not None
        waits.append(again - now)
        now = again
    assert len(tray.letters) == 12
    assert 1 <= waits[0] <= 3
    assert 150 <= waits[-1] <= 450


def test_the_condition_is_never_set_to_true() -> None:
    tray = Tray()
    condition = NetworkCondition(tray)  # type: ignore[arg-type]  # a stand-in
    for up in (True, False):
        assert condition.sync(node("False"), 0, up=up) is None
        assert condition.sync(None, 0, up=up) is None
    assert tray.letters == []


def test_of_all_conditions_only_ours_is_kept() -> None:
    kept = node("True")
    assert kept.status.conditions == (NodeCondition("NetworkUnavailable", "True"),)
    assert node("").status.conditions is None
    assert kept.network_unavailable == "True"
