"""Services change hands: kube-proxy's rules go when ours are in force, and not before.

    our first sync is in the kernel ─► a thread removes what kube-proxy left ─► one line of log
                                                                             │
    kube-proxy's table is there again, or the process still runs ◄───────────┘ ─► one warning

* While both are in force, the first that translates a connection has it: to the kernel's NAT,
  a connection is translated once. Both lead to endpoints of the same Service.
* Connections that kube-proxy translated go on: that is kept in connection tracking, not in rules.
* One attempt, and none against a kube-proxy that makes its rules anew: two that undo each other's
  work for ever are worse than two that agree.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Sequence

from podwire_core.errors import NftError, ObjectError
from podwire_core.family import FAMILIES
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.objects import Table
from podwire_core.snapshot import Change, Snapshot
from podwire_node.cleanup.rows import Outcome, Row
from podwire_node.cleanup.running import kube_proxies
from podwire_node.kube_proxy.removal import KUBE_PROXY, nft_tables, remove_leftovers

log = logging.getLogger(__name__)

_PATIENCE_S = 10.0
_TABLES = tuple(Table(family, KUBE_PROXY) for family in FAMILIES)


class TakeOver:
    """Implements podwire_node.parts.Work: it waits for nothing, and no one waits for it.

    in_force: whether our own rules are, asked whenever the loop turns. remove: removes what
    kube-proxy left, in a thread of its own, which may take minutes.
    """

    name = "take-over"
    settled = True  # a node is ready before kube-proxy's rules are gone
    in_sync = True
    unusable: Sequence[ObjectError] = ()

    def __init__(
        self,
        in_force: Callable[[], bool],
        remove: Callable[[], Sequence[Row]] | None = None,
    ) -> None:
        self._in_force = in_force
        self._remove = remove or _remove
        self._thread: threading.Thread | None = None
        self._rows: Sequence[Row] | None = None
        self._monitor: Monitor | None = None
        self._ours, self._threads = socket.socketpair()
        self._ours.settimeout(0)
        self.problems: list[str] = []

    def watched(self) -> Iterable[tuple[int, Callable[[], None]]]:
        """See Work: the thread has ended, or kube-proxy's table was touched."""
        self._monitor = Monitor(_TABLES)
        yield self._ours.fileno(), self._ended
        yield self._monitor.fileno(), self._touched

    def close(self) -> None:
        """Stop watching. A removal that has begun is waited for a moment."""
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
        if self._monitor is not None:
            self._monitor.close()
        self._ours.close()
        self._threads.close()

    def take(self, _snapshot: Snapshot, _changes: Sequence[Change]) -> None:
        """It depends on no object."""

    def sync(self, _now: float) -> float | None:
        """Begin, once, when our rules are in force."""
        if self._thread is None and self._in_force():
            self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
            self._thread.start()
        return None

    def _work(self) -> None:
        """In the thread. Whatever goes wrong is a row."""
        try:
            self._rows = self._remove()
        except Exception as error:  # noqa: BLE001 - told as what it is, and no reason to end
            self._rows = [Row("everything", "of kube-proxy", Outcome.FAILED, repr(error))]
        self._threads.send(b"\0")

    def _ended(self) -> None:
        """The thread is done: say what went, and what did not."""
        self._ours.recv(16)
        rows = self._rows or ()
        gone = [f"{row.kind} {row.name}" for row in rows if row.outcome is Outcome.REMOVED]
        if gone:
            log.info("kube-proxy's leftovers removed: %s", "; ".join(gone), extra=_EXTRA)
        elif not rows:
            log.info("a kube-proxy has left nothing here", extra=_EXTRA)
        for row in rows:
            if row.outcome is not Outcome.REMOVED:
                log.warning("kube-proxy's leftovers: %s", row, extra=_EXTRA)
        self.problems += [f"kube-proxy's {row}" for row in rows if row.outcome is Outcome.FAILED]
        if pids := kube_proxies():
            self._warn(f"kube-proxy (pid {', '.join(map(str, pids))}) still runs here")
        elif _tables_are_there():
            self._warn(_AGAIN)

    def _touched(self) -> None:
        """Someone committed to nftables; to a table of kube-proxy's, and it may have made it."""
        touched = self._monitor is not None and self._monitor.foreign(0)
        if touched and self._rows is not None and _tables_are_there():
            self._warn(_AGAIN)

    def _warn(self, fact: str) -> None:
        """Once."""
        if any(_REMEDY in problem for problem in self.problems):
            return
        problem = f"{fact}: {_REMEDY}"
        log.warning("%s", problem, extra=_EXTRA)
        self.problems.append(problem)


_EXTRA = {"component": TakeOver.name}
_AGAIN = "kube-proxy's tables are there again"
_REMEDY = "two proxies serve this node; delete kube-proxy's DaemonSet"


def _remove() -> Sequence[Row]:
    """With nftables of its own: the loop's may be in use."""
    try:
        return remove_leftovers(Kernel())
    except NftError as error:
        return [Row("table", KUBE_PROXY, Outcome.FAILED, str(error))]


def _tables_are_there() -> bool:
    try:
        there = nft_tables()
        return any(table.key in there for table in _TABLES)
    except NftError:
        return False
