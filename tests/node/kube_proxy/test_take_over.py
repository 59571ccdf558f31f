"""Taking over: when it begins, and what is told of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from podwire_core.snapshot import Snapshot
from podwire_node.cleanup.rows import Outcome, Row
from podwire_node.kube_proxy.take_over import TakeOver

GONE = Row("table", "ip kube-proxy", Outcome.REMOVED)
STUCK = Row("chains", "iptables (nft) nat", Outcome.FAILED, "it is used")


def finish(take_over: TakeOver) -> None:
    """Wait for the thread, and hear it."""
    assert take_over._thread is not None
    take_over._thread.join(10)
    take_over._ended()


def test_nothing_goes_before_our_rules_are_in_force() -> None:
    ours: list[bool] = []
    begun = threading.Event()

    def remove() -> Sequence[Row]:
        begun.set()
        return [GONE]

    take_over = TakeOver(lambda: bool(ours), remove)
    take_over.take(Snapshot(), [])
    assert take_over.sync(0.0) is None
    assert not begun.is_set()
    ours.append(True)
    take_over.sync(1.0)
    finish(take_over)
    assert begun.is_set()
    take_over.sync(2.0)
    assert take_over.problems == []
    take_over.close()


def test_it_is_tried_once() -> None:
    tries: list[int] = []
    take_over = TakeOver(lambda: True, lambda: tries.append(1) or [])  # type: ignore[func-returns-value]
    for now in range(5):
        take_over.sync(now)
    finish(take_over)
    take_over.sync(9.0)
    assert tries == [1]
    take_over.close()


def test_what_could_not_be_removed_is_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    take_over = TakeOver(lambda: True, lambda: [GONE, STUCK])
    with caplog.at_level("INFO"):
        take_over.sync(0.0)
        finish(take_over)
    assert take_over.problems == ["kube-proxy's chains iptables (nft) nat failed (it is used)"]
    assert "leftovers removed: table ip kube-proxy" in caplog.text
    take_over.close()


def test_a_program_error_ends_no_agent() -> None:
    def remove() -> Sequence[Row]:
        raise RuntimeError("oh")

    take_over = TakeOver(lambda: True, remove)
    take_over.sync(0.0)
    finish(take_over)
    assert "RuntimeError" in take_over.problems[0]
    take_over.close()


def test_no_one_waits_for_it() -> None:
    take_over = TakeOver(lambda: False)
    assert take_over.settled
    assert take_over.in_sync
    take_over.close()
