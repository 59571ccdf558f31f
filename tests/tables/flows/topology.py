"""Hints: endpoints for nodes and zones. node1 is in zone `here`, node2 in `there`."""

from __future__ import annotations

from flows.objects import Document, Port, Svc
from flows.rows import table
from flows.world import World

_OUTER: Document = {"externalTrafficPolicy": "Local"}
_INNER: Document = {"internalTrafficPolicy": "Local"}

SERVICES = (
    Svc("zoned", "a@here b@here d@there e@there", Port(node=30080), balancer=True),
    Svc("partial", "a@here b d@there"),
    Svc("foreign", "a@elsewhere d@there e@there"),
    Svc("shared", "a@there b@here,there d@here,there"),
    Svc("noded", "a#node1 b#node2 d#node2", Port(node=30081)),
    Svc("both", "a@there#node1 b@here#node2 d@here#node2"),
    Svc("othernodes", "a@here#node2 d@there#node2"),
    Svc("halfnoded", "a#node1 b d#node2"),
    Svc("halfboth", "a@there#node1 b@here d@here#node2"),
    Svc("unready", "a@here b!unready d@there"),
    Svc("endings", "a!ending@there d!ending@there e!ended@here"),
    Svc("outer", "a@there b@there d@here", balancer=True, **_OUTER),
    Svc("inner", "a@there d@here", balancer=True, **_INNER),
    Svc("preferred", "a d", trafficDistribution="PreferSameNode"),
)
FLOWS = table("""
    c        zoned:80       a b      endpoints of the node's zone
    node     zoned:80       a* b*    endpoints of the node's zone, for the node
    d        zoned:80       a b      the zone is this node's, whoever asks
    outside  node:30080     a* b*    endpoints of the node's zone, at a NodePort
    outside  zoned.lb:80    a* b*    endpoints of the node's zone, at a balancer's address
    c        partial:80     a b d    one endpoint without a hint, and no hint counts
    c        foreign:80     a d e    no endpoint for this zone, and no hint counts
    c        shared:80      b d      an endpoint may be for many zones
    c        noded:80       a        endpoints for this node
    outside  node:30081     a*       endpoints for this node, at a NodePort
    c        both:80        a        nodes go before zones
    c        othernodes:80  a        no endpoint for this node, then the zone's
    c        halfnoded:80   a b d    one endpoint without a node's hint, and no such hint counts
    c        halfboth:80    b d      but the zone's still do
    c        unready:80     a        only ready endpoints are asked for hints
    c        endings:80     a d      hints of ending endpoints do not count
    outside  outer.lb:80    a b      the world's local endpoints: hints do not count
    c        outer.lb:80    d        the short circuit: they do
    c        outer:80       d        inside: they do
    c        inner:80       a        a local Service: they do not
    outside  inner.lb:80    d*       and outside it is not local, so they do
    c        preferred:80   a d      trafficDistribution is for those who write hints
""")

NO_ZONE = table("""
    c        zoned:80       a b d e  a node without a zone: no zone's hint counts
    c        noded:80       a        a node without a zone: its own do
    c        othernodes:80  a d      a node without a zone, and none for it
    c        outer:80       a b d    a node without a zone, an external policy
""")

WORLDS = (
    World("topology", SERVICES, FLOWS),
    World("topology without a zone", SERVICES, NO_ZONE, zone=""),
)
