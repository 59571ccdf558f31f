"""What STATUS says of the agent, besides what the plugin finds (SPEC.md, "STATUS").

    code   when                                              pods that run
    50     a part has not done its first sync                are well
    51     something of what is in force failed, and stands  may have limited connectivity

The loop tells how things stand, any thread asks.
"""

from __future__ import annotations

from collections.abc import Iterable

from podwire_node.cni.calls.refusal import LIMITED, UNAVAILABLE
from podwire_node.parts import Part
from podwire_node.programmer import Programmer


class Readiness:
    """Well until told otherwise."""

    def __init__(self) -> None:
        self.verdict: tuple[int, str] | None = None

    def look(self, parts: Iterable[Part]) -> None:
        """Take in how the parts stand."""
        wrong, waiting = [], []
        for part in parts:
            wrong += _failures(part)
            if not (part.begun and part.work.settled):
                waiting.append(part.work.name)
        if wrong:
            self.verdict = LIMITED, wrong[0]
        elif waiting:
            self.verdict = UNAVAILABLE, f"the agent is not ready: {', '.join(waiting)}"
        else:
            self.verdict = None


def _failures(part: Part) -> list[str]:
    """What fails packets. That a page cannot be served (Serving.problems) is none of these."""
    if isinstance(part.work, Programmer):
        return [part.work.problem] if part.work.problem else []
    return list(part.work.problems)
