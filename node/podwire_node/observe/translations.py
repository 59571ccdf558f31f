"""Hears what the socket programs tell of translations, while somebody wants to know.

somebody follows ─► the flag OBSERVED ─► programs write ─► ring of the kernel's
                                                              │ a thread, at most 1,000 a second
the last one left ─► no flag, no thread          ring ◄── names ◄──┘ the rest: counted

So a connect() costs nothing more while nobody looks, and the past holds what somebody followed.
When the programs are made anew (their pins were taken away), who follows goes on with their ring.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

from podwire_core.objects import Node, ObjectName
from podwire_ebpf.records import Event
from podwire_node.control.errors import ControlError
from podwire_node.control.view import View
from podwire_node.observe.bounds import Allowance, Share
from podwire_node.observe.namespaces import Namespaces
from podwire_node.observe.naming import Ground
from podwire_node.observe.ring import Ring
from podwire_node.observe.sockets import Events, Sockets
from podwire_node.observe.translation import SocketGround, translated
from podwire_node.stale.namespaces import Refusals

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "proxy"})

RATE, BURST = 1000, 4000  # records a second
_SHARE = 20  # of the time may go into reading names
_NS = 1e9
_FAREWELL_S = 2.0


class Translations:
    """Made by the agent's loop; heard() is for any other thread. close() it.

    ring: records of those that somebody followed. sockets: None where no programs are this
    agent's to load; why: what is told then.
    """

    def __init__(self, view: View, sockets: Sockets | None, why: str = "") -> None:
        self.ring = Ring()
        self._view = view
        self._sockets = sockets
        self._why = why
        self._guard = threading.Lock()
        self._followers = 0
        self._hearing: _Hearing | None = None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """While somebody follows. Raises ControlError where there is nothing to hear."""
        self._join()
        try:
            yield
        finally:
            self._leave()

    def silence(self) -> str:
        """Why programs tell nothing, however long one follows; "" where they serve."""
        sockets = self._sockets
        if sockets is None:
            return self._why
        backend, why = self._view.in_loop(lambda: (sockets.backend, sockets.why))
        if backend == "ebpf":
            return ""
        return f"this agent serves Services by nftables now, so there are no translations: {why}"

    def close(self) -> None:
        """Hear no more; the flag is cleared by the part that has the programs, at its start."""
        with self._guard:
            hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.close()

    def _join(self) -> None:
        if self._sockets is None:
            raise ControlError(self._why)
        sockets = self._sockets
        with self._guard:
            if self._hearing is not None and self._hearing.ended:
                self._hearing.close()
                self._hearing = None
            if self._hearing is None:
                self._hearing = self._begin(sockets)
            self._followers += 1

    def _begin(self, sockets: Sockets) -> _Hearing:
        try:
            hearing = _Hearing(self.ring, _Ground(self._view, sockets))
        except (OSError, RuntimeError) as error:  # no descriptor, no thread
            raise ControlError(f"translations cannot be heard: {error}") from error
        try:
            self._view.in_loop(lambda: sockets.observe(hearing.hear))
        except ControlError:
            hearing.close()
            with suppress(ControlError):  # it may be observed all the same
                self._view.in_loop(sockets.unobserve)
            raise
        return hearing

    def _leave(self) -> None:
        with self._guard:
            self._followers -= 1
            sockets = self._sockets
            if self._followers or sockets is None:
                return
            hearing, self._hearing = self._hearing, None
            if hearing is not None:
                hearing.close()
            with suppress(ControlError):  # the agent is ending
                self._view.in_loop(sockets.unobserve)


class _Heard(NamedTuple):
    """A ring, and how many events it had lost before."""

    events: Events
    lost: int


class _Hearing:
    """A thread that reads the kernel's ring; ended: it does so no more, maybe by a fault."""

    def __init__(self, ring: Ring, ground: _Ground) -> None:
        self.ended = False
        self._ring = ring
        self._ground = ground
        self._allowance = Allowance(RATE, BURST)
        self._guard = threading.Lock()
        self._next: _Heard | None = None
        self._closed = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._work, name="translations", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            os.close(self._bell)
            raise

    def hear(self, events: Events) -> None:
        """Leave the ring that was read before, for this one."""
        events.read()  # what an earlier reader left
        unheard: _Heard | None = _Heard(events, events.lost)
        with self._guard:
            if not (self._closed or self.ended):
                unheard, self._next = self._next, unheard
                os.eventfd_write(self._bell, 1)
        if unheard is not None:
            unheard.events.close()

    def close(self) -> None:
        """Hear no more."""
        with self._guard:
            self._closed = True
            os.eventfd_write(self._bell, 1)
        self._thread.join(_FAREWELL_S)
        if not self._thread.is_alive():
            os.close(self._bell)

    # --------------------------------------------------------------------- in the thread

    def _work(self) -> None:
        try:
            while (heard := self._awaited()) is not None:
                with closing(heard.events):
                    self._read(*heard)
        except Exception:  # noqa: BLE001 - told in the log; the next who follows begins anew
            _log.exception("translations are not heard any more by a fault of podwire's own")
        with self._guard:
            self.ended, unheard = True, self._next
        if unheard is not None:
            unheard.events.close()

    def _awaited(self) -> _Heard | None:
        """The next ring; None: nobody wants to hear any more."""
        while True:
            os.eventfd_read(self._bell)
            with self._guard:
                if self._closed:
                    return None
                found, self._next = self._next, None
            if found is not None:
                return found

    def _read(self, events: Events, lost: int) -> None:
        """Until the bell rings."""
        poll = select.poll()
        poll.register(events.fileno(), select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        while self._bell not in {each for each, _ in poll.poll()}:
            told = events.read()
            taken = told[: self._allowance.take(len(told))]
            before, lost = lost, events.lost
            self._ring.lose(len(told) - len(taken) + lost - before)
            if taken:
                self._keep(taken)

    def _keep(self, taken: Sequence[Event]) -> None:
        try:
            known = self._ground.now()
        except ControlError as error:  # the objects are not known yet, or we are ending
            _log.debug("%d translations without a name: %s", len(taken), error)
            self._ring.lose(len(taken))
            return
        since = time.time() - time.monotonic()
        self._ring.add([translated(each, since + each.time / _NS, known) for each in taken])


class _Ground:
    """Names of now, or of a moment ago where reading them is dear; for one thread."""

    def __init__(self, view: View, sockets: Sockets) -> None:
        self._view = view
        self._sockets = sockets
        refusals = Refusals("sockets in there are told of without their pod")
        self._namespaces = Namespaces(sockets.reached, refusals)
        self._share = Share(_SHARE)
        self._known: SocketGround | None = None

    def now(self) -> SocketGround:
        """What names are found in. Raises ControlError."""
        if self._known is None or self._share.due:
            began = time.monotonic()
            self._known = self._read()
            self._share.rest(began)
        return self._known

    def _read(self) -> SocketGround:
        moment = self._view.now()
        sockets = self._sockets
        if self._known is not None and self._known.ground.judge is moment.judge:
            return self._known
        own = moment.snapshot.get(Node, ObjectName("", self._view.node))
        addresses = frozenset(own.addresses if own else ())
        ground = Ground(moment.judge, {}, self._view.node, addresses)
        cookie, labels = self._view.in_loop(lambda: (sockets.node_cookie, dict(sockets.labels)))
        return SocketGround(ground, self._namespaces.addresses, cookie, labels)
