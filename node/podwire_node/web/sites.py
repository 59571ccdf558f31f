"""Which listeners are open: those that are wanted, and no other.

    want ─► close what is wanted no more, or elsewhere ─► open what is missing ─► wait
                                                          │ refused: said once       │
                                                          └─ tried again: at the next want,
                                                             and after 0.5 s, doubling to 5 s

A port that is in use is freed some day, and nobody tells who waits for it: hence the back-off.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from podwire_core.backoff import Backoff
from podwire_node.web.acceptor import Acceptor
from podwire_node.web.answer import Handler
from podwire_node.web.conversation import Conversation
from podwire_node.web.listener import listen
from podwire_node.web.room import Room

log = logging.getLogger(__name__)

FIRST_S = 0.5
MOST_S = 5.0


class Place(NamedTuple):
    """Where a site listens; "" as an address is every address of both families."""

    addresses: tuple[str, ...]
    port: int


class Site(NamedTuple):
    """A place and who answers there."""

    place: Place
    handler: Handler


@dataclass(eq=False)
class _Open:
    """A site while it is open; the same place opened again is another."""

    place: Place
    acceptors: Sequence[Acceptor] = ()


@dataclass
class _Refused:
    place: Place
    reason: str
    backoff: Backoff


class Sites:
    """Used by one thread, that of its loop.

    told: called with the reasons by key whenever they have changed.
    """

    def __init__(self, room: Room, told: Callable[[dict[Hashable, str]], None]) -> None:
        self._room = room
        self._told = told
        self._wanted: Mapping[Hashable, Site] = {}
        self._open: dict[Hashable, _Open] = {}
        self._refused: dict[Hashable, _Refused] = {}
        self._news = asyncio.Event()

    def want(self, sites: Mapping[Hashable, Site]) -> None:
        """These from now on; what was refused is tried again."""
        self._wanted = sites
        for each in self._refused.values():
            each.backoff.until = 0.0
        self._news.set()

    async def keep(self) -> None:
        """Work until cancelled; then all are closed, and whoever is connected is hung up on."""
        try:
            while True:
                self._settle()
                self._news.clear()
                waits = [each.backoff.until - time.monotonic() for each in self._refused.values()]
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(waits, default=None)):
                        await self._news.wait()
        finally:
            for key in tuple(self._open):
                self._close(key)

    def _settle(self) -> None:
        wanted = self._wanted
        before = self._reasons
        for key, there in tuple(self._open.items()):
            if key not in wanted or wanted[key].place != there.place:
                self._close(key)
        for key, refused in tuple(self._refused.items()):
            if key not in wanted or wanted[key].place != refused.place:
                del self._refused[key]
        for key, site in wanted.items():
            if key not in self._open and self._is_due(key):
                self._try(key, site)
        if self._reasons != before:
            self._told(self._reasons)

    @property
    def _reasons(self) -> dict[Hashable, str]:
        return {key: each.reason for key, each in self._refused.items()}

    def _is_due(self, key: Hashable) -> bool:
        refused = self._refused.get(key)
        return refused is None or refused.backoff.due(time.monotonic())

    def _try(self, key: Hashable, site: Site) -> None:
        try:
            sockets = listen(site.place.addresses, site.place.port)
        except OSError as error:
            fresh = _Refused(site.place, "", Backoff(FIRST_S, MOST_S))
            refused = self._refused.setdefault(key, fresh)
            refused.reason = error.strerror or str(error)
            refused.backoff.failed(time.monotonic())
            return
        self._refused.pop(key, None)
        there = self._open[key] = _Open(site.place)
        self._room.open(there)
        converse = partial(Conversation, there, site.handler, self._room)
        there.acceptors = [Acceptor(each, converse) for each in sockets]

    def _close(self, key: Hashable) -> None:
        there = self._open.pop(key)
        for each in there.acceptors:
            each.close()
        self._room.close(there)
