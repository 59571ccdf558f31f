"""The differences between leases, links and routes that an audit tells apart.

| kind                | what is so                                        | repair          | wait |
|---------------------|---------------------------------------------------|-----------------|------|
| lease-without-link  | its link is gone, and no runtime has its pod      | as for a DEL    | 60 s |
| lease-of-live-pod   | its link is gone, its pod is not                  | none: DEL comes |      |
| link-renamed        | the lease's link has another name                 | none            |      |
| link-of-live-pod    | no lease, but the runtime has the pod             | leased again    | 5 s  |
| link-without-lease  | no lease, and no runtime has its pod              | the link goes   | 60 s |
|                     |                                                   | if it is silent |      |
| link-unjudged       | the same, where that cannot be asked, or the      | none            |      |
|                     | cache that can knows no pod of podwire's          |                 |      |
| link-down           | somebody set the lease's link down                | set up          | 5 s  |
| source-unchecked    | its rp_filter is 0, so its pod may borrow others' | set to 1        | 5 s  |
|                     | IPv4 addresses                                    |                 |      |
| route-missing       | no route leads to a leased address                | added           | 5 s  |
| route-elsewhere     | another pod's link has the route                  | put right       | 60 s |
| route-foreign       | somebody's own route stands before ours           | none            |      |
| neighbour-wrong     | the permanent neighbour is missing or differs     | put right       | 5 s  |
| route-stray         | a pod's link has a route to another's address     | it goes         | 60 s |
| neighbour-stray     | the same of a neighbour                           | it goes         | 60 s |
| ports-missing       | a lease's hostPorts are not in force              | put in force    | 5 s  |
| ports-without-lease | hostPorts are in force that no lease asks for     | they go         | 60 s |

A repair needs two sightings so far apart. Those that wait for a minute free something; the
others only put back what a lease stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from podwire_node.cni.audit.steps import Step

#: Seconds between the two sightings that a repair needs.
FREEING = 60.0
ADDING = 5.0


class Kind(Enum):
    """A row of the table; in the order in which repairs are made. None: nothing is repaired."""

    LINK_DOWN = "link-down", ADDING
    SOURCE_UNCHECKED = "source-unchecked", ADDING
    LINK_OF_LIVE_POD = "link-of-live-pod", ADDING
    ROUTE_ELSEWHERE = "route-elsewhere", FREEING
    ROUTE_MISSING = "route-missing", ADDING
    NEIGHBOUR_WRONG = "neighbour-wrong", ADDING
    PORTS_MISSING = "ports-missing", ADDING
    ROUTE_STRAY = "route-stray", FREEING
    NEIGHBOUR_STRAY = "neighbour-stray", FREEING
    PORTS_WITHOUT_LEASE = "ports-without-lease", FREEING
    LINK_WITHOUT_LEASE = "link-without-lease", FREEING
    LEASE_WITHOUT_LINK = "lease-without-link", FREEING
    LEASE_OF_LIVE_POD = "lease-of-live-pod", None
    LINK_RENAMED = "link-renamed", None
    LINK_UNJUDGED = "link-unjudged", None
    ROUTE_FOREIGN = "route-foreign", None

    def __init__(self, word: str, patience: float | None) -> None:
        self.word = word
        self.patience = patience


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. Two sightings are of the same finding when all of it is equal.

    subject: the link or address it is about.  sentence: for people.  pod: namespace/name, "" where
    nobody knows.  container: whose turn the repair takes; "" where nobody knows.
    steps: the repair.  instance: what tells a new one from an old one: when its lease was made, or
    how much a link that nobody knows has heard from its pod, so that only a silent one goes.
    """

    kind: Kind
    subject: str
    sentence: str
    pod: str
    container: str
    steps: tuple[Step, ...] = ()
    instance: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind.word}: {self.sentence}"
