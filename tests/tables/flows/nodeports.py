"""Where NodePorts answer: nodeport_addresses and localhost_nodeports.

By default at the node's InternalIPs (basics); else at those of its addresses that are in the
CIDRs. Given for one family alone, the other answers everywhere. Loopback needs a word of its own.
"""

from __future__ import annotations

from flows.objects import Document, Port, Svc
from flows.places import V4, V6
from flows.rows import table
from flows.world import World
from podwire_proxy.options import Options

_OUTER: Document = {"externalTrafficPolicy": "Local"}
_UDP = Port(80, 5354, "u", "UDP", 30080)

SERVICES = (
    Svc("web", "a b", Port(node=30080), _UDP, balancer=True),
    Svc("outer", "a d", Port(node=30081), **_OUTER),
    Svc("far", "d", Port(node=30082), **_OUTER),
    Svc("empty", "", Port(node=30090)),
    Svc("thief", "b", Port(node=5353)),
)

ALT = table("""
    outside  alt:30080        a* b*   the address that was chosen
    c        alt:30080        a* b*   the address that was chosen, for a pod
    node     alt:30080        a* b*   the address that was chosen, for the node
    outside  alt:30081        a       the address that was chosen, a local policy
    c        alt:30081        a d     the address that was chosen, a pod's short circuit
    outside  alt:30090        REJECT  the address that was chosen, no endpoint
    outside  node:30080       CLOSED  the node's first address was not chosen
    outside  node:30090       CLOSED  the node's first address was not chosen, no endpoint
    node     localhost:30080  CLOSED  nor was the loopback's
""")
EVERYWHERE = """
    outside  node:30080       a* b*   the node's first address
    outside  alt:30080        a* b*   the node's other address
    c        node:30080       a* b*   the node's first address, for a pod
    c        alt:30080        a* b*   the node's other address, for a pod
    node     alt:30080        a* b*   the node's other address, for the node
    outside  alt:30080/udp    a*:5354 b*:5354    the node's other address, UDP
    outside  web.lb:30080     a* b*   a balancer's address that the node has
    outside  alt:30081        a       a local policy
    node     alt:30081        a* d*   a local policy, for the node
    outside  alt:30082        DROP    a local policy, no endpoint here
    outside  alt:30090        REJECT  no endpoint at all
    outside  node:5353        b*      whatever the number
    c        a:5353           a:5353  a pod's address is not the node's
    outside  d:5353           d:5353  nor is another node's pod
"""
NOT_LOOPBACK = """
    node     localhost:30080  CLOSED  the loopback address is not meant
"""
LOOPBACK = table(
    """
    node     localhost:30080      a* b*   a NodePort at the loopback
    node     localhost:30080/udp  a*:5354 b*:5354    a NodePort at the loopback, UDP
    node     localhost:30081      a* d*   a NodePort at the loopback, a local policy
    node     localhost:30082      d*      a NodePort at the loopback, no endpoint here
    node     localhost:30090      REJECT  a NodePort at the loopback, no endpoint at all
    node     node:30080           a* b*   the node's own address beside it
    outside  alt:30080            CLOSED  no other address
    """,
    (V4,),
) + table(
    """
    node     localhost:30080      CLOSED  the kernel has no NAT for ::1
    node     node:30080           a* b*   the node's own address beside ::1
    """,
    (V6,),
)

_ONE_V4 = ("192.168.78.0/24",)
_ONE_V6 = ("fd00:78::/64",)
_ALL = ("0.0.0.0/0", "::/0")
_BOTH = ("192.168.77.0/24", "192.168.78.0/24", "fd00:77::/64", "fd00:78::/64")
_MANY = ("10.0.0.0/8", "192.168.0.0/16", "fd00::/16")

WORLDS = (
    World("NodePorts at one address", SERVICES, ALT, Options(nodeport_addresses=_ONE_V4 + _ONE_V6)),
    World(
        "NodePorts at one address, IPv6 anywhere",
        SERVICES,
        table("outside  node:30080  CLOSED  chosen for IPv4: not the first address", (V4,))
        + table("outside  alt:30080  a* b*  chosen for IPv4: the other address", (V4,))
        + table(EVERYWHERE + NOT_LOOPBACK, (V6,)),
        Options(nodeport_addresses=_ONE_V4),
        bound=("web",),
    ),
    World(
        "NodePorts everywhere",
        SERVICES,
        table(EVERYWHERE + NOT_LOOPBACK),
        Options(nodeport_addresses=_ALL),
        bound=("web",),
    ),
    World(
        "NodePorts in networks with others in them",
        SERVICES,
        tuple(flow for flow in table(EVERYWHERE + NOT_LOOPBACK) if flow.to != "web"),
        Options(nodeport_addresses=_MANY),
    ),
    World(
        "NodePorts at two addresses",
        SERVICES,
        tuple(flow for flow in table(EVERYWHERE + NOT_LOOPBACK) if flow.to != "web"),
        Options(nodeport_addresses=_BOTH),
    ),
    World("NodePorts at the loopback", SERVICES, LOOPBACK, Options(localhost_nodeports=True)),
    World(
        "NodePorts everywhere and at the loopback",
        SERVICES,
        tuple(flow for flow in LOOPBACK if flow.to != "alt") + table(EVERYWHERE),
        Options(nodeport_addresses=_ALL, localhost_nodeports=True),
        bound=("web",),
    ),
)
