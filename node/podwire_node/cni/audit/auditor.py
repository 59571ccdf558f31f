"""The agent's thread that audits, once a minute and a little sooner when something is wrong."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from podwire_cni.host import Host
from podwire_node.cni.audit.audit import PERIOD, Audit, Turn
from podwire_node.cni.audit.findings import Kind
from podwire_node.cni.audit.ground import Place, on_the_ground
from podwire_node.cni.audit.world import RepairError

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "cni"})

_FAREWELL = 2.0  # seconds; what a repair has not done by then, the next agent does


class Auditor:
    """A context manager: audits while it is entered, in the thread's network namespace.

    place: what is compared.  host: the agent's, which frees as a DEL does.  turn: how to take a
    container's turn (turns.Turns.taken).  repaired: told of each repair, in the audit's thread.
    """

    def __init__(
        self,
        place: Place,
        host: Host,
        turn: Turn,
        repaired: Callable[[Kind], None] = lambda _kind: None,
    ) -> None:
        self._place, self._host, self._turn, self._repaired = place, host, turn, repaired
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except RuntimeError as error:  # a limit of processes is reached, which passes
            raise OSError(errno.EAGAIN, f"audit: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Audit no more."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(_FAREWELL)

    def _work(self) -> None:
        try:
            with on_the_ground(self._place, self._host) as ground:
                audit = Audit(ground, self._turn, repaired=self._repaired)
                wait = 0.0
                while not self._ending.wait(wait):
                    wait = self._once(audit)
        except RepairError as error:
            _log.warning("audit: there will be none: %s", error)

    def _once(self, audit: Audit) -> float:
        """Audit; seconds until the next time."""
        try:
            return max(0.0, audit.run(time.monotonic()) - time.monotonic())
        except Exception:  # noqa: BLE001 - one audit's fault is not the next one's
            _log.exception("an audit failed by a fault of podwire's own; please report it")
            return PERIOD
