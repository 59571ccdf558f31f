"""Making the kernel forget stale UDP connections, in a thread; the sync never waits for it.

    anything lost? ─► read the table once, a family at a time ─► plan ─► delete

The table may hold millions of entries of others. It is read as it comes, and none is kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from ipaddress import ip_address, ip_network
from itertools import takewhile
from typing import NamedTuple

from podwire_core.conntrack import UDP, Conntrack
from podwire_core.family import Family
from podwire_node.stale.addresses import Addresses
from podwire_node.stale.backlog import Step
from podwire_node.stale.follower import Follower
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

    subject = "stale UDP connections"

    def __init__(
        self,
        ran: Callable[[Run], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runs = self.deleted_total = 0
        self.last_duration = 0.0
        self._ran, self._clock = ran, clock
        self._nodeport_networks: tuple[str, ...] = ()
        self._answered: set[bytes] = set()
        self._open()
        self._follower = Follower(self, clock)

    def submit(self, frontends: Frontends, nodeport_networks: Sequence[str] = ()) -> None:
        """All UDP frontends with the endpoints that serve them, as they are in the kernel now.

        nodeport_networks: where NodePorts answer, as far as this node has addresses in there.
        The mapping must not change any more. Returns at once.
        """
        self._nodeport_networks = tuple(nodeport_networks)
        self._follower.submit(frontends)

    @property
    def idle(self) -> bool:
        """Whether everything that was submitted has been compared."""
        return self._follower.idle

    def close(self) -> None:
        """Compare no more; what is being read is left where it is."""
        self._follower.close()

    def _open(self) -> None:
        with ExitStack() as stack:
            self._conntrack = Conntrack()
            stack.callback(self._conntrack.close)
            self._addresses = Addresses()
            stack.callback(self._addresses.close)
            self._sockets = stack.pop_all()

    # ------------------------------------------------------------------ in the thread

    def compare(self, step: Step, closed: Callable[[], bool]) -> None:
        """See Comparison."""
        targets = step.targets
        if targets is None:
            return
        local = self._nodeport_addresses() if has_nodeports(targets) else frozenset()
        began = self._clock()
        for family in sorted({each.family for each in targets}):
            self._forget_of(family, targets, local, closed)
        self.runs += 1
        self.last_duration = self._clock() - began

    def end(self) -> None:
        """See Comparison."""
        self._sockets.close()

    def _nodeport_addresses(self) -> frozenset[bytes]:
        """Where NodePorts answer, or did: an address that moved away is in entries still."""
        networks = [ip_network(each) for each in self._nodeport_networks]
        there = {ip_address(each) for each in self._addresses.read()}
        there |= {each.network_address for each in networks if each.num_addresses == 1}
        self._answered |= {
            each.packed for each in there if any(each in network for network in networks)
        }
        return frozenset(self._answered)

    def _forget_of(
        self,
        family: Family,
        targets: Frontends,
        local: frozenset[bytes],
        closed: Callable[[], bool],
    ) -> None:
        began = self._clock()
        with closing(self._conntrack.entries(family, UDP)) as entries:
            wanted = takewhile(lambda _: not closed(), entries)
            deleted = self._conntrack.delete(plan(wanted, targets, local))
        seconds = self._clock() - began
        self.deleted_total += deleted
        if deleted:
            log.info("forgot %d stale UDP connections (%s, %.3f s)", deleted, family, seconds)
        self._ran(Run(family, seconds, deleted))
