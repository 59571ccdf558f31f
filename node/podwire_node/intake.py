"""What the feed says: the objects as they stand, and what of them cannot be read or used."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from podwire_core.backoff import Backoff
from podwire_core.errors import FeedError, ObjectError
from podwire_core.feed.interface import Feed
from podwire_core.snapshot import Change, Kind, Snapshot
from podwire_node.own_pods import OwnPods

log = logging.getLogger(__name__)


class Intake:
    """Reads the feed into a snapshot.

    synced: everything there is was read once; nothing is sent before. unread: kinds that may not
    be read, and why. reading: what is waited for until synced. unusable: objects, or the source
    as a whole, that cannot be read now. problem: why the feed failed, "" while it does not.

    own: what this node knows of its pods before the feed does.
    """

    def __init__(self, feed: Feed, own: OwnPods) -> None:
        self.snapshot = Snapshot()
        self.synced = False
        self.unread: Mapping[Kind, str] = {}
        self.reading: Sequence[str] = ()
        self.unusable: Sequence[ObjectError] = ()
        self.problem = ""
        self._feed = feed
        self._own = own
        self._listeners: list[Callable[[], object]] = []
        self._backoff = Backoff()

    @property
    def away(self) -> bool:
        """Whether the source cannot be read now: an error of no file and no object is its own."""
        errors = (error for error in self.unusable if not (error.source or error.object))
        return bool(self.problem) or any(errors)

    @property
    def until(self) -> float | None:
        """When to read again, though nothing announces itself; None while all is well."""
        return self._backoff.until if self.problem else None

    def due(self, now: float) -> bool:
        """Whether what failed is to be tried again."""
        return bool(self.problem) and self._backoff.due(now)

    def begin(self) -> Sequence[Change]:
        """The first reading. Raises FeedError if there is no such source."""
        return self._read()

    def read(self) -> Sequence[Change]:
        """What changed; nothing when the feed fails, and what is known stays."""
        try:
            return self._read()
        except FeedError as error:
            self.problem = str(error)
            self._backoff.failed(time.monotonic())
            log.error("%s; what is known stays in force", error)  # noqa: TRY400 - a sentence, not a stack
            return ()

    def _read(self) -> Sequence[Change]:
        batch = self._feed.read()
        self.problem = ""
        self._backoff.succeeded()
        self.unusable = batch.standing
        for problem in batch.errors:
            log.warning("%s", problem, extra={"object": problem.object})
        self.synced = self.synced or batch.synced
        self.unread, self.reading = batch.unread, batch.waiting
        return self.take(map(self._own.told, batch.changes))

    def take(self, changes: Iterable[Change]) -> Sequence[Change]:
        """Put changes into the snapshot; those that were news to it."""
        news = [change for change in changes if self.snapshot.apply(change)]
        if news:
            for heard in self._listeners:
                heard()
        return news

    def listen(self, heard: Callable[[], object]) -> None:
        """Call this whenever the snapshot has changed, before anyone acts on it."""
        self._listeners.append(heard)
