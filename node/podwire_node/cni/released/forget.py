"""What the kernel remembers of addresses that nobody has any more, and making it forget.

    submit(addresses) ─► gathered for GATHER_S ─► conntrack, read once ─► neighbours, read once
                                 ▲
    wait(addresses) ─────────────┘ an ADD that was given one of them is in a hurry

An address rests for half a minute before it is given again, as long as there are others: so this
is work for a thread, once for all pods that go in a second. What a crash left is found by the
next start, which submits all addresses that rest.

A connection that is not forgotten would send the next owner's packets to where its NAT says, and
its UDP answers to a stranger.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address

from podwire_cni.rtnetlink import Refused, Socket
from podwire_core.conntrack import Conntrack
from podwire_core.errors import ConntrackError
from podwire_node.cni.released.neighbours import Neighbours
from podwire_node.pace import Pace

log = logging.getLogger(__name__)

GATHER_S = 1.0
_FAREWELL_S = 1.0
_Address = IPv4Address | IPv6Address


class Forgetter:
    """A thread that works in the network namespace of whoever makes it. Close it."""

    def __init__(self) -> None:
        self._gathered: set[_Address] = set()
        self._working: frozenset[_Address] = frozenset()
        self._since = 0.0  # when the first of those that are gathered came
        self._pace = Pace()
        self._hurry = self._closed = False
        self._changed = threading.Condition()
        with ExitStack() as stack:
            self._conntrack = _conntrack(stack)
            self._neighbours = Neighbours(stack.enter_context(Socket()))
            self._sockets = stack.pop_all()
        self._thread = threading.Thread(target=self._work, name="forget-addresses", daemon=True)
        self._thread.start()

    def submit(self, addresses: Iterable[_Address]) -> None:
        """Forget these some time soon; returns at once."""
        with self._changed:
            if not self._gathered:
                self._since = time.monotonic()
                self._changed.notify_all()
            self._gathered.update(addresses)

    def wait(self, addresses: Iterable[_Address], deadline: float) -> bool:
        """Whether none of these has anything to be forgotten, now or before the deadline."""
        these = frozenset(addresses)
        with self._changed:
            while not self._closed and not these.isdisjoint(self._gathered | self._working):
                self._hurry = True
                self._changed.notify_all()
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    return False
        return True

    def close(self) -> None:
        """Forget no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_FAREWELL_S)

    def _work(self) -> None:
        with self._sockets:
            while these := self._next():
                began = time.monotonic()
                self._forget(these)
                self._pace.looked(began, time.monotonic())
                with self._changed:
                    self._working = frozenset()
                    self._changed.notify_all()

    def _next(self) -> frozenset[_Address]:
        """Wait until some are due; none when closed."""
        with self._changed:
            while not self._closed:
                due = max(self._since + GATHER_S, self._pace.until)
                wait = 0.0 if self._hurry else due - time.monotonic()
                if not self._gathered:
                    self._changed.wait()
                elif wait > 0:
                    self._changed.wait(wait)
                else:
                    self._working, self._gathered = frozenset(self._gathered), set()
                    self._hurry = False
                    return self._working
        return frozenset()

    def _forget(self, addresses: frozenset[_Address]) -> None:
        """Once, with or without success: later, the addresses may be another pod's."""
        try:
            if self._conntrack is not None:
                self._conntrack.forget(sorted(map(str, addresses)))
            # What was set by hand goes with its link.
            learnt = self._neighbours.learnt({each.packed for each in addresses})
            self._neighbours.remove(learnt)
        except (ConntrackError, OSError, Refused) as error:
            log.warning("connections of %d released addresses stay: %s", len(addresses), error)
        except Exception:  # the thread must live
            log.exception("connections of released addresses")


def _conntrack(stack: ExitStack) -> Conntrack | None:
    """None where the kernel cannot list connections."""
    try:
        conntrack = Conntrack()
    except ConntrackError as error:
        log.warning("connections of released addresses stay: %s", error)
        return None
    stack.callback(conntrack.close)
    return conntrack
