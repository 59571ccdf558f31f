"""A thread that gives connections their bit, or takes it away; the sync never waits for it.

    submit(changes) ─► inbox ─► mirror ─► one reading of the table a family ─► marks
                         ▲      at most one a second, and a share of the time    │
                         └──────── ConntrackError: said once, back-off ──────────┘

The kernel lists connections without the bit, then those with it; none is kept here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import takewhile
from typing import NamedTuple

from podwire_core.backoff import Backoff
from podwire_core.conntrack import Bits, Conntrack, Entry
from podwire_core.errors import ConntrackError
from podwire_core.family import FAMILIES
from podwire_core.objects import ObjectName
from podwire_core.snapshot import Change, Kind
from podwire_node.pace import Pace
from podwire_node.recheck.flows import Flows
from podwire_node.recheck.mirror import KINDS, Mirror
from podwire_node.stale.addresses import Addresses
from podwire_policy.reasons import CUT_BIT

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
_CUT, _UNCUT = Bits(CUT_BIT, CUT_BIT), Bits(0, CUT_BIT)
_FAREWELL_S = 0.5


class _Order(NamedTuple):
    changes: list[Change]
    everything: bool


class Rechecker:
    """Works in the network namespace of the thread that makes it. Close it, or it ends with us.

    runs, cut and restored (connections) only grow; last_duration is seconds. problem: why
    connections cannot be judged, "" while they can. Raises ConntrackError where they cannot be
    listed at all.
    """

    def __init__(self, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.runs = self.cut = self.restored = 0
        self.last_duration = 0.0
        self.problem = ""
        self._clock = clock
        self._mirror = Mirror(node)
        self._inbox: dict[tuple[Kind, ObjectName], Change] = {}
        self._asked = self._everything = self._busy = self._closed = False
        self._pace, self._backoff = Pace(), Backoff()
        self._next = 0.0
        self._something = threading.Condition()
        with ExitStack() as stack:
            self._conntrack = stack.enter_context(closing(Conntrack()))
            self._addresses = stack.enter_context(closing(Addresses()))
            self._sockets = stack.pop_all()
        self._thread = threading.Thread(target=self._work, name="recheck", daemon=True)
        self._thread.start()

    def submit(self, changes: Iterable[Change], *, run: bool, everything: bool = False) -> None:
        """What is in force now. Returns at once.

        run: whether the rules changed with it. everything: judge all connections, not only those
        that the changes concern.
        """
        with self._something:
            for each in changes:
                if each.kind in KINDS:
                    self._inbox[each.kind, each.name] = each
            self._asked |= run
            self._everything |= run and everything
            self._something.notify()

    @property
    def idle(self) -> bool:
        """Whether everything that was asked for has been judged."""
        with self._something:
            return not (self._asked or self._busy)

    def close(self) -> None:
        """Judge no more; marks stay as they are."""
        with self._something:
            self._closed = True
            self._something.notify()
        self._thread.join(_FAREWELL_S)

    # ------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        with self._sockets:
            while (order := self._next_order()) is not None:
                done = self._obey(order)
                with self._something:
                    self._busy = False
                    if not done:
                        self._asked = self._everything = True

    def _next_order(self) -> _Order | None:
        """Wait for something to do whose time has come; None when closed."""
        with self._something:
            while not self._closed:
                wait = max(self._next, self._pace.until, self._backoff.until) - self._clock()
                if not self._asked:
                    self._something.wait()
                elif wait > 0:
                    self._something.wait(wait)
                else:
                    order = _Order(list(self._inbox.values()), self._everything)
                    self._inbox.clear()
                    self._asked, self._everything, self._busy = False, False, True
                    return order
            return None

    def _obey(self, order: _Order) -> bool:
        """Judge what changed; whether all was judged."""
        began = self._clock()
        self._next = began + INTERVAL_S
        try:
            concerned = self._mirror.apply(order.changes)
            if concerned is None or concerned or order.everything:
                self._judge(None if order.everything else concerned)
        except (ConntrackError, OSError) as error:
            self._failed(str(error))
            return False
        except Exception as error:  # the thread must live
            log.exception("connections that policies may not allow any more")
            self._failed(f"{type(error).__name__}: {error}")
            return False
        else:
            self._succeeded()
            return True
        finally:
            self._pace.looked(began, self._clock())

    def _judge(self, concerned: frozenset[str] | None) -> None:
        began = self._clock()
        flows = Flows(self._mirror, self._addresses.read(), concerned)
        cut = self._mark(_UNCUT, _CUT, flows.is_to_be_cut)
        restored = self._mark(_CUT, _UNCUT, flows.may_go_on)
        self.runs += 1
        self.cut, self.restored = self.cut + cut, self.restored + restored
        self.last_duration = self._clock() - began
        if cut or restored:
            log.info(
                "connections: cut %d that policies do not allow any more, %d may go on (%.3f s)",
                cut,
                restored,
                self.last_duration,
                extra={"component": "policy"},
            )

    def _mark(self, have: Bits, want: Bits, which: Callable[[Entry], bool]) -> int:
        """Give those that have some bits others; how many there were."""
        marked = 0
        for family in FAMILIES:
            with closing(self._conntrack.entries(family, marked=have)) as entries:
                chosen: Iterator[Entry] = (
                    each for each in takewhile(lambda _: not self._closed, entries) if which(each)
                )
                marked += self._conntrack.mark(chosen, *want)
        return marked

    def _failed(self, reason: str) -> None:
        """Said once, until it works again."""
        self._backoff.failed(self._clock())
        if not self.problem:
            log.warning("established connections are not rechecked: %s; trying again", reason)
        self.problem = f"existingConnections: {reason}"

    def _succeeded(self) -> None:
        if self.problem:
            log.info("established connections are rechecked again")
        self.problem = ""
        self._backoff.succeeded()
