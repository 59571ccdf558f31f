"""Keys that there is something to send for: each once, a few at a time, until it arrives.

Whoever has something new says for which key; `send` finds out what there is to send for it
when its turn has come. So a slow or absent server costs one entry a key, and never the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from podwire_core.backoff import Backoff
from podwire_core.feed.api_server import ApiError
from podwire_lab.kubelet.container import Clock

K = TypeVar("K", bound=Hashable)

_AT_ONCE = 4
_FIRST, _LONGEST = 0.25, 30.0

_log = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """Make it inside the event loop. `send` raises ApiError when it did not arrive."""

    def __init__(self, send: Callable[[K], Awaitable[None]], clock: Clock) -> None:
        self._send, self._clock = send, clock
        self._waiting: set[K] = set()
        self._tasks: dict[K, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def put(self, key: K) -> None:
        """There is something new to send for this key."""
        self._waiting.add(key)
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._work(key))

    def close(self) -> None:
        """Send nothing more."""
        for task in self._tasks.values():
            task.cancel()

    async def _work(self, key: K) -> None:
        backoff = Backoff(_FIRST, _LONGEST, jitter=0.5)
        try:
            while key in self._waiting:
                self._waiting.discard(key)
                try:
                    async with self._slots:
                        await self._send(key)
                    backoff.succeeded()
                except ApiError as error:
                    await self._failed(key, error, backoff)
        finally:
            del self._tasks[key]

    async def _failed(self, key: K, error: ApiError, backoff: Backoff) -> None:
        """Say it once a row of failures, and wait before the next try."""
        if not error.passes and error.status != 403:  # rights come a moment after a server
            if error.status not in {404, 409}:  # gone, or another's: nothing is wrong
                _log.error("%s: refused: %s", key, error)
            return
        if not backoff.until:
            _log.warning("%s: not sent: %s; tries again", key, error)
        self._waiting.add(key)
        await self._clock.sleep(backoff.failed(0.0))
