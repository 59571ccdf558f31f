"""Answers requests on a UNIX socket, a thread a client; nothing of it waits in the agent's loop.

accept ─► room? ─► request ─► heard ─► verb ─► answer, answer, … end ─► hang up
           │        in 5 s                       each taken within 5 s
           └─ 16 are there: an error

Its folder and its mode keep out everyone but root: an answer names every pod, and a question
costs the agent work.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from podwire_node.cni.calls.listener import listen
from podwire_node.control.errors import ControlError
from podwire_node.control.request import MAX_REQUEST_BYTES, Gone, Request, decode_request

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "control"})

MAX_CLIENTS = 16
_SECONDS = 5.0  # for a request to come, and for an answer to be taken
_AGAIN_S = 1.0  # until accept() is tried again that found no descriptor free
_FAREWELL_S = 2.0
_PIECE = 1 << 16
_PACK_BYTES = 32 * 1024  # answers that are there at once go in pieces of this size

#: Answers a request, in a thread of its own: what is yielded is sent. None says that the next
#: answer takes a while: what was yielded before goes out. It raises ControlError where it cannot
#: answer, and lets Gone pass.
Answer = Mapping[str, object] | msgspec.Struct
Verb = Callable[[Request], Iterable[Answer | None]]


class Control:
    """Listens from when it is made; close it. verbs: who answers, by the request's verb.

    Raises SocketUnusable (cni.calls.listener), OSError.
    """

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self.verbs = verbs
        self._path = path
        self._listener = listen(path)
        self._inode = path.stat().st_ino
        self._ending = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closed = threading.Event()
        self._guard = threading.Lock()
        self._clients: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    @property
    def clients(self) -> int:
        """How many are being answered now."""
        with self._guard:
            return len(self._clients)

    def close(self) -> None:
        """Take no more requests, and end the running ones."""
        self._closed.set()
        os.eventfd_write(self._ending, 1)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which wakes accept()
        deadline = time.monotonic() + _FAREWELL_S
        for thread in (self._thread, *tuple(self._clients)):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        if not self.clients:  # else one of them may still look at it
            os.close(self._ending)
        with suppress(OSError):  # unless a newer agent has put its own there
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    # --------------------------------------------------------------------- the acceptor

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client = self._listener.accept()[0]
            except OSError as error:  # no descriptor is free, or we are ending
                if not self._closed.wait(_AGAIN_S):
                    _log.warning("%s: cannot accept a client: %s", self._path, error)
                continue
            self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        """Give the client a thread, or the reason why it gets none."""
        thread = threading.Thread(target=self._serve, args=(client,), name="control", daemon=True)
        with self._guard:
            room = len(self._clients) < MAX_CLIENTS
            if room:
                self._clients.add(thread)
        try:
            if room:
                thread.start()
                return
            self._refuse(client, f"the agent answers {MAX_CLIENTS} clients already: ask later")
        except RuntimeError as error:
            with self._guard:
                self._clients.discard(thread)
            self._refuse(client, f"the agent can have no thread more: {error}")

    def _refuse(self, client: socket.socket, why: str) -> None:
        with client, suppress(OSError):
            client.settimeout(0)
            client.send(_line({"error": why}))
            _leave_unread(client)

    # -------------------------------------------------------------------------- one client

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                client.settimeout(_SECONDS)
                self._converse(client)
        except TimeoutError:
            _log.info("a client was too slow, and is left")
        except (OSError, Gone):
            pass  # it went, which is its right
        finally:
            with self._guard:
                self._clients.discard(threading.current_thread())

    def _converse(self, client: socket.socket) -> None:
        try:
            request = decode_request(_read_line(client))
            client.sendall(_line({"heard": True}))
            request.attend(client, self._ending)
            for pack in _packs(self._answers(request)):
                client.sendall(pack)
            client.sendall(_line({"end": True}))
        except ControlError as error:
            client.sendall(_line({"error": str(error)}))
            _leave_unread(client)

    def _answers(self, request: Request) -> Iterator[Answer | None]:
        """What the verb says; a fault of ours is told, and does not end the agent."""
        verb = self.verbs.get(request.verb)
        if verb is None:
            known = ", ".join(sorted(self.verbs))
            raise ControlError(f"no verb {request.verb[:60]!r}; this agent knows {known}")
        try:
            yield from verb(request)
        except (ControlError, Gone):
            raise
        except OSError as error:  # the kernel's, not the client's: no descriptor is free
            raise ControlError(f"the agent cannot look: {error.strerror or error}") from error
        except Exception as error:
            _log.exception("a request failed by a fault of podwire's own; please report it")
            raise ControlError(
                f"the agent failed by a fault of its own, see its log: {error!r}"
            ) from error


def _read_line(client: socket.socket) -> bytes:
    """The request's line. Raises ControlError, or OSError (TimeoutError) when it does not come."""
    deadline = time.monotonic() + _SECONDS
    line = bytearray()
    piece = b""
    while b"\n" not in piece:
        client.settimeout(max(0.001, deadline - time.monotonic()))
        piece = client.recv(_PIECE)
        if not piece:
            raise ControlError("the request ends before its line does")
        line += piece
        if len(line) > MAX_REQUEST_BYTES:
            raise ControlError(f"the request is longer than {MAX_REQUEST_BYTES >> 20} MiB")
    client.settimeout(_SECONDS)
    return bytes(line.partition(b"\n")[0])


def _leave_unread(client: socket.socket) -> None:
    """Hear nothing more of it, so that hanging up is an end.

    A UNIX socket that is closed with something unread in it resets its peer, who may then lose
    what was said last. Nothing waits: nothing can come once we hear no more.
    """
    client.shutdown(socket.SHUT_RD)
    while client.recv(_PIECE):
        pass


def _packs(answers: Iterable[Answer | None]) -> Iterator[bytes]:
    """Lines to send: each at once where the next is not there yet, else many together.

    A verb that streams yields None before it waits.
    """
    waiting = bytearray()
    error = None
    try:
        for answer in answers:
            if answer is not None:
                waiting += _line(answer)
            if waiting and (answer is None or len(waiting) >= _PACK_BYTES):
                yield bytes(waiting)
                waiting.clear()
    except ControlError as found:  # what was said before it is said all the same
        error = found
    if waiting:
        yield bytes(waiting)
    if error is not None:
        raise error


def _line(answer: Answer) -> bytes:
    return msgspec.json.encode(answer) + b"\n"
