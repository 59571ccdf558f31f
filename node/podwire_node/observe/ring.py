"""The last drops, or translations, and those who follow them. One writes; any thread may read."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from podwire_node.observe.record import Record

SIZE = 4096


class News(NamedTuple):
    """What came since. missed: how many of it the ring no longer has. position: for the next.

    unseen: how many never came into it, since it was made.
    """

    records: Sequence[Record]
    position: int
    missed: int = 0
    unseen: int = 0


class Ring:
    """Records have numbers from 0 on; a position is the number of the next one to read."""

    def __init__(self, size: int = SIZE) -> None:
        self._records: deque[Record] = deque(maxlen=size)
        self._end = 0
        self._unseen = 0
        self._bells: set[int] = set()
        self._guard = threading.Lock()

    def add(self, records: Sequence[Record]) -> None:
        """The newest, in their order; the oldest go."""
        if not records:
            return
        with self._guard:
            self._records.extend(records)
            self._end += len(records)
            self._toll()

    def lose(self, number: int) -> None:
        """So many happened of which there is no record."""
        if not number:
            return
        with self._guard:
            self._unseen += number
            self._toll()

    def _toll(self) -> None:
        for bell in self._bells:
            os.eventfd_write(bell, 1)

    def all(self) -> News:
        """Everything there is."""
        return self.since(0)._replace(missed=0)

    def since(self, position: int) -> News:
        """What came from a position on."""
        with self._guard:
            oldest = self._end - len(self._records)
            begin = max(position, oldest)
            found = tuple(islice(self._records, begin - oldest, None))
            return News(found, self._end, begin - position, self._unseen)

    @contextmanager
    def bell(self) -> Iterator[int]:
        """A descriptor that becomes readable when records come; whoever hears it reads it."""
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with self._guard:
            self._bells.add(bell)
        try:
            yield bell
        finally:
            with self._guard:
                self._bells.discard(bell)
            os.close(bell)
