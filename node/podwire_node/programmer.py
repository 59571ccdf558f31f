"""Keeps some nft tables as their Desired says: one of these for the proxy, one for policies.

changes ─► desired.update() ─► owner.change() ─► kernel
                                    ▲
refused, or changed by someone else │
                └─► owner.adopt() ──┘ owner.sync(everything wanted)

What others change is repaired at once, and no longer at once where they never end (pace).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from podwire_core.backoff import Backoff
from podwire_core.errors import NftError, ObjectError
from podwire_core.nft.desired import Desired
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.objects import Key, Object
from podwire_core.nft.owner import Owner
from podwire_core.nft.transaction import Transaction
from podwire_core.snapshot import Change, Snapshot
from podwire_node.pace import Pace

log = logging.getLogger(__name__)

#: Refusals in a row after which the tables are deleted and made anew, in one transaction.
REBUILD_AFTER = 3


class Programmer:
    """One Desired, its tables in the kernel, and the watch over them (a parts.Work)."""

    def __init__(
        self,
        name: str,
        desired: Desired,
        owner: Owner,
        monitor: Monitor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.desired = desired
        self.repairs = 0
        self.failures = 0
        self.problem = ""
        self.settled = False
        self._unusable: Sequence[ObjectError] | None = None
        self._owner = owner
        self._monitor = monitor
        self._pending: dict[Key, Object | None] = {}
        self._everything = True  # to be compared with all that is wanted
        self._drifted = False  # someone else changed our tables, which was not looked at yet
        self._in_a_row = 0
        self._seen_commits = 0
        self._backoff = Backoff()
        self._pace = Pace()
        self._clock = clock
        owner.after_commit = self.notice_drift

    def listen_with(self, others: Sequence[Programmer]) -> None:
        """Let all of these hear the kernel out after each of our commits.

        A filling of many transactions announces more than a socket holds, and to everyone.
        """

        def hear() -> None:
            for each in others:
                each.notice_drift()

        self._owner.after_commit = hear

    @property
    def transactions(self) -> int:
        """Transactions committed since the agent started."""
        return self._owner.commits

    @property
    def compares_everything(self) -> bool:
        """Whether the next sync compares all that is wanted, not only what changed."""
        return self._everything or self._drifted

    @property
    def in_sync(self) -> bool:
        """Whether everything wanted is in the kernel, as far as we know."""
        return not (self._everything or self._drifted or self._pending)

    @property
    def problems(self) -> Sequence[str]:
        """The kernel's refusal, while it lasts."""
        return [self.problem] if self.problem else []

    @property
    def unusable(self) -> Sequence[ObjectError]:
        """Objects that are not, or not wholly, wanted; asked for once a change, it is not cheap."""
        if self._unusable is None:
            self._unusable = tuple(self.desired.problems)
        return self._unusable

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """See parts.Work: someone committed to nftables."""
        yield self._monitor.fileno(), self.notice_drift

    def close(self) -> None:
        """Stop watching; what is in force stays in force."""
        self._monitor.close()

    def take(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        """Take changes in; sync() puts them in force."""
        changed = self.desired.update(snapshot, changes)
        if not self._everything:  # else all that is wanted is compared anyway
            self._pending.update(changed)
        self._unusable = None

    def notice_drift(self) -> None:
        """Find out whether someone else changed our tables; the next sync() repairs them."""
        own = self._owner.commits - self._seen_commits
        self._seen_commits = self._owner.commits
        if self._monitor.foreign(own) and not self._drifted:
            log.warning(
                "%s: someone else changed our tables, or announcements were lost: comparing",
                self.name,
                extra={"component": self.name},
            )
            self._drifted = True

    def sync(self, now: float) -> float | None:
        """Put in force what is not. Answers when to try again, None when all is well."""
        if self.in_sync:
            return None
        due = self.due()
        if now < due:
            return due
        try:
            self._send(now)
        except NftError as error:
            self.failures += 1
            self.problem = f"{self.name}: the kernel refuses our rules: {error}"
            self._everything = True
            self._in_a_row += 1
            self._backoff.failed(now)
            until = self.due()
            log.error(  # noqa: TRY400 - a sentence, not a stack
                "%s: %s; trying again in %.1f s",
                self.name,
                error,
                until - now,
                extra={"component": self.name},
            )
            return until
        self._backoff.succeeded()
        self.problem, self._in_a_row = "", 0
        self.settled = True
        # Else someone else changed our tables meanwhile.
        return None if self.in_sync else max(now, self.due())

    def due(self) -> float:
        """When the next sync may send. Changes of objects do not wait for the pace of repairs."""
        if self._drifted and (self._everything or not self._pending):
            return max(self._backoff.until, self._pace.until)
        return self._backoff.until

    def _send(self, now: float) -> None:
        if self._everything or (self._drifted and now >= self._pace.until):
            sent = self._compare(now)
        else:
            sent = self._owner.change(self._pending)
        self._pending.clear()
        if sent:
            log.info("%s: %s", self.name, _summary(sent.counts()), extra={"component": self.name})

    def _compare(self, now: float) -> Transaction:
        """Read what is in force and send what differs; time spent on others' changes counts."""
        drifted, self._everything, self._drifted = self._drifted, False, False
        began = self._clock()
        try:
            self._owner.adopt()
            make = self._owner.sync if self._in_a_row < REBUILD_AFTER else self._owner.rebuild
            sent = make(self.desired.wanted)
        finally:
            if drifted:
                self._pace.looked(now, now + self._clock() - began)
        self.repairs += drifted and bool(sent)
        return sent


def _summary(counts: dict[tuple[str, str], int]) -> str:
    return ", ".join(f"{verb} {number} {noun}" for (verb, noun), number in counts.items())
