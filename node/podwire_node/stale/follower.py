"""A thread that compares what the kernel remembers with who serves, when someone stops serving.

    submit ─► backlog ─► anything lost? ─► compare ─► done
                 ▲            no: done        │
                 └── error: said once, back-off

Nobody waits for it. While Services change all the time, comparing has its share of the time and no
more (pace.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from podwire_core.backoff import Backoff
from podwire_core.errors import PodwireError
from podwire_node.pace import Pace
from podwire_node.stale.backlog import Backlog, Step
from podwire_node.stale.plan import Frontends

log = logging.getLogger(__name__)


class Comparison(Protocol):
    """What the thread does, and all of it in that thread."""

    @property
    def subject(self) -> str:
        """What stays, or is gone: `stale UDP connections`."""

    def compare(self, step: Step, closed: Callable[[], bool]) -> object:
        """End what is stale; may stop early once it is closed.

        Raises PodwireError, OSError or one of `errors` where it has to be done again.
        """

    def end(self) -> object:
        """Give back what it holds."""


class Follower:
    """Starts at once; close it.

    settle: seconds from a submit() until it is compared, so that what comes back meanwhile was
    never gone. errors: what the comparison may raise beside PodwireError and OSError.
    """

    def __init__(
        self,
        comparison: Comparison,
        clock: Callable[[], float] = time.monotonic,
        settle: float = 0.0,
        errors: tuple[type[Exception], ...] = (),
    ) -> None:
        self._comparison, self._clock, self._settle = comparison, clock, settle
        self._errors: tuple[type[Exception], ...] = (PodwireError, OSError, *errors)
        self.backlog, self.pace, self.backoff = Backlog(), Pace(), Backoff()
        self._since = 0.0
        self._complained = self._closed = self._busy = False
        self._something = threading.Condition()
        name = comparison.subject.replace(" ", "-")
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, frontends: Frontends) -> None:
        """All frontends with the endpoints that serve them, as they are in the kernel now.

        The mapping must not change any more. Returns at once.
        """
        with self._something:
            if not self.backlog.waiting:
                self._since = self._clock()
            self.backlog.put(frontends)
            self._something.notify()

    @property
    def idle(self) -> bool:
        """Whether everything that was submitted has been compared."""
        with self._something:
            return not (self.backlog.waiting or self._busy)

    def close(self) -> None:
        """Compare no more; what is being compared is left where it is."""
        with self._something:
            self._closed = True
            self._something.notify()
        self._thread.join(0.5)

    def _work(self) -> None:
        try:
            while (step := self._next()) is not None:
                failed = not self._compare(step)
                with self._something:
                    self._busy = False
                    if failed:
                        self.backlog.failed(step)
        finally:
            self._comparison.end()

    def _next(self) -> Step | None:
        """Wait for a step whose time has come; None when closed."""
        with self._something:
            while not self._closed:
                begins = max(self.pace.until, self.backoff.until, self._since + self._settle)
                wait = begins - self._clock()
                if not self.backlog.waiting:
                    self._something.wait()
                elif wait > 0:
                    self._something.wait(wait)
                else:
                    self._busy = True
                    return self.backlog.take()
            return None

    def _compare(self, step: Step) -> bool:
        """Whether all was compared."""
        began = self._clock()
        try:
            self._comparison.compare(step, lambda: self._closed)
        except self._errors as error:
            self._failed(error)
            return False
        except Exception:  # the thread must live
            log.exception("%s", self._comparison.subject)
            self.backoff.failed(self._clock())
            return False
        else:
            self._succeeded()
            return True
        finally:
            self.pace.looked(began, self._clock())

    def _failed(self, error: Exception) -> None:
        """Said once, until it works again."""
        self.backoff.failed(self._clock())
        if not self._complained:
            log.warning("%s stay: %s; trying again", self._comparison.subject, error)
        self._complained = True

    def _succeeded(self) -> None:
        if self._complained:
            log.info("%s can be ended again", self._comparison.subject)
        self._complained = False
        self.backoff.succeeded()
