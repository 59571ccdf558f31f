"""Answers CNI calls on a UNIX socket, in threads of its own.

```
 thread ─► accept ─► root? ─► request ─► turn ─► still there? ─► plugin ─► answer ─► accept
             │                in 5 s     turns    else forget it
             └─ none left that accepts? one more, up to 128
```

Threads stay for the next call: a thread's start is a good part of what the rest here costs.

STATUS takes no turn: runtimes ask it every few seconds and must not wait behind pods.

A call whose client gave up while it waited is never begun. The runtime follows it with a DEL,
which may have had its turn already: an ADD after that would leak. A call that has begun is
finished, whoever still listens, and a DEL for the same container waits for it. DELs that came
when there was no agent are done before anyone is served (cni.queue).
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from podwire_node.cni.calls.connection import Connection
from podwire_node.cni.calls.listener import listen
from podwire_node.cni.calls.plugin import Plugin
from podwire_node.cni.calls.refusal import (
    BAD_ENVIRONMENT,
    INPUT_OUTPUT_FAILED,
    Refusal,
    error_code,
    later,
)
from podwire_node.cni.calls.turns import Late, Turns
from podwire_node.cni.calls.wire import Answer, Request, WireError
from podwire_node.cni.queue.deletions import DeletionQueue
from podwire_node.cni.queue.queue_keeper import QueueKeeper

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "cni"})

_CONNECTIONS = 128
_SPARE = 8  # threads that wait for calls; more of them end when theirs is answered
_SEATS = 8  # rtnetlink has one lock for the node, and the leases another
_COMING_SEATS = 64  # ADDs that wait for their Pod or its policy hold up no others
_ROOT = 0
# Less than the client waits (cni-plugin/client/call.c), so that it hears why.
_PATIENCE = {"STATUS": 4.5}
_DEFAULT_PATIENCE = 50.0
_COMMANDS = frozenset({"ADD", "DEL", "CHECK", "GC", "STATUS"})
_FAREWELL = 5.0  # what running calls get when the agent ends

#: Told of each call that got an answer: its command, CNI's error code or 0, its seconds.
Counted = Callable[[str, int, float], object]


def make_turns() -> Turns:
    """Turns as this server hands them out."""
    return Turns(_SEATS, _COMING_SEATS)


class CniServer:
    """A context manager: answers calls while it is entered.

    socket: path of the UNIX socket; a stale one is replaced.  state_dir: the leases' folder,
    with the queue of DELs in it.  plugin: performs a call.  turns: who else works on containers
    shares them.

    Entering raises SocketUnusable (cni.calls.listener), or OSError where the queue cannot be used.
    Calls work in the network namespace of the thread that enters.
    """

    def __init__(
        self,
        socket: Path,
        state_dir: Path,
        *,
        plugin: Plugin,
        turns: Turns | None = None,
        counted: Counted = lambda *_: None,
    ) -> None:
        self._path = socket
        self._plugin = plugin
        self._counted = counted
        self._turns = turns or make_turns()
        self._queue = DeletionQueue(state_dir / "queue", plugin)
        self._ending = threading.Event()
        self._guard = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._deaf = False  # told that no call can be accepted
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # First, so that no queued DEL removes what an ADD has made since.
            stack.enter_context(QueueKeeper(self._queue, self._turns))
            listener = listen(self._path)
            stack.callback(listener.close)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)  # which wakes accept()
            if not self._add_thread(listener):
                raise OSError(f"{self._path}: no thread can be had to serve it")
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def calls(self) -> int:
        """How many clients are being served now."""
        with self._guard:
            return len(self._threads) - self._idle

    def close(self) -> None:
        """Take no more calls, and wait for the running ones, at most 5 s.

        What runs longer ends with the process; leases tell the next agent what it left.
        """
        self._ending.set()
        self._closing.close()
        deadline = time.monotonic() + _FAREWELL
        for thread in tuple(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    # --------------------------------------------------------------- threads that accept

    def _add_thread(self, listener: socket.socket) -> bool:
        """One more that accepts; false when there can be none."""
        # Daemon threads: a client that never goes must not keep the agent from ending.
        thread = threading.Thread(target=self._work, args=(listener,), name="cni", daemon=True)
        with self._guard:
            self._threads.add(thread)
            self._idle += 1
        try:
            thread.start()
        except RuntimeError as error:  # those that are there accept again when they are done
            _log.warning("%s: one call fewer at once: %s", self._path, error)
            with self._guard:
                self._threads.discard(thread)
                self._idle -= 1
            return False
        return True

    def _work(self, listener: socket.socket) -> None:
        """Serve clients, one after the other, for as long as this thread is needed."""
        try:
            while (accepted := self._accepted(listener)) is not None:
                if self._is_last():
                    self._add_thread(listener)
                self._serve(accepted)
                if self._is_surplus():
                    return
        finally:
            with self._guard:
                self._threads.discard(threading.current_thread())

    def _accepted(self, listener: socket.socket) -> socket.socket | None:
        """The next client; None when we are ending."""
        while True:
            try:
                accepted = listener.accept()[0]
            except OSError as error:
                # No descriptor is free, or we are ending, which ends the wait too.
                if self._ending.wait(1.0):
                    with self._guard:
                        self._idle -= 1
                    return None
                if not self._deaf:  # every thread that waits gets here, each second
                    _log.warning("%s: cannot accept CNI calls: %s", self._path, error)
                self._deaf = True
            else:
                self._deaf = False
                return accepted

    def _is_last(self) -> bool:
        """Accept no more; whether nobody else does, and there may be one more."""
        with self._guard:
            self._idle -= 1
            room = len(self._threads) < _CONNECTIONS and not self._ending.is_set()
            return not self._idle and room

    def _is_surplus(self) -> bool:
        """Whether enough others accept; if not, this thread does so again."""
        with self._guard:
            if self._idle >= _SPARE:
                return True
            self._idle += 1
            return False

    # ------------------------------------------------------------------------- one client

    def _serve(self, accepted: socket.socket) -> None:
        try:
            with accepted:
                self._converse(Connection(accepted))
        except OSError as error:
            _log.info("a CNI client went away: %s", error)
        except Exception:  # noqa: BLE001 - one call's fault is not the next one's
            _log.exception("a CNI call failed by a fault of podwire's own; please report it")

    def _converse(self, connection: Connection) -> None:
        if connection.user != _ROOT:
            _log.warning("%s: user %d may make no CNI call", self._path, connection.user)
            return
        try:
            with connection.request() as (request, netns):
                answer = self._answer(request, netns, connection)
        except WireError as error:
            answer = Refusal(INPUT_OUTPUT_FAILED, f"the agent got no CNI call: {error}").answer
        if answer is None:
            return
        try:
            connection.answer(answer)
        except WireError as error:  # a GC that has failed for thousands of pods
            connection.answer(Refusal(INPUT_OUTPUT_FAILED, str(error)).answer)

    def _answer(self, request: Request, netns: int | None, connection: Connection) -> Answer | None:
        """The call's answer, counted; None when nobody waits for it any more."""
        begun = time.monotonic()
        try:
            answer = self._perform(request, netns, connection)
        except Refusal as refusal:
            answer = refusal.answer
        if answer is not None:
            known = request.command if request.command in _COMMANDS else "other"
            self._counted(known, error_code(answer), time.monotonic() - begun)
        return answer

    def _perform(
        self, request: Request, netns: int | None, connection: Connection
    ) -> Answer | None:
        """The call's answer; None when nobody waits for it any more. Raises Refusal."""
        if request.command not in _COMMANDS:
            raise Refusal(BAD_ENVIRONMENT, f"unknown CNI_COMMAND: {request.command}")
        deadline = time.monotonic() + _PATIENCE.get(request.command, _DEFAULT_PATIENCE)
        if request.command == "STATUS":
            return self._plugin(request, netns, deadline)
        coming = request.command == "ADD"
        try:
            with self._turns.taken(request.container, deadline, coming=coming):
                if self._ending.is_set():
                    if request.command == "DEL":
                        return None  # hung up on, its client queues it for the next agent
                    raise later(request, "the podwire agent is ending")
                if connection.is_gone:
                    return None
                if coming:
                    self._queue.settle(request.container, deadline)
                return self._plugin(request, netns, deadline)
        except Late:
            raise later(request, f"{request.command} waited too long for other calls") from None
