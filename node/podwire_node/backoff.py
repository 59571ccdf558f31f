"""When to try again: at once, then after 0.1 s, twice as long each time, at most 30 s."""

from __future__ import annotations

FIRST_S = 0.1
MAX_S = 30.0


class Backoff:
    """Counts failures in a row. Times are seconds of a monotonic clock that the caller reads."""

    def __init__(self) -> None:
        self.until = 0.0
        self._delay = FIRST_S

    def due(self, now: float) -> bool:
        """Whether it is time to try."""
        return now >= self.until

    def failed(self, now: float) -> float:
        """It did not work; answers when to try again."""
        self.until = now + self._delay
        self._delay = min(self._delay * 2, MAX_S)
        return self.until

    def succeeded(self) -> None:
        """It worked: the next failure is the first again."""
        self.until, self._delay = 0.0, FIRST_S
