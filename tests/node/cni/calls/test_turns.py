"""Turns: one call a container, a bounded number in all, none for ever."""

import threading
import time

import pytest

from podwire_node.cni.calls.turns import Late, Turns


def soon() -> float:
    return time.monotonic() + 10


def test_a_second_call_for_a_container_waits_and_gives_up_in_time() -> None:
    turns = Turns(4)
    with turns.taken("a", soon()):
        with turns.taken("b", soon()):
            pass
        with pytest.raises(Late), turns.taken("a", time.monotonic() + 0.05):
            pass
    with turns.taken("a", soon()):
        pass


def test_no_more_than_the_seats_work_at_once() -> None:
    turns = Turns(1)
    with turns.taken("a", soon()), pytest.raises(Late), turns.taken("b", time.monotonic() + 0.05):
        pass


def test_turns_are_forgotten_when_nobody_wants_them() -> None:
    turns, inside, most = Turns(4), [0], [0]
    guard = threading.Lock()

    def work() -> None:
        for _ in range(50):
            with turns.taken("a", soon()):
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with guard:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert turns._containers == {}
