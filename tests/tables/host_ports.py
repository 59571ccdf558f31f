"""hostPorts of node1's pods, and who dials what: for the tracer, and for real packets.

The places are those of flows/places.py. A row says who answers: a pod and its port, with a star
where it sees the node's address in place of the client's; or `node` or `outside` itself, which
listen on all these ports too.

A process of the node that dials one of the node's addresses comes from that address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from flows.places import ADDRESSES, NODE1_ADDRESSES

from podwire_cni.ports import PortMapping
from podwire_core.family import FAMILIES, Family

V4, V6 = Family.IPV4, Family.IPV6

#: b, c and stray as Kubernetes' conformance test of hostIPs and protocols has them.
PODS = {
    "a": (
        PortMapping(9000, 8080, "tcp"),
        PortMapping(9000, 5353, "udp"),
        PortMapping(9001, 90, "sctp"),
        PortMapping(7004, 5354, "tcp", "0.0.0.0"),
        PortMapping(7006, 5354, "tcp", "::"),
    ),
    "b": (PortMapping(54323, 8080, "tcp", "127.0.0.1"),),
    "c": (
        PortMapping(54323, 8080, "tcp", ADDRESSES["node"][V4]),
        PortMapping(6666, 8080, "tcp", ADDRESSES["node"][V6]),
    ),
    "stray": (
        PortMapping(54323, 8080, "udp", ADDRESSES["node"][V4]),
        PortMapping(9000, 8, "sctp", ADDRESSES["alt"][V6]),
    ),
}
PORTS = (9000, 9001, 7004, 7006, 54323, 6666)

_BOTH = """
outside  node:9000        a:8080        the world reaches a hostPort
outside  alt:9000         a:8080        it does so at every address of the node
d        node:9000        a:8080        a pod of another node reaches it, and is seen
b        node:9000        a:8080        another pod reaches it, and is seen
a        node:9000        a*:8080       a pod reaches itself, masqueraded
a        alt:9000/udp     a*:5353       and does so at any address
node     node:9000        a:8080        a process of the node reaches it
node     alt:9000         a:8080        also at another of its addresses
outside  node:9000/udp    a:5353        the same port of another protocol is another hostPort
outside  node:9001/sctp   a:90          SCTP too
outside  node:9001        node:9001     and SCTP's is not TCP's
b        a:8080           a:8080        a pod's own address is as before
b        outside:9000     outside:9000  a port of someone else is as before
"""
_V4 = """
node     localhost:9000   a*:8080       localhost leads to a pod, masqueraded
node     localhost:9000/udp  a*:5353    so it does for UDP
node     localhost:54323  b*:8080       a hostIP of localhost is served there
outside  node:54323       c:8080        the same port at another hostIP is another pod's
node     node:54323       c:8080        also for the node
c        node:54323       c*:8080       also for the pod itself
outside  alt:54323        node:54323    and no one's at another address
outside  node:54323/udp   stray:8080    another protocol is another pod's
outside  node:7004        a:5354        hostIP 0.0.0.0 is any address of IPv4
node     localhost:7004   a*:5354       localhost among them
outside  node:7006        node:7006     hostIP :: is none of IPv4
outside  node:6666        node:6666     nor is one of IPv6
"""
_V6 = """
node     localhost:9000   node:9000     ::1 stays the node's: nothing is forwarded from there
outside  node:7006        a:5354        hostIP :: is any address of IPv6
outside  node:7004        node:7004     hostIP 0.0.0.0 is none of IPv6
outside  node:6666        c:8080        a hostIP of IPv6
outside  alt:6666         node:6666     is served there alone
outside  alt:9000/sctp    stray:8       so is one of SCTP
"""


class Dial(NamedTuple):
    """A row. end: "a:8080"; masqueraded: whether the one who answers sees the node's address."""

    source: str
    to: str
    port: int
    protocol: str
    end: str
    masqueraded: bool
    family: Family

    @property
    def address(self) -> str:
        """What is dialled."""
        return ADDRESSES[self.to][self.family]

    @property
    def client(self) -> str:
        """Who dials it."""
        near = self.source == "node" and self.to in NODE1_ADDRESSES
        return ADDRESSES[self.to if near else self.source][self.family]


def _dials() -> Iterator[tuple[str, Dial]]:
    for text, families in ((_BOTH, FAMILIES), (_V4, (V4,)), (_V6, (V6,))):
        for line in text.strip().splitlines():
            source, to, end, promise = re.split(r" {2,}", line)
            place, port, protocol = re.split(r"[:/]", f"{to}/tcp")[:3]
            row = source, place, int(port), protocol, end.replace("*", ""), "*" in end
            for family in families:
                yield f"{promise}, {family}", Dial(*row, family)


#: Every row in each of its families, under the name of its promise.
DIALS = dict(_dials())
