"""Hears what rules log of the packets they drop, and keeps a record of each; a thread of its own.

kernel ─► NfLog ─► at most 200 a second ─► naming ─► ring, metrics
                    the rest: counted

Each chain logs at most 10 packets a second, but there may be a thousand chains. What is neither
heard nor recorded is counted as lost.

Names are of the objects as they stand: after a change they are read anew, which costs a walk over
all pods. Where that takes long and changes never end, it takes a twentieth of the time, and names
are as old as that.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from podwire_core.errors import NfLogError
from podwire_core.nflog import Logged, NfLog
from podwire_core.objects import Node, ObjectName
from podwire_node.control.errors import ControlError
from podwire_node.control.view import View
from podwire_node.observe.bounds import Allowance, Share
from podwire_node.observe.naming import Ground, make
from podwire_node.observe.record import Record
from podwire_node.observe.ring import Ring
from podwire_node.observe.tracked import as_begun
from podwire_policy.reasons import LOG_GROUP, Reason

if TYPE_CHECKING:
    from podwire_node.metrics import Metrics

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "policy"})

RATE, BURST = 200, 1000  # records a second
_SHARE = 20  # of the time may go into reading names
_MOST_REASONS = 4096  # of chains that are no more
_AGAIN_S = 10.0  # until the log is tried again that another has
_FAREWELL_S = 2.0


class Drops:
    """Made in the agent's network namespace, before anything may be dropped; close it.

    problem: why nothing is heard, "" while all is well. lost: drops that were logged and have no
    record.
    """

    def __init__(self, view: View, ring: Ring, metrics: Metrics | None = None) -> None:
        self.problem = ""
        self.lost = 0
        self._view = view
        self._ring = ring
        self._metrics = metrics
        self._reasons: dict[str, Reason] = {}
        self._ground: Ground | None = None
        self._reading = Share(_SHARE)
        self._allowance = Allowance(RATE, BURST)
        self._ending = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        nflog = self._listen()
        self._thread = threading.Thread(target=self._work, args=(nflog,), name="drops", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hear no more."""
        os.eventfd_write(self._ending, 1)
        self._thread.join(_FAREWELL_S)
        if not self._thread.is_alive():
            os.close(self._ending)

    # --------------------------------------------------------------------- in the thread

    def _listen(self) -> NfLog | None:
        try:
            nflog = NfLog(LOG_GROUP)
        except NfLogError as error:
            self._deafen(error)
            return None
        self.problem = ""
        return nflog

    def _deafen(self, error: Exception) -> None:
        if not self.problem:
            ours = None if isinstance(error, NfLogError) else error  # whose traceback helps
            _log.warning("drops are not seen: %s", error, exc_info=ours)
        self.problem = f"policy: drops are not seen: {error}"

    def _work(self, nflog: NfLog | None) -> None:
        """Until told to end. Who listens in our place tells nobody when it ends: look again."""
        while True:
            if nflog is not None:
                self._hear(nflog)
            if self._over(_AGAIN_S if self.problem else 0):
                return
            nflog = self._listen()

    def _over(self, seconds: float) -> bool:
        """Whether the agent ends, now or within so many seconds."""
        return bool(self._readable(self._ending, seconds=seconds))

    def _readable(self, *descriptors: int, seconds: float | None = None) -> set[int]:
        poll = select.poll()
        for each in descriptors:
            poll.register(each, select.POLLIN)
        return {each for each, _ in poll.poll(None if seconds is None else seconds * 1000)}

    def _hear(self, nflog: NfLog) -> None:
        """Until told to end, or the kernel tells no more; whatever happens is a problem at most."""
        heard = 0
        try:
            with closing(nflog):
                while self._ending not in self._readable(nflog.fileno(), self._ending):
                    logged = nflog.read()
                    self._lose(nflog.lost - heard)
                    heard = nflog.lost
                    self._keep(logged)
        except Exception as error:  # noqa: BLE001 - this thread listens again, and nobody else does
            self._deafen(error)

    def _keep(self, logged: Sequence[Logged]) -> None:
        """Put records into the ring; nothing that a packet can say ends this thread."""
        try:
            self._ring.add(self._recorded(logged))
        except ControlError as error:  # the objects are not known yet, or we are ending
            _log.debug("%d drops without a name: %s", len(logged), error)
            self._lose(len(logged))
        except Exception:  # noqa: BLE001 - see above
            _log.exception("drops were not recorded by a fault of podwire's own; please report it")
            self._lose(len(logged))

    def _recorded(self, logged: Sequence[Logged]) -> list[Record]:
        taken = logged[: self._allowance.take(len(logged))]
        self._lose(len(logged) - len(taken))
        if not taken:
            return []
        began = time.monotonic()
        ground = self._known()
        records = [record for each in taken if (record := make(each, ground))]
        if ground is not self._ground:
            self._ground = ground
            self._reading.rest(began)
        if self._metrics is not None:
            for (direction, kind), number in Counter(map(_label, records)).items():
                self._metrics.policy_dropped(direction, kind, number)
        return records

    def _known(self) -> Ground:
        """What names are found in: of now, or of a moment ago where reading it is dear."""
        if self._ground is not None and not self._reading.due:
            return self._ground
        moment = self._view.now()
        if self._ground is not None and self._ground.judge is moment.judge:
            return self._ground
        # What comes late may be of a chain that is no more.
        older = dict(list(self._reasons.items())[-_MOST_REASONS:])
        self._reasons = {**older, **moment.reasons}
        own = moment.snapshot.get(Node, ObjectName("", self._view.node))
        addresses = frozenset(own.addresses if own else ())
        return Ground(moment.judge, self._reasons, self._view.node, addresses, as_begun)

    def _lose(self, number: int) -> None:
        self.lost += number
        if number and self._metrics is not None:
            self._metrics.policy_drops_unseen(number)


def _label(record: Record) -> tuple[str, str]:
    directions = {"EGRESS": "egress", "INGRESS": "ingress"}
    return directions.get(record.traffic_direction, "unknown"), record.kind or "unknown"
