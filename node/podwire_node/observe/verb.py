"""The verb `observe`: drops of the past, and those that come.

{"verb": "observe", "last": 20, "follow": true, "pods": ["shop/db"]}     see Wanted
     ─► a Record a line; {"lost_events": …} where a slow client missed some, as Hubble says it
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from podwire_node.control.request import Request
from podwire_node.control.server import Answer, Verb
from podwire_node.observe.ring import News, Ring
from podwire_node.observe.wanted import Wanted, decode_wanted


def observe_verb(ring: Ring) -> Verb:
    """Answers from the ring."""

    def observe(request: Request) -> Iterable[Answer | None]:
        wanted = decode_wanted(request.fields)
        return _followed(ring, wanted, request) if wanted.follow else _last(ring.all(), wanted)

    return observe


def _last(news: News, wanted: Wanted) -> list[Answer]:
    found = [record for record in news.records if wanted.matches(record)]
    return [*found[len(found) - min(wanted.last, len(found)) :]]


def _followed(ring: Ring, wanted: Wanted, request: Request) -> Iterator[Answer | None]:
    with ring.bell() as bell:  # before the past is read, or something may fall between the two
        past = ring.all()
        yield from _last(past, wanted)
        position = past.position
        while True:
            yield None
            request.wait(bell)
            os.eventfd_read(bell)
            news = ring.since(position)
            position = news.position
            if news.missed:
                lost = {"source": "HUBBLE_RING_BUFFER", "num_events_lost": news.missed}
                yield {"lost_events": lost}
            yield from filter(wanted.matches, news.records)
