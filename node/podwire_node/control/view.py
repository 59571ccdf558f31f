"""What verbs may look at, from threads of their own: the objects as they stood a moment ago.

loop    snapshot, policies ──copy, when something changed──► View ──► any thread
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from podwire_core.snapshot import Snapshot
from podwire_node.control.errands import Errands
from podwire_node.control.errors import ControlError
from podwire_node.intake import Intake

if TYPE_CHECKING:
    from podwire_policy.oracle import Judge
    from podwire_policy.policies import Policies
    from podwire_policy.reasons import Reason

T = TypeVar("T")


@dataclass(frozen=True)
class Moment:
    """What is known at one version of the objects. It never changes: change nothing in it.

    snapshot: all objects. reasons: why each chain that denies does so, by its name, which is its
    log's prefix.
    """

    version: int
    snapshot: Snapshot
    reasons: Mapping[str, Reason]

    @cached_property
    def judge(self) -> Judge:
        """The oracle over the snapshot; made for the first who asks."""
        from podwire_policy.oracle import Judge  # noqa: PLC0415 - for who asks: it is not cheap

        return Judge(self.snapshot)


class View:
    """Made by the loop's thread.

    node: this node's name. policies: what the policy part wants; it belongs to the loop, so look
    at it through in_loop() alone. An agent without component policy has none.
    """

    def __init__(
        self, node: str, intake: Intake, policies: Policies | None, errands: Errands
    ) -> None:
        self.node = node
        self._policies = policies
        self._intake = intake
        self._errands = errands
        self._version = 0
        self._guard = threading.Lock()
        self._taken: Moment | None = None
        intake.listen(self._changed)

    @property
    def policies(self) -> Policies:
        """See the class. Raises ControlError where there are none."""
        if self._policies is None:
            raise ControlError("this agent has no component policy")
        return self._policies

    def in_loop(self, question: Callable[[], T]) -> T:
        """What a question answers in the agent's loop; a short one. Raises ControlError."""
        return self._errands.ask(question)

    def now(self) -> Moment:
        """Everything as it stands, and the same again while nothing changes.

        All that belongs together is taken from one of them. Raises ControlError while not
        everything was read.
        """
        with self._guard:
            if self._taken is None or self._taken.version != self._version:
                self._taken = self._errands.ask(self._take)
            return self._taken

    def _changed(self) -> None:
        self._version += 1

    def _take(self) -> Moment:
        """In the loop."""
        if not self._intake.synced:
            waiting = ", ".join(self._intake.reading) or "objects"
            raise ControlError(f"the agent has not read everything yet: it waits for {waiting}")
        # A part takes changes in before the loop turns, so the two fit each other.
        reasons = dict(self._policies.reasons) if self._policies else {}
        return Moment(self._version, self._intake.snapshot.copy(), reasons)
