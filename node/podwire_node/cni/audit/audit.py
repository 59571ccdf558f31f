"""One audit after the other: look, remember, and repair what was seen twice.

```
 look ─► findings ─► seen before, and long enough ago? ─► the container's turn ─► look again
                       │ no: it waits                       still there? ─► repair, count, tell
```
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

from podwire_node.cni.audit.comparison import find
from podwire_node.cni.audit.findings import Finding, Kind
from podwire_node.cni.audit.sightings import Sightings
from podwire_node.cni.audit.world import RepairError, World
from podwire_node.cni.calls.turns import Late

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "cni"})

#: Seconds between two audits.
PERIOD = 60.0
# What one audit may do, and how long for. The rest is for the next one.
_MOST_REPAIRS = 100
_LONGEST = 20.0
_MOST_TOLD = 20
_TURN = 5.0  # a container that is busy for longer is looked at again later

#: Takes a container's turn until a deadline, by time.monotonic(); raises turns.Late.
Turn: TypeAlias = Callable[[str, float], AbstractContextManager[None]]


class Audit:
    """For one thread.

    turn: see Turn.  repaired: told of each repair.  patience: see Sightings.
    """

    def __init__(
        self,
        world: World,
        turn: Turn,
        *,
        repaired: Callable[[Kind], None] = lambda _kind: None,
        patience: Callable[[Kind], float | None] | None = None,
    ) -> None:
        self._world = world
        self._turn = turn
        self._repaired = repaired
        self._sightings = Sightings(patience)
        self._failures: dict[Finding, str] = {}
        self._told: set[str] = set()

    def run(self, now: float) -> float:
        """Look once, and repair what is due; answers when to look next. now: time.monotonic()."""
        try:
            findings = find(self._world.look())
        except RepairError as error:
            self._tell({str(error)})
            return now + PERIOD
        self._repair(self._sightings.take(findings, now), now + _LONGEST)
        stands = frozenset(findings)
        self._failures = {each: why for each, why in self._failures.items() if each in stands}
        hopeless = {str(each) for each in findings if each.kind.patience is None}
        self._tell(hopeless | set(self._failures.values()))
        soonest = self._sightings.next
        return now + PERIOD if soonest is None else min(max(soonest, now + 1.0), now + PERIOD)

    def _repair(self, due: list[Finding], until: float) -> None:
        """Repair one by one. What fails is new again: it waits as long as the first time."""
        for finding in due[:_MOST_REPAIRS]:
            now = time.monotonic()
            if now > until:
                break
            try:
                with self._turn_of(finding, now + _TURN):
                    self._repair_if_still_there(finding)
            except Late:
                continue
            except RepairError as error:
                self._sightings.forget(finding)
                self._failures[finding] = f"{finding}; {error}"

    def _turn_of(self, finding: Finding, deadline: float) -> AbstractContextManager[None]:
        """Where nobody knows the container, a repair is of a link by its index: no turn helps."""
        return self._turn(finding.container, deadline) if finding.container else nullcontext()

    def _repair_if_still_there(self, finding: Finding) -> None:
        if finding not in find(self._world.look()):
            return
        deadline = time.monotonic() + _LONGEST
        for step in finding.steps:
            self._world.do(step, deadline)
        self._sightings.forget(finding)
        self._failures.pop(finding, None)
        self._repaired(finding.kind)
        _log.warning("audit: repaired %s", finding)

    def _tell(self, sentences: set[str]) -> None:
        """What cannot be repaired, once for as long as it stands."""
        new = sorted(sentences - self._told)
        for sentence in new[:_MOST_TOLD]:
            _log.warning("audit: %s", sentence)
        if len(new) > _MOST_TOLD:
            more = len(new) - _MOST_TOLD
            _log.warning("audit: and %d more; podwire leases --check lists them", more)
        self._told = sentences
