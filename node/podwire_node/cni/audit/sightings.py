"""What was seen before, and since when: nothing is repaired at first sight. Pure.

Time is monotonic alone. A wall clock may be set back or forth while leases are young; how old a
difference is, is how long we have seen it, without a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from podwire_node.cni.audit.findings import Finding, Kind


class Sightings:
    """The findings of the last audit, and when each was first seen.

    patience: seconds between two sightings for a kind; None: it is never due.
    """

    def __init__(self, patience: Callable[[Kind], float | None] | None = None) -> None:
        self._patience = patience or (lambda kind: kind.patience)
        self._since: dict[Finding, float] = {}

    def take(self, findings: Sequence[Finding], now: float) -> list[Finding]:
        """Remember the findings; those that are due to be repaired. now: time.monotonic()."""
        before, self._since = self._since, {}
        for finding in findings:
            self._since[finding] = before.get(finding, now)
        return [
            finding
            for finding in findings
            if finding in before
            and (patience := self._patience(finding.kind)) is not None
            and now - before[finding] >= patience
        ]

    def forget(self, finding: Finding) -> None:
        """It was repaired: should it come again, it is new."""
        self._since.pop(finding, None)

    @property
    def next(self) -> float | None:
        """When a finding becomes due, by time.monotonic(); None when none will."""
        moments = (
            since + patience
            for finding, since in self._since.items()
            if (patience := self._patience(finding.kind)) is not None
        )
        return min(moments, default=None)
