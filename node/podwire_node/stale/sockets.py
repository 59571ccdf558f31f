"""Ending connected sockets whose endpoint went, so that their programs dial again.

    anything lost? ─► read once which sockets were sent to whom, and what they dialled
                      ─► plan ─► find these sockets, a namespace at a time ─► destroy

A program that called connect() dialled once: the kernel sends to the endpoint for ever, and no
program of ours sees it again. Only sockets that ours translated are ended, and only while their
peer is still the endpoint that they were sent to: the cookie says which (maps.c, reverse, peers).

Of UDP all end with their endpoint; TCP's by choice, for a connection to a pod that is gone ends by
itself, but only after a quarter of an hour where the pod's node went with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import NamedTuple

from podwire_core.family import FAMILIES
from podwire_core.sock_diag import CONNECTED, SockDiag
from podwire_ebpf.errors import BpfError
from podwire_ebpf.records import Reverse, ReverseKey
from podwire_node.stale.backlog import Step
from podwire_node.stale.follower import Follower
from podwire_node.stale.in_vain import InVain
from podwire_node.stale.namespaces import Refusals, everywhere
from podwire_node.stale.plan import Frontends
from podwire_node.stale.socket_plan import Stale, stale_sockets

log = logging.getLogger(__name__)

#: Endpoints often go and come in one breath, and a connect() that began before is over by then.
SETTLE_S = 0.05


class Run(NamedTuple):
    """One look at every namespace. destroyed: how many sockets."""

    seconds: float
    destroyed: int


class StaleSockets:
    """Looks in every network namespace of the machine. Close it, or it ends with us.

    rows: reads them in a thread of ours (socket_plan.translated). ran: called by that thread after
    each look; it must not raise. runs and destroyed_total only grow; last_duration is seconds. The
    first submit() always looks: what it finds was left from while nobody did.
    """

    subject = "stale sockets"

    def __init__(
        self,
        rows: Callable[[], Mapping[ReverseKey, Reverse]],
        ran: Callable[[Run], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runs = self.destroyed_total = 0
        self.last_duration = 0.0
        self._rows, self._ran, self._clock = rows, ran, clock
        self._in_vain = InVain()
        self._refusals = Refusals("sockets in there are not ended with their endpoint")
        self._follower = Follower(self, clock, SETTLE_S, errors=(BpfError,))

    def submit(self, frontends: Frontends) -> None:
        """All frontends whose sockets end, with the endpoints that serve them.

        As they are in the maps now; those of a protocol that is not there are left alone. The
        mapping must not change any more. Returns at once.
        """
        self._follower.submit(frontends)

    @property
    def idle(self) -> bool:
        """Whether everything that was submitted has been compared."""
        return self._follower.idle

    def close(self) -> None:
        """Look no more."""
        self._follower.close()

    # ------------------------------------------------------------------ in the thread

    def compare(self, step: Step, closed: Callable[[], bool]) -> None:
        """See Comparison."""
        self._in_vain.heed(step)
        targets = step.targets
        if targets is None:
            return
        began = self._clock()
        stale = stale_sockets(self._rows(), targets, unknown=step.before is None)
        sought = self._in_vain.without(stale)
        destroyed = _end_everywhere(sought, closed, self._refusals)
        self._in_vain.note(sought)
        self.runs += 1
        self.destroyed_total += destroyed
        self.last_duration = seconds = self._clock() - began
        if destroyed:
            log.info("ended %d sockets whose endpoint went (%.3f s)", destroyed, seconds)
        self._ran(Run(seconds, destroyed))

    def end(self) -> None:
        """See Comparison."""


def _end_everywhere(stale: Stale, closed: Callable[[], bool], refusals: Refusals) -> int:
    """End them wherever they are, and look no further than the last one; answers how many."""
    if not any(stale.values()):
        return 0
    destroyed = 0
    for count in everywhere(lambda: _end(stale), refusals):
        destroyed += count
        if closed() or not any(stale.values()):
            break
    return destroyed


def _end(stale: Stale) -> int:
    """End those that are in the namespace that the thread is in, which are stale no more."""
    with closing(SockDiag()) as diag:
        found = [
            each
            for protocol, wanted in stale.items()
            for family in FAMILIES
            for each in diag.sockets(family, protocol, CONNECTED[protocol])
            if (each.cookie, each.peer, each.peer_port) in wanted
        ]
        destroyed = diag.destroy(found)
    for each in found:
        stale[each.protocol].discard((each.cookie, each.peer, each.peer_port))
    return destroyed
