"""What the kernel tells is taken in up to a bound, by a clock that the test turns."""

from __future__ import annotations

from dataclasses import dataclass

from podwire_node.observe.bounds import Allowance, Share


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_taken_at_once_and_then_so_many_a_second() -> None:
    clock = Clock()
    allowance = Allowance(10, 50, clock)
    assert allowance.take(200) == 50
    assert allowance.take(1) == 0
    clock.now += 0.55
    assert allowance.take(200) == 5
    clock.now += 3600
    assert allowance.take(200) == 50, "silence saves up no more than a burst"


def test_what_took_long_rests_for_its_share() -> None:
    clock = Clock()
    share = Share(20, clock)
    assert share.due
    began = clock.now
    clock.now += 0.5
    share.rest(began)
    clock.now += 9.9
    assert not share.due
    clock.now += 0.2
    assert share.due
