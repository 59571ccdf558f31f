"""The verb `observe`: drops and translations of the past, and those that come.

{"verb": "observe", "last": 20, "follow": true, "pods": ["shop/db"]}     see Wanted
     ─► a Record a line; {"lost_events": …} where some are missing, as Hubble says it

Programs write translations only while somebody asks for them to come, so the past has those alone
that somebody followed.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass

from podwire_node.control.errors import ControlError
from podwire_node.control.request import Request
from podwire_node.control.server import Answer, Verb
from podwire_node.observe.record import Record
from podwire_node.observe.ring import News, Ring
from podwire_node.observe.translations import Translations
from podwire_node.observe.wanted import DROP, TRACE_SOCK, Type, Wanted, decode_wanted

#: Hubble's words for where a record was lost.
_UNREAD, _UNHEARD = "HUBBLE_RING_BUFFER", "OBSERVER_EVENTS_QUEUE"
_NO_POLICY = "this agent has no component policy, so it sees no drops"
_NO_PROXY = "this agent has no component proxy, so it sees no translations"


def observe_verb(drops: Ring | None, translations: Translations | None = None) -> Verb:
    """Answers from the rings; None: this agent has none of that type."""

    def observe(request: Request) -> Iterable[Answer | None]:
        wanted = decode_wanted(request.fields)
        rings = _rings(wanted, drops, translations)
        if not wanted.follow:
            return _last([ring.all() for ring in rings.values()], wanted)
        hearing = translations if TRACE_SOCK in rings else None
        return _followed(rings, hearing, wanted, request)

    return observe


def _rings(
    wanted: Wanted, drops: Ring | None, translations: Translations | None
) -> Mapping[Type, Ring]:
    """Where those that are wanted are kept, by type. Raises ControlError where there are none."""
    rings = {DROP: drops, TRACE_SOCK: translations.ring if translations else None}
    silent = {DROP: _NO_POLICY if drops is None else "", TRACE_SOCK: _silence(wanted, translations)}
    found = {each: ring for each in wanted.types if (ring := rings[each]) and not silent[each]}
    if not found or (len(found) < len(wanted.types) and not wanted.whichever):
        raise ControlError("; ".join(silent[each] for each in wanted.types if silent[each]))
    return found


def _silence(wanted: Wanted, translations: Translations | None) -> str:
    """Why there are no translations, but for who follows: that is told when it begins."""
    if translations is None:
        return _NO_PROXY
    if wanted.follow or TRACE_SOCK not in wanted.types or translations.ring.all().records:
        return ""
    return translations.silence()


def _last(news: Sequence[News], wanted: Wanted) -> list[Answer]:
    found: list[Record] = []
    for each in news:
        found += filter(wanted.matches, each.records)
    if len(news) > 1:
        found.sort(key=lambda record: record.time)
    return [*found[len(found) - min(wanted.last, len(found)) :]]


@dataclass
class _Reader:
    """Where somebody is in a ring."""

    ring: Ring
    bell: int
    position: int
    unseen: int

    def news(self, wanted: Wanted) -> Iterator[Answer]:
        """What came, and first what is missing of it."""
        news = self.ring.since(self.position)
        lost = {_UNREAD: news.missed, _UNHEARD: news.unseen - self.unseen}
        self.position, self.unseen = news.position, news.unseen
        for source, number in lost.items():
            if number:
                yield {"lost_events": {"source": source, "num_events_lost": number}}
        yield from filter(wanted.matches, news.records)


def _followed(
    rings: Mapping[Type, Ring], hearing: Translations | None, wanted: Wanted, request: Request
) -> Iterator[Answer | None]:
    with ExitStack() as stack:
        # Bells before the past is read, or something may fall between the two.
        bells = [stack.enter_context(ring.bell()) for ring in rings.values()]
        any_bell = stack.enter_context(_any_of(bells))
        if hearing is not None:
            with suppress(ControlError) if wanted.whichever and DROP in rings else nullcontext():
                stack.enter_context(hearing.heard())
        past = [ring.all() for ring in rings.values()]
        yield from _last(past, wanted)
        readers = [
            _Reader(ring, bell, each.position, each.unseen)
            for ring, bell, each in zip(rings.values(), bells, past, strict=True)
        ]
        while True:
            yield None
            request.wait(any_bell.fileno())
            rung = {bell for bell, _ in any_bell.poll(0)}
            for reader in readers:
                if reader.bell in rung:
                    os.eventfd_read(reader.bell)
                    yield from reader.news(wanted)


@contextmanager
def _any_of(bells: Sequence[int]) -> Iterator[select.epoll]:
    """A descriptor that is readable when one of them is."""
    with select.epoll() as any_bell:
        for each in bells:
            any_bell.register(each, select.EPOLLIN)
        yield any_bell
