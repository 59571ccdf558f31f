"""What is of one family only: an address of one is never served by endpoints of the other."""

from __future__ import annotations

from flows.objects import Port, Slice, Svc
from flows.places import V4, V6
from flows.rows import table
from flows.world import FIRST, World

_V4, _V6 = (V4,), (V6,)

SERVICES = (
    Svc(
        "four",
        "a b",
        Port(node=30080),
        clusterIPs=[f"10.96.0.{FIRST}"],
        ipFamilies=["IPv4"],
        external=True,
        balancer=True,
    ),
    Svc(
        "six",
        "a b",
        Port(node=30081),
        clusterIP=f"fd00:10:96::{FIRST + 1}",
        clusterIPs=[f"fd00:10:96::{FIRST + 1}"],
        ipFamilies=["IPv6"],
        external=True,
    ),
    Svc(
        "turned",
        "a b",
        clusterIP=f"fd00:10:96::{FIRST + 2}",
        clusterIPs=[f"fd00:10:96::{FIRST + 2}", f"10.96.0.{FIRST + 2}"],
        ipFamilies=["IPv6", "IPv4"],
        ipFamilyPolicy="PreferDualStack",
    ),
    Svc("mixed", (Slice("a b", families=_V6),), Port(node=30083)),
    Svc("different", (Slice("a", families=_V4), Slice("b", families=_V6))),
    Svc("old", "a b", clusterIPs=None, ipFamilies=None),
)

BOTH = table("""
    c        turned:80   a b   a Service of both families, the second first
    outside  turned:80   a* b*   the same from outside
""")
IPV4 = table(
    """
    c        four:80       a b     a Service of IPv4, by IPv4
    outside  node:30080    a* b*   a Service of IPv4: its NodePort
    outside  four.ext:80   a* b*   a Service of IPv4: its external address
    c        six:80        DROP    a Service of IPv6 has no address of IPv4
    c        six.ext:80    AWAY    a Service of IPv6: its external address of IPv4 is left out
    outside  node:30081    CLOSED  a Service of IPv6: no NodePort by IPv4
    c        mixed:80      REJECT  endpoints of IPv6 serve no address of IPv4
    outside  node:30083    REJECT  endpoints of IPv6 serve no NodePort by IPv4
    c        different:80  a       each family has endpoints of its own: IPv4
    c        old:80        a b     a Service of before there were families
    """,
    _V4,
)
IPV6 = table(
    """
    c        six:80        a b     a Service of IPv6, by IPv6
    outside  node:30081    a* b*   a Service of IPv6: its NodePort
    outside  six.ext:80    a* b*   a Service of IPv6: its external address
    c        four:80       DROP    a Service of IPv4 has no address of IPv6
    c        four.ext:80   AWAY    a Service of IPv4: its external address of IPv6 is left out
    c        four.lb:80    AWAY    a Service of IPv4: its balancer's address of IPv6 is left out
    outside  node:30080    CLOSED  a Service of IPv4: no NodePort by IPv6
    c        mixed:80      a b     endpoints of IPv6 serve an address of IPv6
    c        different:80  b       each family has endpoints of its own: IPv6
    c        old:80        DROP    a Service of before there were families has one address
    """,
    _V6,
)

WORLDS = (World("dual stack", SERVICES, BOTH + IPV4 + IPV6),)
