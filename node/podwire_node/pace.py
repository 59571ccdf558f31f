"""How often the kernel may be compared when others change what is ours all the time.

A look costs what is there: 100 ms where a routing daemon keeps 4,000 routes, a second for the
rules of a large cluster. Another writer that never ends would leave the loop no time for
anything else. So looks have BURST_S of the time, which is a thousand on most nodes, and then
SHARE of it: a repair is made at once, and waits only where changes never end.
"""

from __future__ import annotations

BURST_S = 2.0
SHARE = 0.1


class Pace:
    """When the next look may be. Times are seconds of a monotonic clock that the caller reads."""

    def __init__(self, burst: float = BURST_S, share: float = SHARE) -> None:
        self.until = 0.0
        self._burst, self._share = burst, share
        self._left, self._counted = burst, 0.0

    def looked(self, began: float, ended: float) -> None:
        """A look took so long."""
        saved = self._left + max(0.0, began - self._counted) * self._share
        self._left = min(self._burst, saved) - (ended - began)
        self._counted = ended
        self.until = ended + max(0.0, -self._left) / self._share
