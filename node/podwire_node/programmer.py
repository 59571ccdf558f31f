"""Keeps some nft tables as their Desired says: one of these for the proxy, one for policies.

changes ─► desired.update() ─► owner.change() ─► kernel
                                    ▲
refused, or changed by someone else │
                └─► owner.adopt() ──┘ owner.sync(everything wanted)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from podwire_core.errors import NftError
from podwire_core.nft.desired import Desired
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.objects import Key, Object
from podwire_core.nft.owner import Owner
from podwire_core.snapshot import Change, Snapshot
from podwire_node.backoff import Backoff

log = logging.getLogger(__name__)

#: Refusals in a row after which the tables are deleted and made anew, in one transaction.
REBUILD_AFTER = 3


class Programmer:
    """One Desired, its tables in the kernel, and the watch over them."""

    def __init__(self, name: str, desired: Desired, owner: Owner, monitor: Monitor) -> None:
        self.name = name
        self.desired = desired
        self.repairs = 0
        self.failures = 0
        self.problem = ""
        self._owner = owner
        self._monitor = monitor
        self._pending: dict[Key, Object | None] = {}
        self._everything = True
        self._drifted = False
        self._in_a_row = 0
        self._seen_commits = 0
        self._backoff = Backoff()

    @property
    def transactions(self) -> int:
        """Transactions committed since the agent started."""
        return self._owner.commits

    @property
    def in_sync(self) -> bool:
        """Whether everything wanted is in the kernel, as far as we know."""
        return not self._everything and not self._pending

    def fileno(self) -> int:
        """Readable when someone committed to nftables."""
        return self._monitor.fileno()

    def close(self) -> None:
        """Stop watching; what is in force stays in force."""
        self._monitor.close()

    def take(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        """Take changes in; sync() puts them in force."""
        self._pending.update(self.desired.update(snapshot, changes))

    def notice_drift(self) -> None:
        """Find out whether someone else changed our tables; the next sync() repairs them."""
        own = self._owner.commits - self._seen_commits
        self._seen_commits = self._owner.commits
        if self._monitor.foreign(own):
            log.warning(
                "%s: someone else changed our tables, or announcements were lost: comparing",
                self.name,
            )
            self._everything = self._drifted = True

    def sync(self, now: float) -> float | None:
        """Put in force what is not. Answers when to try again, None when all is well."""
        if self.in_sync:
            return None
        if not self._backoff.due(now):
            return self._backoff.until
        try:
            self._send()
        except NftError as error:
            self.failures += 1
            self.problem = f"{self.name}: the kernel refuses our rules: {error}"
            self._everything = True
            self._in_a_row += 1
            until = self._backoff.failed(now)
            log.error(  # noqa: TRY400 - a sentence, not a stack
                "%s: %s; trying again in %.1f s", self.name, error, until - now
            )
            return until
        self._backoff.succeeded()
        self.problem, self._in_a_row = "", 0
        return None

    def _send(self) -> None:
        if self._everything:
            self._owner.adopt()
            make = self._owner.sync if self._in_a_row < REBUILD_AFTER else self._owner.rebuild
            sent = make(self.desired.wanted)
            self.repairs += self._drifted and bool(sent)
            self._drifted = False
        else:
            sent = self._owner.change(self._pending)
        self._everything = False
        self._pending.clear()
        if sent:
            log.info("%s: %s", self.name, _summary(sent.counts()))


def _summary(counts: dict[tuple[str, str], int]) -> str:
    return ", ".join(f"{verb} {number} {noun}" for (verb, noun), number in counts.items())
