"""What waits in threads: a plane that is opened, a proof once a minute; and what they answer."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from typing import cast

import pytest

from podwire_ebpf.errors import BpfError, Unsupported
from podwire_ebpf.fake import FakePlane
from podwire_ebpf.plane import Plane
from podwire_ebpf.proof import Proof
from podwire_node.sockets.opening import Opened, Opening, Outcome
from podwire_node.sockets.prover import Found, Prover

PATIENCE_S = 20.0
OK = Proof({"connect4": True}, {"IPv4": True})


def rang(descriptor: int, seconds: float = PATIENCE_S) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def opened() -> tuple[FakePlane, Opened]:
    plane = FakePlane()
    return plane, Opened(cast("Plane", plane), None)


@pytest.mark.parametrize("outcome", [Unsupported("install it"), BpfError("no"), opened()[1]])
def test_an_attempt_answers_once_when_it_is_over(outcome: Outcome) -> None:
    opening = Opening(lambda: outcome)
    assert opening.outcome() is None
    assert not opening.runs
    opening.begin()
    assert opening.runs
    assert rang(opening.fileno())
    assert opening.outcome() is outcome
    assert not opening.runs
    assert not rang(opening.fileno(), 0)
    opening.close()


def test_a_fault_of_our_own_is_an_answer_too() -> None:
    opening = Opening(lambda: cast("Outcome", 1 / 0))
    opening.begin()
    assert rang(opening.fileno())
    assert "ZeroDivisionError" in str(opening.outcome())
    opening.close()


def test_a_plane_that_nobody_takes_is_closed() -> None:
    plane, outcome = opened()
    opening = Opening(lambda: outcome)
    opening.begin()
    assert rang(opening.fileno())
    opening.close()
    assert plane.closed


def test_a_plane_that_comes_too_late_is_closed_by_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("podwire_node.sockets.opening._FAREWELL_S", 0.0)
    plane, outcome = opened()
    gate = threading.Event()

    def open_both() -> Outcome:
        gate.wait(PATIENCE_S)
        return outcome

    opening = Opening(open_both)
    opening.begin()
    thread = opening._thread
    assert thread is not None
    opening.close()
    gate.set()
    thread.join(PATIENCE_S)
    assert plane.closed


def heard(prove: Callable[[], Proof], times: int, period: float = 3600.0) -> list[Found | None]:
    prover = Prover(prove, period)
    try:
        found: list[Found | None] = []
        for _ in range(times):
            prover.ask()
            assert rang(prover.fileno())
            found.append(prover.hear())
        assert prover.hear() is None, "what was heard is heard"
        return found
    finally:
        prover.close()


def test_a_proof_is_made_when_it_is_asked_for() -> None:
    assert heard(lambda: OK, 3) == [OK, OK, OK]


def test_a_look_that_fails_is_an_answer() -> None:
    def fail() -> Proof:
        raise BpfError("nobody could call")

    def crash() -> Proof:
        raise KeyError("hook")

    assert [str(each) for each in heard(fail, 2)] == ["nobody could call"] * 2
    assert "please report it" in str(heard(crash, 1)[0])


def test_nobody_looks_before_it_is_asked_and_then_it_goes_on_by_itself() -> None:
    prover = Prover(lambda: OK, period=0.01)
    try:
        assert not rang(prover.fileno(), 0.1)
        prover.ask()
        for _ in range(3):
            assert rang(prover.fileno())
            assert prover.hear() is OK
    finally:
        prover.close()
