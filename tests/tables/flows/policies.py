"""internalTrafficPolicy and externalTrafficPolicy: whose endpoints, and who sees whom.

Local outside: the world reaches this node's endpoints and keeps its address; pods of the cluster
and the node itself reach all (the short circuit). Local inside: only this node's endpoints.
"""

from __future__ import annotations

from typing import Any

from flows.objects import PROTOCOLS, Document, Port, Svc
from flows.rows import table
from flows.world import World

_OUTER: Document = {"externalTrafficPolicy": "Local"}
_INNER: Document = {"internalTrafficPolicy": "Local"}


def _outside(name: str, endpoints: str, node: int, **spec: Any) -> Svc:
    """A Service with an address of every kind, for TCP, and for UDP and SCTP beside."""
    ports = [Port(80, 8080, protocol.lower(), protocol, node) for protocol in PROTOCOLS]
    return Svc(name, endpoints, *ports, balancer=True, external=True, **spec)


SERVICES = (
    _outside("wide", "a d", 30080),
    _outside("outer", "a d", 30081, **_OUTER),
    _outside("far", "d e", 30082, **_OUTER),
    _outside("none", "", 30083, **_OUTER),
    _outside("inner", "a d", 30084, **_INNER),
    _outside("farin", "d e", 30085, **_INNER),
    _outside("nonein", "", 30086, **_INNER),
    _outside("both", "a b d", 30087, **_INNER, **_OUTER),
    _outside("farboth", "d", 30088, **_INNER, **_OUTER),
    _outside("unready", "a!unready d", 30089, **_INNER, **_OUTER),
    _outside("ending", "a!ending d", 30090, **_OUTER),
    _outside("endingin", "a!ending d", 30091, **_INNER),
    _outside("ended", "a!ended d", 30092, **_INNER, **_OUTER),
    _outside("allend", "a!ending d!ending", 30093, **_INNER, **_OUTER),
    _outside("farend", "d!ending", 30094, **_INNER, **_OUTER),
    _outside("host", "node node2", 30095, **_INNER, **_OUTER),
)

EXTERNAL_CLUSTER = table("""
    outside  wide.lb:80    a* d*   a balancer's address, masqueraded for the world
    outside  wide.ext:80   a* d*   an external address, masqueraded for the world
    outside  node:30080    a* d*   a NodePort, masqueraded for the world
    c        wide.lb:80    a* d*   a balancer's address, masqueraded even for pods
    c        wide.ext:80   a* d*   an external address, masqueraded even for pods
    c        node:30080    a* d*   a NodePort, masqueraded even for pods
    d        wide.lb:80    a* d*   a balancer's address, for another node's pod
    stray    wide.ext:80   a* d*   an external address, for a pod of no known network
    node     wide.lb:80    a* d*   a balancer's address, for the node
    node     wide.ext:80   a* d*   an external address, for the node
    outside  wide.lb:80/udp    a* d*   a balancer's address, UDP
    outside  wide.ext:80/sctp  a* d*   an external address, SCTP
    c        wide:80       a d     and the ClusterIP is not masqueraded
""")

EXTERNAL_LOCAL = table("""
    outside  outer.lb:80   a       a balancer's address: the world reaches local endpoints
    outside  outer.ext:80  a       an external address: local endpoints
    outside  node:30081    a       a NodePort: local endpoints
    outside  outer.lb:80/udp    a  a balancer's address, UDP: local endpoints
    outside  outer.ext:80/sctp  a  an external address, SCTP: local endpoints
    outside  node:30081/udp     a  a NodePort, UDP: local endpoints
    stray    outer.lb:80   a       a pod of no known network is the world
    c        outer.lb:80   a d     a balancer's address: a pod reaches all endpoints, as itself
    c        outer.ext:80  a d     an external address: a pod reaches all endpoints
    c        node:30081    a d     a NodePort: a pod reaches all endpoints
    c        outer.ext:80/udp   a d    an external address, UDP: a pod reaches all endpoints
    d        outer.lb:80   a d     a pod of another node reaches all endpoints
    a        outer.lb:80   a* d    a pod reaches itself
    node     outer.lb:80   a* d*   a balancer's address: the node reaches all endpoints
    node     outer.ext:80  a* d*   an external address: the node reaches all endpoints
    node     node:30081    a* d*   a NodePort: the node reaches all endpoints
    c        outer:80      a d     the ClusterIP is none of it
    outside  outer:80      a* d*   the ClusterIP is none of it for the world

    outside  far.lb:80     DROP    a balancer's address with no endpoint here is silent
    outside  far.ext:80    DROP    an external address with no endpoint here is silent
    outside  node:30082    DROP    a NodePort with no endpoint here is silent
    outside  far.lb:80/udp      DROP   a balancer's address with no endpoint here, UDP
    outside  node:30082/sctp    DROP   a NodePort with no endpoint here, SCTP
    stray    far.lb:80     DROP    silent to a pod of no known network
    c        far.lb:80     d e     no endpoint here: a pod reaches the others
    c        node:30082    d e     no endpoint here: a pod reaches the others by NodePort
    node     far.lb:80     d* e*   no endpoint here: the node reaches the others
    node     node:30082    d* e*   no endpoint here: the node reaches the others by NodePort
    outside  far:80        d* e*   no endpoint here: the world reaches the others by ClusterIP

    outside  none.lb:80    REJECT  no endpoint anywhere is refused at a balancer's address
    outside  none.ext:80   REJECT  no endpoint anywhere is refused at an external address
    outside  node:30083    REJECT  no endpoint anywhere is refused at a NodePort
    c        none.lb:80    REJECT  no endpoint anywhere is refused to a pod
    node     none.lb:80    REJECT  no endpoint anywhere is refused to the node
    c        none:80       REJECT  no endpoint anywhere is refused at the ClusterIP
""")

INTERNAL_LOCAL = table("""
    c        inner:80      a       inside: a pod reaches local endpoints
    a        inner:80      a*      inside: a pod reaches itself
    node     inner:80      a*      inside: the node reaches local endpoints
    outside  inner:80      a*      inside: the world too, masqueraded
    c        inner:80/udp  a       inside, UDP
    c        inner:80/sctp  a      inside, SCTP
    outside  inner.lb:80   a* d*   outside: a balancer's address is none of it
    outside  inner.ext:80  a* d*   outside: an external address is none of it
    outside  node:30084    a* d*   outside: a NodePort is none of it
    c        node:30084    a* d*   outside: a NodePort is none of it for pods

    c        farin:80      DROP    inside: no endpoint here is silent
    node     farin:80      DROP    inside: no endpoint here is silent to the node
    outside  farin:80      DROP    inside: no endpoint here is silent to the world
    c        farin:80/udp  DROP    inside: no endpoint here, UDP
    c        farin:80/sctp  DROP   inside: no endpoint here, SCTP
    outside  farin.lb:80   d* e*   outside: endpoints elsewhere serve a balancer's address
    outside  node:30085    d* e*   outside: endpoints elsewhere serve a NodePort

    c        nonein:80     REJECT  inside: no endpoint anywhere is refused
    node     nonein:80     REJECT  inside: no endpoint anywhere is refused to the node
    outside  nonein.lb:80  REJECT  inside: no endpoint anywhere is refused outside, too
""")

BOTH_LOCAL = table("""
    c        both:80       a b     both: inside, local endpoints
    outside  both.lb:80    a b     both: the world, local endpoints as itself
    c        both.lb:80    a b d   both: a pod from outside takes the short circuit to all
    node     both.ext:80   a* b* d*    both: the node from outside, to all
    node     both:80       a* b*   both: the node inside, local endpoints
    c        farboth:80       DROP  both: none here, inside
    outside  farboth.lb:80    DROP  both: none here, outside
    c        farboth.lb:80    d     both: none here, a pod from outside
    c        unready:80       DROP  both: a local endpoint that is not ready is none, inside
    outside  unready.lb:80    DROP  both: a local endpoint that is not ready is none, outside
    c        host:80          node  both: an endpoint on the node's own network is local
    outside  host.lb:80       node  both: an endpoint on the node's own network, from outside
""")

TERMINATING = table("""
    outside  ending.lb:80     a     no local one is ready: the ending one serves the world
    outside  node:30090       a     no local one is ready: the ending one serves a NodePort
    c        ending.lb:80     d     a pod goes to who is ready, wherever
    node     ending.lb:80     d*    the node goes to who is ready, wherever
    c        ending:80        d     inside, to who is ready
    c        endingin:80      a     no local one is ready: the ending one serves inside
    outside  endingin.lb:80   d*    outside, to who is ready
    c        ended:80         DROP  one that serves no more is no local endpoint, inside
    outside  ended.lb:80      DROP  one that serves no more is no local endpoint, outside
    c        allend:80        a     all are ending: inside, the local one
    outside  allend.lb:80     a     all are ending: outside, the local one
    c        allend.lb:80     a d   all are ending: a pod's short circuit to all
    c        farend:80        DROP  all are ending elsewhere: silent, not refused
    outside  farend.ext:80    DROP  all are ending elsewhere: silent outside
    c        farend.ext:80    d     all are ending elsewhere: a pod's short circuit
""")

WORLDS = (
    World(
        "policies",
        SERVICES,
        EXTERNAL_CLUSTER + EXTERNAL_LOCAL + INTERNAL_LOCAL + BOTH_LOCAL + TERMINATING,
    ),
)
