"""A ServiceCIDR that holds the nodes' own network: what the node has stays the node's."""

from __future__ import annotations

from flows.objects import Port, Svc
from flows.rows import table
from flows.world import World

WORLDS = (
    World(
        "a ServiceCIDR as wide as the nodes' network",
        (Svc("web", "a b", Port(node=30080)),),
        table("""
    c        web:80        a b      a Service is served
    outside  node:30080    a* b*    so is a NodePort
    outside  node:81       CLOSED   the world reaches the node
    c        node:81       CLOSED   a pod reaches the node
    node     node:81       CLOSED   the node reaches itself
    node     alt:81        CLOSED   at any of its addresses
    c        nobody:80     DROP     an address that no Service has
"""),
        cidrs=("10.0.0.0/8", "192.168.0.0/16", "fd00::/16"),
    ),
)
