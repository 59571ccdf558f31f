"""A thread that makes the kernel forget stale UDP connections; the sync never waits for it.

    submit(frontends) ─► backlog ─► anything lost? ─► read the table once ─► plan ─► delete
                            ▲            no: done       a family at a time            │
                            └───────── ConntrackError: said once, back-off ───────────┘

The table may hold millions of entries of others. It is read as it comes, none is kept, and while
Services change all the time reading has its share of the time and no more (pace.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from ipaddress import ip_address, ip_network
from itertools import takewhile
from typing import NamedTuple

from podwire_core.backoff import Backoff
from podwire_core.conntrack import UDP, Conntrack
from podwire_core.errors import ConntrackError
from podwire_core.family import Family
from podwire_node.pace import Pace
from podwire_node.stale.addresses import Addresses
from podwire_node.stale.backlog import Backlog, Step
from podwire_node.stale.plan import Frontends, has_nodeports, plan

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """One reading of a family's table."""

    family: Family
    seconds: float
    deleted: int


class StaleConnections:
    """Works in the network namespace of the thread that makes it. Close it, or it ends with us.

    ran: called by the thread after each reading; it must not raise. runs and deleted_total only
    grow; last_duration is seconds. The first submit() always reads: what it finds was left from
    while nobody looked. Raises ConntrackError where connections cannot be listed at all.
    """

    def __init__(
        self,
        ran: Callable[[Run], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runs = self.deleted_total = 0
        self.last_duration = 0.0
        self._ran, self._clock = ran, clock
        self._backlog, self._pace, self._backoff = Backlog(), Pace(), Backoff()
        self._complained = self._closed = self._busy = False
        self._nodeport_networks: tuple[str, ...] = ()
        self._answered: set[bytes] = set()
        self._something = threading.Condition()
        self._open()
        self._thread = threading.Thread(target=self._work, name="stale-connections", daemon=True)
        self._thread.start()

    def submit(self, frontends: Frontends, nodeport_networks: Sequence[str] = ()) -> None:
        """All UDP frontends with the endpoints that serve them, as they are in the kernel now.

        nodeport_networks: where NodePorts answer, as far as this node has addresses in there.
        The mapping must not change any more. Returns at once.
        """
        with self._something:
            self._nodeport_networks = tuple(nodeport_networks)
            self._backlog.put(frontends)
            self._something.notify()

    @property
    def idle(self) -> bool:
        """Whether everything that was submitted has been compared."""
        with self._something:
            return not (self._backlog.waiting or self._busy)

    def close(self) -> None:
        """Compare no more; what is being read is left where it is."""
        with self._something:
            self._closed = True
            self._something.notify()
        self._thread.join(0.5)

    def _open(self) -> None:
        with ExitStack() as stack:
            self._conntrack = Conntrack()
            stack.callback(self._conntrack.close)
            self._addresses = Addresses()
            stack.callback(self._addresses.close)
            self._sockets = stack.pop_all()

    def _work(self) -> None:
        with self._sockets:
            while (step := self._next()) is not None:
                failed = not self._compare(step)
                with self._something:
                    self._busy = False
                    if failed:
                        self._backlog.failed(step)

    def _next(self) -> Step | None:
        """Wait for a step whose time has come; None when closed."""
        with self._something:
            while not self._closed:
                wait = max(self._pace.until, self._backoff.until) - self._clock()
                if not self._backlog.waiting:
                    self._something.wait()
                elif wait > 0:
                    self._something.wait(wait)
                else:
                    self._busy = True
                    return self._backlog.take()
            return None

    def _compare(self, step: Step) -> bool:
        """Delete what is stale; whether all was compared."""
        began = self._clock()
        try:
            targets = step.targets
            if targets is not None:
                self._forget(targets)
        except (ConntrackError, OSError) as error:
            self._failed(error)
            return False
        except Exception:  # the thread must live
            log.exception("stale UDP connections")
            self._backoff.failed(self._clock())
            return False
        else:
            self._succeeded()
            return True
        finally:
            self._pace.looked(began, self._clock())

    def _forget(self, targets: Frontends) -> None:
        local = self._nodeport_addresses() if has_nodeports(targets) else frozenset()
        began = self._clock()
        for family in sorted({each.family for each in targets}):
            self._forget_of(family, targets, local)
        self.runs += 1
        self.last_duration = self._clock() - began

    def _nodeport_addresses(self) -> frozenset[bytes]:
        """Where NodePorts answer, or did: an address that moved away is in entries still."""
        with self._something:
            networks = [ip_network(each) for each in self._nodeport_networks]
        there = {ip_address(each) for each in self._addresses.read()}
        there |= {each.network_address for each in networks if each.num_addresses == 1}
        self._answered |= {
            each.packed for each in there if any(each in network for network in networks)
        }
        return frozenset(self._answered)

    def _forget_of(self, family: Family, targets: Frontends, local: frozenset[bytes]) -> None:
        began = self._clock()
        with closing(self._conntrack.entries(family, UDP)) as entries:
            wanted = takewhile(lambda _: not self._closed, entries)
            deleted = self._conntrack.delete(plan(wanted, targets, local))
        seconds = self._clock() - began
        self.deleted_total += deleted
        if deleted:
            log.info("forgot %d stale UDP connections (%s, %.3f s)", deleted, family, seconds)
        self._ran(Run(family, seconds, deleted))

    def _failed(self, error: Exception) -> None:
        """Said once, until it works again."""
        self._backoff.failed(self._clock())
        if not self._complained:
            log.warning("stale UDP connections stay: %s; trying again", error)
        self._complained = True

    def _succeeded(self) -> None:
        if self._complained:
            log.info("stale UDP connections can be forgotten again")
        self._complained = False
        self._backoff.succeeded()
