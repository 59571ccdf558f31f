"""A table of flows in plain text, one a line, columns two spaces apart.

    outside  web.lb:80      a* b*     the world reaches a balancer's address, masqueraded
    source   destination    ends      promise

source       a place (flows/places.py): a pod, `node` (a process of node1), outside, stray
destination  PLACE:PORT or SERVICE:PORT, where a Service's own address is meant; SERVICE.lb is
             its balancer's, SERVICE.ext its external one, `nobody` one that no Service has;
             /udp or /sctp follow the port
ends         a          endpoints that are reached, all of them: `a` is a:8080, else a:5353
             a*, a*:5353    and this one sees node1's address in place of the client's
             REJECT     refused at once
             DROP       no answer at all
             AWAY       no Service's: it leaves node1 by the default route as it came
             CLOSED     no Service's: it reaches node1 itself, where no one listens
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flows.places import REMOTE_PODS
from podwire_core.family import Family

REJECT, DROP, AWAY, CLOSED = "REJECT", "DROP", "AWAY", "CLOSED"
OUTCOMES = frozenset({REJECT, DROP, AWAY, CLOSED})

_COLUMNS = re.compile(r" {2,}")
_DESTINATION = re.compile(
    r"(?P<to>[\w-]+)(\.(?P<kind>lb|ext))?:(?P<port>\d+)(/(?P<protocol>\w+))?\Z"
)


@dataclass(frozen=True)
class Flow:
    """`source` dials `to`:`port`; ends: "pod:port" of each endpoint, or one of OUTCOMES.

    kind: which of a Service's addresses: cluster, lb or ext. masqueraded: those of the ends that
    see node1's address. families: in which the promise holds.
    """

    source: str
    to: str
    port: int
    ends: frozenset[str]
    promise: str
    kind: str = "cluster"
    protocol: str = "tcp"
    masqueraded: frozenset[str] = frozenset()
    families: Sequence[Family] = tuple(Family)

    @property
    def deaf(self) -> frozenset[str]:
        """Ends that cannot answer: a pod of another node that is sent to itself (decisions/08)."""
        if self.source not in REMOTE_PODS:
            return frozenset()
        own = {end for end in self.ends if end.startswith(f"{self.source}:")}
        return frozenset(own - self.masqueraded)

    @property
    def outcome(self) -> str:
        """One of OUTCOMES, or "" where endpoints are reached."""
        return next(iter(self.ends & OUTCOMES), "")


def table(text: str, families: Sequence[Family] = tuple(Family)) -> tuple[Flow, ...]:
    """See the module; empty lines only part the rows."""
    return tuple(_rows(text, families))


def _rows(text: str, families: Sequence[Family]) -> Iterator[Flow]:
    for line in filter(None, (each.strip() for each in text.splitlines())):
        source, destination, ends, promise = _COLUMNS.split(line)
        found = _DESTINATION.match(destination)
        assert found, line
        yield Flow(
            source,
            found["to"],
            int(found["port"]),
            frozenset(_end(word) for word in ends.split()),
            promise,
            found["kind"] or "cluster",
            found["protocol"] or "tcp",
            frozenset(_end(word) for word in ends.split() if "*" in word),
            families,
        )


def _end(word: str) -> str:
    """`a*` and `a*:5353` without the star, and with a port."""
    place = word.replace("*", "")
    return place if place in OUTCOMES or ":" in place else f"{place}:8080"
