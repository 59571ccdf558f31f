"""What verbs may look at, from threads of their own: the objects as they stood a moment ago.

loop    snapshot, policies ──copy, when something changed──► View ──► any thread
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from podwire_core.snapshot import Snapshot
from podwire_node.control.errands import Errands
from podwire_node.control.errors import ControlError
from podwire_node.intake import Intake

if TYPE_CHECKING:
    from podwire_policy.oracle import Judge
    from podwire_policy.policies import Policies
    from podwire_policy.reasons import Reason

T = TypeVar("T")


class _Taken(NamedTuple):
    version: int
    snapshot: Snapshot
    reasons: Mapping[str, Reason]


class View:
    """Made by the loop's thread.

    node: this node's name. policies: what the policy part wants; it belongs to the loop, so look
    at it through in_loop() alone.
    """

    def __init__(self, node: str, intake: Intake, policies: Policies, errands: Errands) -> None:
        self.node = node
        self.policies = policies
        self._intake = intake
        self._errands = errands
        self._version = 0
        self._guard = threading.Lock()
        self._taken: _Taken | None = None
        self._judge: tuple[int, Judge] | None = None
        intake.listen(self._changed)

    def in_loop(self, question: Callable[[], T]) -> T:
        """What a question answers in the agent's loop; a short one. Raises ControlError."""
        return self._errands.ask(question)

    def snapshot(self) -> Snapshot:
        """All objects as they stand, a copy that never changes: change nothing in it.

        Raises ControlError while not everything was read.
        """
        return self._now().snapshot

    def reasons(self) -> Mapping[str, Reason]:
        """Why each chain that denies does so, by its name, which is its log's prefix."""
        return self._now().reasons

    def judge(self) -> Judge:
        """The oracle over snapshot(); made once a change."""
        from podwire_policy.oracle import Judge  # noqa: PLC0415 - for who asks: it is not cheap

        taken = self._now()
        with self._guard:
            if self._judge is None or self._judge[0] != taken.version:
                self._judge = taken.version, Judge(taken.snapshot)
            return self._judge[1]

    def _changed(self) -> None:
        self._version += 1

    def _now(self) -> _Taken:
        with self._guard:
            if self._taken is None or self._taken.version != self._version:
                self._taken = self._errands.ask(self._take)
            return self._taken

    def _take(self) -> _Taken:
        """In the loop."""
        if not self._intake.synced:
            waiting = ", ".join(self._intake.reading) or "objects"
            raise ControlError(f"the agent has not read everything yet: it waits for {waiting}")
        # A part takes changes in before the loop turns, so the two fit each other.
        reasons = dict(self.policies.reasons)
        return _Taken(self._version, self._intake.snapshot.copy(), reasons)
