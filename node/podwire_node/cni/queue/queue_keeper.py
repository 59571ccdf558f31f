"""Replays queued DELs: all there are before anyone is served, and then whenever some come.

enter ─► replay, at most 2 s ─► a thread: folder changed ─► replay ─► some left? back off

The agent's loop is who enters: policies and Services wait as long. What is left then is no
promise broken, as an ADD performs the DELs of its own container first (DeletionQueue.settle).
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from podwire_core.backoff import Backoff
from podwire_node.cni.calls.turns import Turns
from podwire_node.cni.files.folder_events import FolderEvents
from podwire_node.cni.queue.deletions import DeletionQueue

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "cni"})

_AT_START = 2.0
_AT_ONCE = 30.0
_FAREWELL = 5.0


class QueueKeeper:
    """A context manager: to be entered before the socket listens, left when it does no more.

    Its thread stays in the network namespace of the thread that enters. Entering raises OSError
    when the folder cannot be used, or no thread can be had.
    """

    def __init__(self, queue: DeletionQueue, turns: Turns) -> None:
        self._queue, self._turns = queue, turns
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._queue.prepare()
        with ExitStack() as stack:
            events = FolderEvents([self._queue.folder])
            stack.callback(events.close)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            stack.callback(os.close, self._wake)
            events.watch()  # before the first look: what comes after it is told
            left = self._queue.replay(self._turns, time.monotonic() + _AT_START)
            self._thread = threading.Thread(
                target=self._run, args=(events, left), name="cni-queue", daemon=True
            )
            _start(self._thread)
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._thread.join(_FAREWELL)
            if not self._thread.is_alive():  # one that hangs in a DEL still reads them
                self._closing.close()

    def _run(self, events: FolderEvents, left: int) -> None:
        backoff = Backoff(first=1.0)
        poller = select.poll()
        poller.register(events.fileno(), select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while True:
            until = backoff.failed(time.monotonic()) if left else None
            poller.poll(None if until is None else max(0.0, until - time.monotonic()) * 1000)
            if self._ending.is_set():
                return
            left = self._look(events)
            if not left:
                backoff.succeeded()

    def _look(self, events: FolderEvents) -> int:
        """Replay; how many are left. An unusable folder counts as one."""
        try:
            events.read()
            if not events.watch():
                self._queue.prepare()
                events.watch()
            return self._queue.replay(self._turns, time.monotonic() + _AT_ONCE)
        except OSError as error:
            _log.warning("%s: cannot be used: %s", self._queue.folder, error.strerror or error)
            return 1
        except Exception:  # noqa: BLE001 - one call's fault is not the next one's
            _log.exception("a queued DEL failed by a fault of podwire's own; please report it")
            return 1


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:  # a limit of processes is reached, which passes
        raise OSError(errno.EAGAIN, f"queued DELs: {error}") from error
