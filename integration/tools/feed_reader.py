"""Reads a feed the way the agent does, and keeps what it said."""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping

from scratch import until

from podwire_core.errors import FeedError, ObjectError
from podwire_core.feed.interface import Feed
from podwire_core.objects import ObjectName
from podwire_core.snapshot import Change, Kind, Snapshot


class Reader:
    """A feed, the snapshot that it made, and everything it told on the way."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.snapshot = Snapshot()
        self.applied: list[Change] = []
        self.errors: list[ObjectError] = []
        self.standing: tuple[ObjectError, ...] = ()
        self.waiting: tuple[str, ...] = ()
        self.unread: Mapping[Kind, str] = {}
        self.synced = False
        self.lost = ""

    def read(self, wait: float = 0.05) -> None:
        """Take in what there is; a source that is gone is asked again, as the agent does."""
        if not select.select([self.feed], [], [], wait)[0] and not self.lost and self.synced:
            return
        try:
            batch = self.feed.read()
        except FeedError as error:
            self.lost = str(error)
            return
        self.lost = ""
        self.applied += [change for change in batch.changes if self.snapshot.apply(change)]
        self.errors += batch.errors
        self.standing, self.synced = batch.standing, batch.synced
        self.waiting, self.unread = batch.waiting, batch.unread

    def until(self, fact: str, holds: Callable[[], bool], seconds: float = 60) -> None:
        def read_on() -> bool:
            self.read()
            return holds()

        until(fact, read_on, seconds)

    def has(self, kind: Kind, name: str, namespace: str = "default") -> bool:
        return self.snapshot.get(kind, ObjectName(namespace, name)) is not None

    def gone(self) -> set[str]:
        """Names of all objects that were ever taken away."""
        return {change.name.name for change in self.applied if change.new is None}

    def told(self, words: str) -> list[ObjectError]:
        """Errors told so far whose sentence holds these words."""
        return [error for error in self.errors if words in str(error)]
