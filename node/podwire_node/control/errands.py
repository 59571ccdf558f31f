"""What a thread asks the agent's loop, which alone may look at the objects and change tables.

thread ─► ask(question) ─► bell ─► loop: question() ─► thread goes on with the answer
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from typing import Any, TypeVar

from podwire_node.control.errors import ControlError

T = TypeVar("T")

#: The first filling of large tables holds the loop for seconds.
PATIENCE_S = 30.0


class Errands:
    """Made and closed by the loop; any other thread may ask."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._guard = threading.Lock()
        self._closed = False

    def ask(self, question: Callable[[], T]) -> T:
        """What the question answers in the loop, or raises. Raises ControlError too.

        It runs between two turns of the loop, so it has to be short.
        """
        answer: Future[T] = Future()
        with self._guard:
            if self._closed:
                raise ControlError("the agent is ending")
            self._waiting.append((question, answer))
            os.eventfd_write(self._bell, 1)
        try:
            return answer.result(PATIENCE_S)
        except Late:  # ours, or the question's own: they are one class
            if not answer.cancel():  # it is being answered, or was
                return answer.result()
            raise ControlError(
                f"the agent has been busy for {PATIENCE_S:.0f} s: ask again later"
            ) from None

    def watched(self) -> Iterator[tuple[int, Callable[[], object]]]:
        """What wakes the loop when there are questions, and what to call then."""
        yield self._bell, self._hear

    def close(self) -> None:
        """Answer no more; who waits is told."""
        with self._guard:
            self._closed = True
            os.close(self._bell)
        while self._waiting:
            _, answer = self._waiting.popleft()
            if answer.set_running_or_notify_cancel():  # else nobody waits any more
                answer.set_exception(ControlError("the agent is ending"))

    def _hear(self) -> bool:
        """Answer what is asked. False: nothing has changed for the parts (Agent._wait)."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while self._waiting:
            question, answer = self._waiting.popleft()
            if not answer.set_running_or_notify_cancel():
                continue  # nobody waits any more
            try:
                answer.set_result(question())
            except Exception as error:  # noqa: BLE001 - it is the asker's, and must not end the loop
                answer.set_exception(error)
        return False
