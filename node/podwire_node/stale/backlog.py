"""What was submitted and not yet compared; no clock, no thread.

    put(all UDP frontends), put(…), …  ──►  take() ──► Step ──► targets to compare, or None
                                              ▲         │
                              what is newer   └─ failed ┘

An entry goes stale only when its frontend loses an endpoint or goes away, or had none before
(or was not there) when the first packet came. So a frontend that only gets more endpoints is no
reason to read the table. That is told from two snapshots that followed each other; when more came
meanwhile, one of them may have had what the last one has not, and the table is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from podwire_node.stale.plan import Frontends
from podwire_proxy.frontend import Backend, Frontend

_NOBODY: frozenset[Backend] = frozenset()


@dataclass(frozen=True)
class Step:
    """From what was compared to what was submitted last.

    before: None when it is not known, so that anything may be stale. seen: every frontend that
    was submitted meanwhile. several: whether other snapshots came between.
    """

    before: Frontends | None
    after: Frontends
    seen: Frontends
    several: bool

    @property
    def targets(self) -> Frontends | None:
        """What to compare the entries with, None when none of them can be stale.

        Frontends that are gone are served by nobody.
        """
        known = {**(self.before or {}), **self.seen}
        if not (self._loses() or self.several):
            return None
        return {**dict.fromkeys(known, _NOBODY), **self.after}

    def _loses(self) -> bool:
        if self.before is None:
            return True
        return any(each not in self.after for each in self.before) or not all(
            _only_grew(self.before.get(each), serving) for each, serving in self.after.items()
        )


class Backlog:
    """Snapshots that wait. put() is cheap: what is the same object is not compared."""

    def __init__(self) -> None:
        self.waiting = False
        self._before: Frontends | None = None
        self._after: Frontends | None = None
        self._seen: dict[Frontend, frozenset[Backend]] = {}
        self._several = False

    def put(self, frontends: Frontends) -> None:
        """All UDP frontends there are now, in a mapping that nobody changes any more."""
        if frontends == self._after:
            return
        self._after = frontends
        self._seen.update(frontends)
        self._several |= self.waiting
        self.waiting = True

    def take(self) -> Step:
        """What has happened since the last one was taken; there must be something that waits."""
        step = Step(self._before, self._after or {}, self._seen, self._several)
        self._before, self._seen = self._after, {}
        self.waiting = self._several = False
        return step

    def failed(self, step: Step) -> None:
        """A step's targets were not all compared: it waits again, with what came meanwhile."""
        self._before = None
        self._seen = {**(step.before or {}), **step.seen, **self._seen}
        self.waiting = True


def _only_grew(before: frozenset[Backend] | None, now: frozenset[Backend]) -> bool:
    if before is None:
        return False
    return before == now or (bool(before) and before < now)
