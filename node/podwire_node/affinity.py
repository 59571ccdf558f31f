"""Clients that are remembered for what is no endpoint any more: looked for, and forgotten.

    loop    which maps may hold some, and who may be returned to
    thread  reads both maps, 100,000 clients in a second ─► keys of those who may not
    loop    deletes them, SLICE a turn, and does everything else between two of those

Only the loop may commit to our tables, or our own commits would look like someone else's. Until a
client is forgotten it is sent where it went before, as its open connections are.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from podwire_core.errors import NftError
from podwire_core.family import Family
from podwire_core.nft.owner import Owner
from podwire_core.nft.reader import Reader
from podwire_core.objects import Protocol
from podwire_proxy import layout

log = logging.getLogger(__name__)

SLICE = 2000  # clients that one turn of the loop forgets: some ten milliseconds
AGAIN_S = 1.0  # until maps are read again that could not be
_FAREWELL_S = 1.0

Which = tuple[Family, Protocol]


class Question(NamedTuple):
    """Maps to read, and the endpoints that clients may be returned to (layout.members)."""

    which: Which
    members: frozenset[str]


class ForgottenClients:
    """Made in the agent's network namespace; close it."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._reader = Reader(lambda _: {})
        self._questions: dict[Which, Question] = {}
        self._gone: dict[Which, Sequence[str]] = {}
        self._answers: deque[tuple[Which, Sequence[str]]] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._something = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="forgotten-clients", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more; what is remembered stays until its time is over, or the next start."""
        with self._something:
            self._closed = True
            self._something.notify()
        self._thread.join(_FAREWELL_S)
        if not self._thread.is_alive():  # else it might ring
            os.close(self._bell)

    def look(self, questions: Iterable[Question]) -> None:
        """Look for clients to forget; a newer question about maps replaces an older one."""
        with self._something:
            self._questions.update({each.which: each for each in questions})
            self._something.notify()

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """What wakes the loop when some were found, and what to call then."""
        yield self._bell, self._hear

    def forget(self) -> bool:
        """Forget some of those that were found. Whether there are more."""
        for which in list(self._gone):
            keys = self._gone.pop(which)
            if keys[SLICE:]:
                self._gone[which] = keys[SLICE:]
            family, protocol = which
            try:
                maps = layout.affinity(protocol)  # both at once, see Owner.forget
                self._owner.forget(layout.table(family), maps, keys[:SLICE])
            except NftError as error:  # tried again when the loop turns next
                log.warning("clients of endpoints that went: %s", error)
                self._gone[which] = keys
                return False
        return bool(self._gone)

    def _hear(self) -> None:
        os.eventfd_read(self._bell)
        while self._answers:
            which, keys = self._answers.popleft()
            if keys:
                self._gone[which] = keys

    # ------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        while (question := self._next()) is not None:
            try:
                self._answers.append((question.which, list(self._stale(question))))
            except NftError as error:
                log.warning("clients of endpoints that went: %s; looking again", error)
                with self._something:
                    self._questions.setdefault(question.which, question)
                    if not self._closed:
                        self._something.wait(AGAIN_S)
                continue
            with self._something:
                if not self._closed:
                    os.eventfd_write(self._bell, 1)

    def _next(self) -> Question | None:
        with self._something:
            while not self._questions and not self._closed:
                self._something.wait()
            return None if self._closed else self._questions.pop(next(iter(self._questions)))

    def _stale(self, question: Question) -> Iterable[str]:
        """Keys of clients whose endpoint is no member, `hash . hash . number . number`."""
        family, protocol = question.which
        table, names = layout.table(family), layout.affinity(protocol)
        addresses = self._reader.entries(table, names.addresses)
        ports = self._reader.entries(table, names.ports) if addresses else {}
        for client, address in addresses.items():
            *_, high, low = client.split(" . ")
            if f"{high} . {low} . {address} . {ports.get(client, '')}" not in question.members:
                yield client
