"""The kubelet's requests to its API server, made in threads of their own.

Not in the loop's: those may all be waiting for processes to end, and a lease cannot wait.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import msgspec

from podwire_core import typed
from podwire_core.feed.api_server import ApiError

STRATEGIC = "application/strategic-merge-patch+json"
_THREADS = 6


class Sender(Protocol):
    """What is needed of feed.api_server.ApiServer."""

    def send(self, method: str, path: str, body: object = None, kind: str = "") -> bytes:
        """See ApiServer. Raises ApiError."""
        ...


class Requests:
    """One server, for the coroutines of one loop."""

    def __init__(self, server: Sender) -> None:
        self._server = server
        self._threads = ThreadPoolExecutor(_THREADS, "requests")

    async def send(
        self, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        """The answer's object. Raises ApiError, also for an answer that is none."""
        request = partial(self._server.send, method, path, body, kind)
        answer = await asyncio.get_running_loop().run_in_executor(self._threads, request)
        try:
            return typed.decode(answer, dict[str, Any])
        except msgspec.MsgspecError as error:
            raise ApiError(0, f"{path}: the answer is no object: {error}") from error

    def close(self) -> None:
        """Begin no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
