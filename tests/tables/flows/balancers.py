"""Addresses of load balancers, external addresses, and who may come: loadBalancerSourceRanges."""

from __future__ import annotations

from typing import Any

from flows.objects import PROTOCOLS, Port, Svc
from flows.places import V4, V6
from flows.rows import table
from flows.world import World

ADDRESSED = (
    Svc("vip", "a b", Port(node=30080), Port(81, 5353, "admin"), balancer=True),
    Svc("named", "a", balancer=True, ingress={"ipMode": "VIP"}),
    Svc("proxied", "a b", Port(node=30082), balancer=True, ingress={"ipMode": "Proxy"}),
    Svc(
        "hostname",
        "a b",
        Port(node=30083),
        balancer=True,
        ingress={"ip": None, "hostname": "lb.example.com"},
    ),
    Svc("noport", "a b", balancer=True, allocateLoadBalancerNodePorts=False),
    Svc("asked", "a", type="LoadBalancer", loadBalancerIP="198.51.100.15"),
    Svc("rubbish", "a", balancer=True, ingress={"ip": "no-address"}),
)
ADDRESS_FLOWS = table("""
    outside  vip.lb:80      a* b*   the world reaches a balancer's address
    c        vip.lb:80      a* b*   a pod reaches a balancer's address
    node     vip.lb:80      a* b*   the node reaches a balancer's address
    outside  vip.lb:81      a*:5353 b*:5353    a balancer's address at another port
    c        vip.lb:82      AWAY    a port that the Service lacks is the balancer's own affair
    outside  named.lb:80    a*      ipMode VIP is the same
    c        proxied.lb:80  AWAY    ipMode Proxy: the packet goes to the balancer
    node     proxied.lb:80  AWAY    ipMode Proxy: the node's packet, too
    outside  node:30082     a* b*   ipMode Proxy: the NodePort is served
    c        proxied:80     a b     ipMode Proxy: the ClusterIP is served
    c        hostname.lb:80  AWAY   a balancer that has a name and no address
    outside  node:30083     a* b*   a balancer that has a name: the NodePort is served
    outside  noport.lb:80   a* b*   a balancer's address needs no NodePort
    c        asked.lb:80    AWAY    the address that a person asked for is not the one given
    c        rubbish.lb:80  AWAY    what is no address is left out
    c        rubbish:80     a       and the rest is served
""")

EXTERNAL = (
    Svc("plain", "a b", external=True),
    Svc("nodeport", "a b", Port(node=30081), external=True, type="NodePort"),
    Svc("balanced", "a b", external=True, balancer=True),
    Svc("odd", "a", externalIPs=["", "no-address", "203.0.113.13", "2001:db8:113::13"]),
    Svc("zoe", "a", Port(node=30084), external=True, created="2025-01-01T00:00:00Z"),
    Svc(
        "amy",
        "b",
        Port(node=30084),
        Port(81, 5353, "admin"),
        externalIPs=["203.0.113.14", "2001:db8:113::14"],
        created="2026-01-01T00:00:00Z",
    ),
)
EXTERNAL_FLOWS = table("""
    outside  plain.ext:80     a* b*   an external address of a ClusterIP Service
    c        plain.ext:80     a* b*   an external address, for a pod
    node     plain.ext:80     a* b*   an external address, for the node
    outside  nodeport.ext:80  a* b*   an external address of a NodePort Service
    outside  balanced.ext:80  a* b*   an external address of a LoadBalancer Service
    outside  balanced.lb:80   a* b*   and its balancer's
    outside  odd.ext:80       a*      an address that is none is left out, the others are served
    c        odd:80           a       and so is the ClusterIP
    outside  zoe.ext:80       a*      of two Services with one address, the older has it
    outside  node:30084       a*      of two Services with one NodePort, the older has it
    outside  zoe.ext:81       b*:5353    a port that only the younger has is its own
    c        amy:80           b       and its ClusterIP
""")

_OUTSIDE = ["192.168.77.9/32", "fd00:77::9/128"]
_NODE = ["192.168.77.1/32", "fd00:77::1/128"]
_PODS = ["10.244.0.0/16", "fd00:10:244::/48"]


def _guarded(name: str, endpoints: str, ranges: list[str], *ports: Port, **more: Any) -> Svc:
    """A Service whose balancer's address is for some sources alone."""
    return Svc(name, endpoints, *ports, balancer=True, loadBalancerSourceRanges=ranges, **more)


GUARDED = (
    _guarded("narrow", "a b", _OUTSIDE, Port(node=30080), external=True),
    _guarded("pods", "a b", _PODS, Port(node=30081)),
    _guarded("nodes", "a b", _NODE),
    _guarded("spaced", "a b", [f"  {each} " for each in _OUTSIDE]),
    _guarded("mangled", "a b", ["no-network", "1.2.3.4/99", *_OUTSIDE]),
    _guarded("overlapping", "a b", [*_PODS, "10.0.0.0/8", "fd00::/16"]),
    _guarded("onlyfour", "a b", _OUTSIDE[:1]),
    _guarded("all", "a b", ["0.0.0.0/0", "::/0"]),
    _guarded("boundok", "a b", _NODE),
    _guarded("bound", "a b", _OUTSIDE),
    _guarded("none", "", _OUTSIDE),
    _guarded("local", "a d", _OUTSIDE, externalTrafficPolicy="Local"),
    _guarded("three", "a", _OUTSIDE, *(Port(80, 8080, each.lower(), each) for each in PROTOCOLS)),
    Svc("ignored", "a", external=True, loadBalancerSourceRanges=_PODS),
)
GUARDED_FLOWS = table("""
    outside  narrow.lb:80   a* b*   who is in a source range may come
    c        narrow.lb:80   DROP    a pod that is in none may not
    node     narrow.lb:80   DROP    nor may the node
    stray    narrow.lb:80   DROP    nor may a pod of no known network
    outside  node:30080     a* b*   NodePorts have no source ranges
    c        node:30080     a* b*   nor have they for pods
    c        narrow.ext:80  a* b*   external addresses have none
    c        narrow:80      a b     the ClusterIP has none
    c        pods.lb:80     a* b*   a source range of pods
    d        pods.lb:80     a* b*   a source range of pods holds those of other nodes
    outside  pods.lb:80     DROP    a source range of pods keeps the world out
    outside  node:30081     a* b*   which may use the NodePort
    node     nodes.lb:80    a* b*   a source range that holds the node
    outside  nodes.lb:80    DROP    a source range that holds the node keeps the world out
    outside  spaced.lb:80   a* b*   a source range with spaces around it
    c        spaced.lb:80   DROP    a source range with spaces around it is in force
    outside  mangled.lb:80  a* b*   beside a source range that is none, the others hold
    c        mangled.lb:80  DROP    beside a source range that is none, the others are in force
    c        overlapping.lb:80    a* b*    source ranges may overlap
    outside  all.lb:80      a* b*   a source range of everyone
    node     boundok.lb:80  a* b*   a node in a range may dial from the balancer's address it has
    outside  boundok.lb:80  DROP    which opens it to no one else
    node     bound.lb:80    DROP    a node in no range may not
    outside  bound.lb:80    a* b*   a balancer's address that the node has is served
    c        none.lb:80     DROP    who may not come is not even refused
    outside  none.lb:80     REJECT  who may come is refused where no one serves
    outside  local.lb:80    a       source ranges and a local policy: the world
    c        local.lb:80    DROP    source ranges and a local policy: a pod has no short circuit
    outside  three.lb:80/udp    a*    source ranges over UDP
    c        three.lb:80/udp    DROP  source ranges are in force over UDP
    outside  three.lb:80/sctp   a*    source ranges over SCTP
    c        three.lb:80/sctp   DROP  source ranges are in force over SCTP
    outside  ignored.ext:80    a*     source ranges without a balancer
""")
ONE_FAMILY = table("c  onlyfour.lb:80  DROP  a family that has source ranges", (V4,)) + table(
    "c  onlyfour.lb:80  a* b*  a family that has none has no guard", (V6,)
)

WORLDS = (
    World("balancers", ADDRESSED, ADDRESS_FLOWS),
    World("external addresses", EXTERNAL, EXTERNAL_FLOWS),
    World("source ranges", GUARDED, GUARDED_FLOWS + ONE_FAMILY, bound=("bound", "boundok")),
)
