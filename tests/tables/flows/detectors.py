"""Who counts as a local pod, by each of the ways to tell; and masquerade_all.

Two things hang on it: who is masqueraded on the way to a ClusterIP, and who takes the short
circuit of externalTrafficPolicy Local. Where no one can tell, neither happens.
"""

from __future__ import annotations

from flows.objects import Port, Svc
from flows.places import V4, V6
from flows.rows import table
from flows.world import World
from podwire_proxy.options import Local, Options

SERVICES = (
    Svc("web", "a d", Port(node=30080), balancer=True),
    Svc("outer", "a d", Port(node=30081), balancer=True, externalTrafficPolicy="Local"),
)

PODS = """
    c        web:80       a d     a pod of this node keeps its address
    d        web:80       a d     a pod of another node keeps its address
    stray    web:80       a* d*   a pod of no known network is masqueraded
    outside  web:80       a* d*   the world is masqueraded
    node     web:80       a* d*   the node is masqueraded
    c        outer.lb:80  a d     a pod of this node takes the short circuit
    d        outer.lb:80  a d     a pod of another node takes the short circuit
    stray    outer.lb:80  a       a pod of no known network does not
    node     outer.lb:80  a* d*   the node takes a short circuit of its own
    outside  outer.lb:80  a       the world does not
    c        web.lb:80    a* d*   from outside everyone is masqueraded, pods too
"""
OWN_PODS = table("""
    c        web:80       a d     a pod of this node keeps its address
    d        web:80       a* d*   a pod of another node is masqueraded
    outside  web:80       a* d*   the world is masqueraded
    node     web:80       a* d*   the node is masqueraded
    c        outer.lb:80  a d     a pod of this node takes the short circuit
    d        outer.lb:80  a       a pod of another node does not
    node     outer.lb:80  a* d*   the node takes a short circuit of its own
    outside  outer.lb:80  a       the world does not
""")
LINKS = table("""
    c        web:80       a d     what comes in by a pod's link keeps its address
    stray    web:80       a d     whatever its address
    d        web:80       a* d*   a pod of another node comes in by another link
    outside  web:80       a* d*   the world is masqueraded
    node     web:80       a* d*   the node's packets come in by none, and are masqueraded
    c        outer.lb:80  a d     what comes in by a pod's link takes the short circuit
    stray    outer.lb:80  a d     whatever its address, too
    d        outer.lb:80  a       a pod of another node does not
    c        node:30081   a d     at a NodePort, too
    node     outer.lb:80  a* d*   the node takes a short circuit of its own
    outside  outer.lb:80  a       the world does not
    a        web:80       a* d    the way back to oneself is masqueraded all the same
""")
ONE_LINK = table("""
    c        web:80       a d     what comes in by the one link keeps its address
    b        web:80       a* d*   what comes in by any other is masqueraded
    node     web:80       a* d*   the node is masqueraded
    c        outer.lb:80  a d     what comes in by the one link takes the short circuit
    b        outer.lb:80  a       what comes in by any other does not
    c        node:30081   a d     at a NodePort, too
""")
NO_ONE = """
    c        web:80       a d     no one can tell: a pod keeps its address
    outside  web:80       a d     no one can tell: the world keeps its address
    stray    web:80       a d     no one can tell: a pod of no known network, too
    node     web:80       a d     no one can tell: the node, too
    a        web:80       a* d    no one can tell: but the way back to oneself is masqueraded
    c        outer.lb:80  a       no one can tell: a pod takes no short circuit
    outside  outer.lb:80  a       no one can tell: the world reaches local endpoints
    node     outer.lb:80  a* d*   the node knows itself
    outside  web.lb:80    a* d*   from outside everyone is masqueraded
    outside  node:30080   a* d*   at a NodePort, too
"""
ALL_MASQUERADED = table("""
    c        web:80       a* d*   a pod of this node is masqueraded
    d        web:80       a* d*   a pod of another node is masqueraded
    outside  web:80       a* d*   the world is masqueraded
    node     web:80       a* d*   the node is masqueraded
    outside  web.lb:80    a* d*   from outside, too
    c        outer.lb:80  a d     but not on the short circuit
    outside  outer.lb:80  a       nor from outside under a local policy
    c        d:8080       d       nor what is for no Service
""")
ALL_BUT_NO_ONE = table("""
    c        web:80       a* d*   a pod is masqueraded
    outside  web:80       a* d*   the world is masqueraded
    outside  outer.lb:80  a       a local policy keeps the address
""")

CLUSTER = ("10.244.0.0/16", "fd00:10:244::/48")
WORLDS = (
    World("pods by all Nodes' networks", SERVICES, table(PODS)),
    World("pods by the cluster's CIDRs", SERVICES, table(PODS), Options(Local("cidrs", CLUSTER))),
    World(
        "pods by the cluster's CIDR of one family",
        SERVICES,
        table(PODS, (V4,)) + table(NO_ONE, (V6,)),
        Options(Local("cidrs", CLUSTER[:1])),
    ),
    World("pods by our Node's networks", SERVICES, OWN_PODS, Options(Local("own"))),
    World(
        "pods by a prefix of links' names",
        SERVICES,
        LINKS,
        Options(Local("interface", interface="pod-*")),
    ),
    World(
        "pods by the name of a link",
        SERVICES,
        ONE_LINK,
        Options(Local("interface", interface="pod-c")),
    ),
    World("pods by nothing", SERVICES, table(NO_ONE), Options(Local("cidrs"))),
    World("everyone is masqueraded", SERVICES, ALL_MASQUERADED, Options(masquerade_all=True)),
    World(
        "everyone is masqueraded, pods by nothing",
        SERVICES,
        ALL_BUT_NO_ONE,
        Options(Local("cidrs"), masquerade_all=True),
    ),
)
