"""Answers CNI calls on a UNIX socket, in threads of its own.

```
 accept ─► a thread a connection ─► root? ─► request ─► turn ─► still there? ─► plugin ─► answer
           at most 128                      in 5 s     turns    else forget it  program
```

STATUS takes no turn: runtimes ask it every few seconds and must not wait behind pods.

A call whose client gave up while it waited is never begun. The runtime follows it with a DEL,
which may have had its turn already: an ADD after that would leak. A call that has begun is
finished, whoever still listens, and a DEL for the same container waits for it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from podwire_node.cni.connection import Connection
from podwire_node.cni.listener import listen
from podwire_node.cni.program import Plugin, PluginProgram
from podwire_node.cni.refusal import BAD_ENVIRONMENT, INPUT_OUTPUT_FAILED, Refusal, later
from podwire_node.cni.turns import Late, Turns
from podwire_node.cni.wire import Answer, Request, WireError

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "cni"})

_CONNECTIONS = 128
# rtnetlink has one lock for the node, so more calls at once only wait inside the kernel.
_SEATS = 4
_ROOT = 0
# Less than the client waits (cni-plugin/client/call.c), so that it hears why.
_PATIENCE = {"STATUS": 4.5}
_DEFAULT_PATIENCE = 50.0
_COMMANDS = frozenset({"ADD", "DEL", "CHECK", "GC", "STATUS"})
_FAREWELL = 5.0  # what running calls get when the agent ends


class CniServer:
    """A context manager: answers calls while it is entered.

    socket: path of the UNIX socket; a stale one is replaced.  state_dir: the leases' folder,
    whatever a call's configuration says.  plugin: performs a call.

    Entering raises SocketUnusable (podwire_node.cni.listener). Plugins run in the network
    namespace of the thread that enters.
    """

    _listener: socket.socket | None = None

    def __init__(self, socket: Path, state_dir: Path, *, plugin: Plugin | None = None) -> None:
        self._path = socket
        self._plugin = plugin or PluginProgram(state_dir)
        self._turns = Turns(_SEATS)
        self._room = threading.BoundedSemaphore(_CONNECTIONS)
        self._ending = threading.Event()
        self._threads: set[threading.Thread] = set()

    def __enter__(self) -> Self:
        listener = self._listener = listen(self._path)
        # Daemon threads: a client that never goes must not keep the agent from ending.
        threading.Thread(target=self._accept, args=(listener,), name="cni", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take no more calls, and wait for the running ones, at most 5 s.

        What runs longer goes on without us: a plugin is a process of its own.
        """
        self._ending.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # which wakes accept()
            listener.close()
        deadline = time.monotonic() + _FAREWELL
        for thread in tuple(self._threads):
            if thread.is_alive():  # one that has not begun cannot be joined; it finds us ending
                thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self, listener: socket.socket) -> None:
        while not self._ending.is_set():
            self._room.acquire()
            try:
                accepted, _ = listener.accept()
            except OSError as error:
                self._room.release()
                # No descriptor is free, or we are ending, which ends the wait too.
                if not self._ending.wait(1.0):
                    _log.warning("%s: cannot accept a CNI call: %s", self._path, error)
                continue
            self._begin(accepted)

    def _begin(self, accepted: socket.socket) -> None:
        thread = threading.Thread(
            target=self._serve, args=(accepted,), name="cni-call", daemon=True
        )
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads for us; the client is told by a hang-up
            _log.warning("%s: cannot take a CNI call: %s", self._path, error)
            self._threads.discard(thread)
            accepted.close()
            self._room.release()

    def _serve(self, accepted: socket.socket) -> None:
        try:
            with accepted:
                self._converse(Connection(accepted))
        except OSError as error:
            _log.info("a CNI client went away: %s", error)
        except Exception:  # noqa: BLE001 - one call's fault is not the next one's
            _log.exception("a CNI call failed by a fault of podwire's own; please report it")
        finally:
            self._threads.discard(threading.current_thread())
            self._room.release()

    def _converse(self, connection: Connection) -> None:
        if connection.user != _ROOT:
            _log.warning("%s: user %d may make no CNI call", self._path, connection.user)
            return
        try:
            with connection.request() as (request, netns):
                answer = self._perform(request, netns, connection)
        except WireError as error:
            answer = Refusal(INPUT_OUTPUT_FAILED, f"the agent got no CNI call: {error}").answer
        except Refusal as refusal:
            answer = refusal.answer
        if answer is not None:
            connection.answer(answer)

    def _perform(
        self, request: Request, netns: int | None, connection: Connection
    ) -> Answer | None:
        """The call's answer; None when nobody waits for it any more. Raises Refusal."""
        if request.command not in _COMMANDS:
            raise Refusal(BAD_ENVIRONMENT, f"unknown CNI_COMMAND: {request.command}")
        begun = time.monotonic()
        deadline = begun + _PATIENCE.get(request.command, _DEFAULT_PATIENCE)
        if request.command == "STATUS":
            return self._plugin(request, netns, deadline)
        try:
            with self._turns.taken(request.container, deadline):
                if self._ending.is_set():
                    raise later(request, "the podwire agent is ending")
                if connection.is_gone:
                    return None
                answer = self._plugin(request, netns, deadline)
        except Late:
            raise later(request, f"{request.command} waited too long for other calls") from None
        _log.debug(
            "CNI %s %s: exit code %d after %.0f ms",
            request.command,
            request.container,
            answer.exit_code,
            (time.monotonic() - begun) * 1000,
        )
        return answer
