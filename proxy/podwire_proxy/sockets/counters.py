"""Numbers of lists in the array that counts connections.

A number that is given back is given out last: who reads the counters meanwhile sees old totals
under the old name. Number 0 is no list's.
"""

from __future__ import annotations


class Counters:
    """most: how many numbers there are, with 0."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[int] = set()
        self._next = 1

    def take(self) -> int:
        """A free number; 0, which counts for nobody, when there is none."""
        if len(self._taken) >= self._most - 1:
            return 0
        while self._next in self._taken or not self._next:
            self._next = (self._next + 1) % self._most
        return self._use(self._next)

    def adopt(self, number: int) -> int:
        """A number that a list has already; another one when it cannot be so."""
        if not 0 < number < self._most or number in self._taken:
            return self.take()
        return self._use(number)

    def give_back(self, number: int) -> None:
        """The list is gone."""
        self._taken.discard(number)

    def _use(self, number: int) -> int:
        self._taken.add(number)
        self._next = (number + 1) % self._most
        return number
