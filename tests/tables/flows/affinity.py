"""Session affinity: where a client's second connection goes, after its first.

    c   sticky:80   node:30080   same    a NodePort remembers with its ClusterIP
    who first       then         end     promise

same: the first's endpoint. free: any of those that serve the second, which is another port's,
another list's or another client's ("d:" in front of it says whose). A memory is of one list of one
Service's port, whatever way it was dialled: policies that are not Local have one list, so one
memory (docs/decisions/07).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from flows.objects import Document, Port, Svc
from flows.rows import Flow, table
from flows.world import World

Relation = Literal["same", "free"]

_COLUMNS = re.compile(r" {2,}")
_STICKY: Document = {"sessionAffinity": "ClientIP"}


@dataclass(frozen=True)
class Story:
    """Two connections, and what the second's end has to do with the first's."""

    first: Flow
    then: Flow
    relation: Relation
    promise: str

    def allowed(self, end: str) -> frozenset[str]:
        """Where the second may end once the first has ended at `end`."""
        return frozenset({end}) if self.relation == "same" else self.then.ends


_PORTS = (
    Port(80, 8080, "t", "TCP", 30080),
    Port(81, 5353, "other", "TCP", 30081),
    Port(80, 5354, "u", "UDP", 30080),
    Port(80, 8080, "s", "SCTP", 30080),
)
SERVICES = (
    Svc("sticky", "a b", *_PORTS, balancer=True, external=True, **_STICKY),
    Svc(
        "outer",
        "a b d",
        Port(node=30082),
        balancer=True,
        external=True,
        externalTrafficPolicy="Local",
        **_STICKY,
    ),
    Svc(
        "inner",
        "a b d",
        Port(node=30083),
        balancer=True,
        internalTrafficPolicy="Local",
        **_STICKY,
    ),
    Svc("loose", "a b", Port(node=30084), sessionAffinity="None"),
)

#: Which endpoints each way leads to; the promises are those of the stories below.
_ENDS = {
    "sticky:80": "a b",
    "sticky:81": "a:5353 b:5353",
    "sticky:80/udp": "a:5354 b:5354",
    "sticky:80/sctp": "a b",
    "sticky.lb:80": "a b",
    "sticky.ext:80": "a b",
    "node:30080": "a b",
    "node:30080/udp": "a:5354 b:5354",
    "node:30080/sctp": "a b",
    "node:30081": "a:5353 b:5353",
    "outer:80": "a b d",
    "outer.lb:80": "a b d",
    "node:30082": "a b d",
    "inner:80": "a b",
    "inner.lb:80": "a b d",
    "node:30083": "a b d",
    "loose:80": "a b",
}
_NEAR = {("outside", where): "a b" for where in ("outer.lb:80", "node:30082")}

_STORIES = """
    c        sticky:80      sticky:80       same  a client stays with its endpoint
    outside  sticky:80      sticky:80       same  so does the world
    node     sticky:80      sticky:80       same  so does the node
    d        sticky:80      sticky:80       same  so does another node's pod
    c        sticky:80/udp  sticky:80/udp   same  so does UDP
    c        sticky:80/sctp  sticky:80/sctp  same  so does SCTP
    c        sticky:80      node:30080      same  a NodePort remembers with its ClusterIP
    c        node:30080     sticky:80       same  and the other way round
    outside  node:30080     sticky.lb:80    same  a balancer's address with the NodePort
    outside  sticky.lb:80   sticky.ext:80   same  and an external one with it
    c        node:30080/udp  sticky:80/udp  same  ways of UDP remember together
    outside  node:30080/sctp  sticky:80/sctp  same  ways of SCTP remember together
    c        sticky:80      sticky:81       free  another port has a memory of its own
    c        sticky:80      sticky:80/udp   free  so has another protocol
    c        sticky:80      d: sticky:80    free  so has another client
    c        sticky:80      outer:80        free  so has another Service
    c        loose:80       loose:80        free  no memory without affinity

    outside  outer.lb:80    outer.lb:80     same  the world stays with a local endpoint
    outside  node:30082     outer.lb:80     same  a NodePort and a balancer, under a local policy
    c        outer.lb:80    outer.lb:80     same  a pod on the short circuit stays with its own
    node     outer.lb:80    node:30082      same  so does the node
    c        outer:80       outer.lb:80     same  a pod inside, then on the short circuit
    outside  outer:80       outer.lb:80     free  all endpoints, then the local ones
    outside  outer.lb:80    outer:80        free  the local ones, then all
    c        inner:80       inner:80        same  a local Service remembers
    c        inner:80       inner.lb:80     free  local inside, then all outside
    c        inner.lb:80    inner:80        free  all outside, then local inside
"""


def _stories() -> Iterator[Story]:
    for line in filter(None, (each.strip() for each in _STORIES.splitlines())):
        who, first, then, relation, promise = _COLUMNS.split(line)
        other, _, where = then.rpartition(": ")
        yield Story(
            _flow(who, first), _flow(other or who, where), cast("Relation", relation), promise
        )


def _flow(who: str, where: str) -> Flow:
    ends = _NEAR.get((who, where), _ENDS[where])
    (flow,) = table(f"{who}  {where}  {ends}  -")
    return flow


STORIES = tuple(_stories())
WORLD = World("affinity", SERVICES, ())
