"""How much of what the kernel tells is taken in, and how much time goes into names for it."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class Allowance:
    """rate: so many a second. burst: at once, after a while of silence."""

    def __init__(self, rate: float, burst: int, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst = rate, float(burst)
        self._clock = clock
        self._tokens, self._filled = self._burst, clock()

    def take(self, wished: int) -> int:
        """How many of these are taken in now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        given = min(wished, int(self._tokens))
        self._tokens -= given
        return given


class Share:
    """Work that takes one part of so many of the time: the longer a turn, the longer it rests."""

    def __init__(self, parts: int, clock: Clock = time.monotonic) -> None:
        self._parts = parts
        self._clock = clock
        self._due = 0.0

    @property
    def due(self) -> bool:
        """Whether it may be done again."""
        return self._clock() >= self._due

    def rest(self, began: float) -> None:
        """After a turn that began then, by the same clock."""
        now = self._clock()
        self._due = now + self._parts * (now - began)
