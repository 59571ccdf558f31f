"""How many may be connected. Where it is full, the oldest goes.

Not the newest: who asks gets an answer within milliseconds, so the oldest is most likely one that
only sits there. A hundred that sit there would else keep a load balancer's probes out.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

A_SITE = 128
IN_ALL = 512


class Guest(Protocol):
    """A connection."""

    def end(self) -> None:
        """Hang up at once; leave() is called later."""
        ...


class Room:
    """The connections of all sites. Used by one thread."""

    def __init__(self, a_site: int = A_SITE, in_all: int = IN_ALL) -> None:
        self._a_site, self._in_all = a_site, in_all
        self._guests: dict[Hashable, dict[Guest, None]] = {}  # the oldest of a site first
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def open(self, site: Hashable) -> None:
        """Guests of this site may enter."""
        self._guests.setdefault(site, {})

    def close(self, site: Hashable) -> None:
        """All guests of the site go, and none enters: not even who was accepted meanwhile."""
        while self._guests.get(site):
            self._end_oldest(site)
        self._guests.pop(site, None)

    def enter(self, site: Hashable, guest: Guest) -> None:
        """One more; the oldest of its site goes, or of the site that has most."""
        guests = self._guests.get(site)
        if guests is None:
            guest.end()
            return
        guests[guest] = None
        self._total += 1
        if len(guests) > self._a_site:
            self._end_oldest(site)
        elif self._total > self._in_all:
            self._end_oldest(max(self._guests, key=lambda each: len(self._guests[each])))

    def leave(self, site: Hashable, guest: Guest) -> None:
        """One has gone; who went already is no error."""
        guests = self._guests.get(site, {})
        if guest in guests:
            del guests[guest]
            self._total -= 1

    def _end_oldest(self, site: Hashable) -> None:
        oldest = next(iter(self._guests[site]))
        self.leave(site, oldest)
        oldest.end()
