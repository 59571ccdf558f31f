"""The policies' part where established connections are rechecked: a Programmer and its follower."""

from __future__ import annotations

from collections.abc import Sequence

from podwire_core.nft.desired import Desired
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.owner import Owner
from podwire_core.objects import ObjectName
from podwire_core.snapshot import Change, Kind, Snapshot
from podwire_node.programmer import Programmer
from podwire_node.recheck.rechecker import Rechecker


class Rechecking(Programmer):
    """Implements podwire_node.parts.Work. What is judged is what is in the kernel already."""

    def __init__(
        self, name: str, desired: Desired, owner: Owner, monitor: Monitor, rechecker: Rechecker
    ) -> None:
        super().__init__(name, desired, owner, monitor)
        self.rechecker = rechecker
        self._untold: dict[tuple[Kind, ObjectName], Change] = {}
        self._full = True  # of an earlier agent's time nothing is known
        self._told_commits = -1

    @property
    def problems(self) -> Sequence[str]:
        """See Work."""
        problem = self.rechecker.problem
        return [*super().problems, problem] if problem else super().problems

    def take(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        """See Work."""
        super().take(snapshot, changes)
        self._untold.update(((each.kind, each.name), each) for each in changes)

    def sync(self, now: float) -> float | None:
        """See Work."""
        self._full |= self.compares_everything
        again = super().sync(now)
        if self.in_sync and (self._untold or self._told_commits != self.transactions):
            changed = self._told_commits != self.transactions
            self.rechecker.submit(self._untold.values(), run=changed, everything=self._full)
            self._untold = {}
            self._full = self._full and not changed
            self._told_commits = self.transactions
        return again

    def close(self) -> None:
        """See Programmer."""
        self.rechecker.close()
        super().close()
