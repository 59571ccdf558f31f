"""When to try again: soon, then twice as long each time, up to a bound.

No clock and no sleep: the caller reads a monotonic clock, and waits as it can.
"""

from __future__ import annotations

import random

FIRST_S = 0.1
MAX_S = 30.0


class Backoff:
    """Counts failures in a row. Times are seconds of a monotonic clock that the caller reads.

    jitter: 0.5 makes each wait 0.5 to 1.5 times as long, so that many clients of one server
    that came back do not come all at once.
    """

    def __init__(self, first: float = FIRST_S, most: float = MAX_S, jitter: float = 0.0) -> None:
        self.until = 0.0
        self._first, self._most, self._jitter = first, most, jitter
        self._delay = first

    def due(self, now: float) -> bool:
        """Whether it is time to try."""
        return now >= self.until

    def failed(self, now: float) -> float:
        """It did not work; answers when to try again."""
        spread = random.uniform(1 - self._jitter, 1 + self._jitter)  # noqa: S311 - spreads load, keeps no secret
        self.until = now + self._delay * spread
        self._delay = min(self._delay * 2, self._most)
        return self.until

    def succeeded(self) -> None:
        """It worked: the next failure is the first again."""
        self.until, self._delay = 0.0, self._first
