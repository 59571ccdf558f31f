"""Takes connections from one listening socket.

asyncio's own server loses a connection that it accepts while it is closed (Python 3.11: nobody
answers it, and nobody hangs up), which is what happens when a health check port moves.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Connections a turn of the loop, so that one listener holds up no other.
_A_TURN = 32
_PAUSE_S = 1.0


class Acceptor:
    """Accepts until closed. converse: makes the protocol of one connection."""

    def __init__(
        self, listener: socket.socket, converse: Callable[[], asyncio.BufferedProtocol]
    ) -> None:
        self._listener = listener
        self._converse = converse
        self._loop = asyncio.get_running_loop()
        self._begun: set[asyncio.Task[object]] = set()  # the loop itself would forget them
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)  # noqa: FBT003 - Python's own
        self._listen()

    def close(self) -> None:
        """Stop listening; the kernel resets who was not accepted yet."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_A_TURN):
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor or no memory is free
                log.warning("cannot accept a connection: %s", error.strerror)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(_PAUSE_S, self._listen)
                return
            accepted.setblocking(False)  # noqa: FBT003 - Python's own
            task = self._loop.create_task(self._begin(accepted))
            self._begun.add(task)
            task.add_done_callback(self._begun.discard)

    async def _begin(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._converse, accepted)
        except OSError as error:
            log.info("a client went away: %s", error)
            accepted.close()
