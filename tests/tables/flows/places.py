"""The nodes, pods and addresses of every world.

                 outside                     node2
                 192.168.77.9                192.168.77.2 ── d 10.244.2.5, e 10.244.2.6
                      │                        │             (a node without a proxy)
      uplink ─────────┴───── node1 ────────────┴ fabric
                             192.168.77.1, and 192.168.78.1 ("alt")
          pod-a ┬──────── pod-b ┬──────── pod-c ┬──────── pod-x ┐
                a               b               c               stray
                10.244.1.5      10.244.1.6      10.244.1.7      10.99.0.5 (in no pod CIDR)

and for IPv6 fd00:77::9, fd00:10:244:1::5 and so on. node1 runs the proxy. Everyone's way to
anyone leads over it, and its own to whatever it does not know leads outside, where all such
addresses answer: a packet that no Service takes is seen to go AWAY.
"""

from __future__ import annotations

from podwire_core.family import Family

V4, V6 = Family.IPV4, Family.IPV6

NODE = "node1"

#: Who has which address, by family.
ADDRESSES: dict[str, dict[Family, str]] = {
    "node": {V4: "192.168.77.1", V6: "fd00:77::1"},
    "alt": {V4: "192.168.78.1", V6: "fd00:78::1"},
    "localhost": {V4: "127.0.0.1", V6: "::1"},
    "node2": {V4: "192.168.77.2", V6: "fd00:77::2"},
    "outside": {V4: "192.168.77.9", V6: "fd00:77::9"},
    "a": {V4: "10.244.1.5", V6: "fd00:10:244:1::5"},
    "b": {V4: "10.244.1.6", V6: "fd00:10:244:1::6"},
    "c": {V4: "10.244.1.7", V6: "fd00:10:244:1::7"},
    "stray": {V4: "10.99.0.5", V6: "fd00:99::5"},
    "d": {V4: "10.244.2.5", V6: "fd00:10:244:2::5"},
    "e": {V4: "10.244.2.6", V6: "fd00:10:244:2::6"},
}
#: What is on whose own machine.
LOCAL_PODS = ("a", "b", "c", "stray")
REMOTE_PODS = ("d", "e")
NODE1_ADDRESSES = ("node", "alt", "localhost")
#: By which of node1's links a place's packets come in.
LINKS = {
    "outside": "uplink",
    "node2": "fabric",
    "d": "fabric",
    "e": "fabric",
    "a": "pod-a",
    "b": "pod-b",
    "c": "pod-c",
    "stray": "pod-x",
}
#: Ports on which every pod answers, and those on which everything outside does.
SERVED = (8080, 5353, 5354)
SERVED_AWAY = (80, 81, 82)

POD_CIDRS = {
    "node1": ("10.244.1.0/24", "fd00:10:244:1::/64"),
    "node2": ("10.244.2.0/24", "fd00:10:244:2::/64"),
}
ZONES = {"node1": "here", "node2": "there"}
SERVICE_CIDRS = ("10.96.0.0/16", "fd00:10:96::/112")

#: Where Services' addresses are taken from; a Service's number follows.
_NETWORKS = {
    "cluster": {V4: "10.96.0.", V6: "fd00:10:96::"},
    "lb": {V4: "198.51.100.", V6: "2001:db8:51::"},
    "ext": {V4: "203.0.113.", V6: "2001:db8:113::"},
}
#: An address of a ServiceCIDR that no Service has.
NOBODY = 250


def service_address(number: int, family: Family, kind: str = "cluster") -> str:
    """The address of a world's Service; kind: cluster, lb (a balancer's) or ext (externalIPs)."""
    return f"{_NETWORKS[kind][family]}{number}"


def home_of(place: str) -> str:
    """The Node on which a place is."""
    return "node2" if place in {*REMOTE_PODS, "node2"} else NODE
