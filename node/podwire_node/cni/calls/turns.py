"""Who may work when: one call at a time for a container, a bounded number in all.

```
 ADD    ──► the container's turn ──► one of N seats ──────► plugin
 others ──► the container's turn ──► one of N seats more ─► plugin
```

An ADD may wait for its pod's policy with its seat taken: there are many of those seats, and pods
that go have others.

The specification forbids a runtime to have two calls for one container. But a runtime that
gave an ADD up sends a DEL while the ADD still runs; the DEL has to come after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Late(Exception):  # noqa: N818 - what the call is, not what went wrong
    """The turn did not come before the deadline."""


class Turns:
    """Hands out turns. Thread-safe.

    seats: how many calls may work at the same time.  coming: how many ADDs beside them; as many
    where it is left out.
    """

    def __init__(self, seats: int, coming: int = 0) -> None:
        self._coming = threading.BoundedSemaphore(coming or seats)
        self._others = threading.BoundedSemaphore(seats)
        self._guard = threading.Lock()
        # The turn of each container that has a call now, and how many calls want it.
        self._containers: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def taken(self, container: str, deadline: float, *, coming: bool = False) -> Iterator[None]:
        """Work for a container inside the block.

        coming: whether this is an ADD.  deadline: by time.monotonic(). Raises Late when it
        passes before the turn comes.
        """
        turn = self._wanted(container)
        seats = self._coming if coming else self._others
        try:
            with _held(turn, deadline), _held(seats, deadline):
                yield
        finally:
            self._unwanted(container)

    @contextmanager
    def also_taken(self, container: str, deadline: float) -> Iterator[None]:
        """A container's turn beside a seat that one has already. Raises Late."""
        turn = self._wanted(container)
        try:
            with _held(turn, deadline):
                yield
        finally:
            self._unwanted(container)

    def _wanted(self, container: str) -> threading.Lock:
        with self._guard:
            turn, calls = self._containers.get(container) or (threading.Lock(), 0)
            self._containers[container] = turn, calls + 1
            return turn

    def _unwanted(self, container: str) -> None:
        with self._guard:
            turn, calls = self._containers[container]
            if calls == 1:
                del self._containers[container]
            else:
                self._containers[container] = turn, calls - 1


@contextmanager
def _held(lock: threading.Lock | threading.BoundedSemaphore, deadline: float) -> Iterator[None]:
    if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise Late
    try:
        yield
    finally:
        lock.release()
