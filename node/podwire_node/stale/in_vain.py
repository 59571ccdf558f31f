"""What was looked for in vain: no reason to enter every namespace once more.

A row may outlive the peer that its socket had: whoever sends without connect() has one for each
endpoint that it ever had, and what closed unseen leaves one. Such rows are stale for ever, and no
connected socket is ever found for them. So they are looked for TWICE, as a kernel that lists its
sockets may pass over one that moves; then no more, until a new connect() may have made them true.
"""

from __future__ import annotations

from podwire_core.sock_diag import mapped
from podwire_node.stale.backlog import Step
from podwire_node.stale.socket_plan import Sought, Stale

TWICE = 2


class InVain:
    """Rows by how often they were looked for. For one thread."""

    def __init__(self) -> None:
        self._times: dict[tuple[int, Sought], int] = {}

    def heed(self, step: Step) -> None:
        """Forget rows whose endpoint serves, or may have served meanwhile: who dialled got it."""
        if step.before is None or step.several:
            self._times.clear()
        if not self._times:
            return
        known = {(peer, port) for _, (_, peer, port) in self._times}
        every = frozenset[tuple[str, int]]().union(*step.after.values())
        serving = known & {(mapped(address), port) for address, port in every}
        if serving:
            self._times = {
                row: times for row, times in self._times.items() if row[1][1:] not in serving
            }

    def without(self, stale: Stale) -> Stale:
        """Those to look for; the others that are stale no more are forgotten."""
        known = {
            row: times for row, times in self._times.items() if row[1] in stale.get(row[0], ())
        }
        self._times = known
        return {
            protocol: {each for each in rows if known.get((protocol, each), 0) < TWICE}
            for protocol, rows in stale.items()
        }

    def note(self, left: Stale) -> None:
        """Every namespace was searched, and these were not found."""
        for protocol, rows in left.items():
            for each in rows:
                self._times[protocol, each] = self._times.get((protocol, each), 0) + 1
