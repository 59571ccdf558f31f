"""What the agent tells the API server: events on bad objects, and our Node's condition.

Each has an outbox of its own, so that a thousand events, or none that may be written, never
hold up the one word that lets pods come here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from podwire_core.errors import ObjectError
from podwire_core.feed.api_server import ApiServer
from podwire_core.objects import Node
from podwire_node.reports.conditions import NetworkCondition
from podwire_node.reports.events import ObjectEvent, Occurrences
from podwire_node.reports.outbox import Outbox


class Reporter:
    """Nothing it does waits for the server. Without a server it says nothing."""

    def __init__(
        self,
        node: str,
        server: ApiServer | None,
        stack: ExitStack,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._clock = clock
        self._events: Outbox | None = None
        if server is None:
            return
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        stack.callback(os.close, self._bell)  # after the outboxes, which ring it
        self._occurrences = Occurrences()
        self._events = Outbox(server, "events", counted=self._ring)
        self._conditions = Outbox(server, "conditions", counted=self._ring)
        self._condition = NetworkCondition(self._conditions)
        stack.callback(self._events.close)
        stack.callback(self._conditions.close)

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """What wakes the loop when the numbers have changed, and what to call then."""
        if self._events is not None:
            yield self._bell, lambda: os.eventfd_read(self._bell)

    def _ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    @property
    def letters(self) -> dict[str, int]:
        """How many were sent, refused by the server, and dropped because there were too many."""
        if self._events is None:
            return {}
        bags = (self._events.postbag, self._conditions.postbag)
        return {
            "sent": sum(bag.sent for bag in bags),
            "failed": sum(bag.failed for bag in bags),
            "dropped": sum(bag.dropped for bag in bags),
        }

    def tell(
        self, wrong: Iterable[ObjectError], mine: Node | None, *, network_is_up: bool
    ) -> float | None:
        """What stands now; only what is due of it is told. Answers when to come again."""
        if self._events is None:
            return None
        now = self._clock()
        for error in self._occurrences.due(wrong, now):
            self._events.put(ObjectEvent(error, self._node))
        again = (self._condition.sync(mine, now, up=network_is_up), self._occurrences.until)
        return min((when for when in again if when is not None), default=None)
