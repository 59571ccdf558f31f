"""Packet flows: who dials what, and where it ends. The tracer and the kernel run the same rows.

             outside 192.168.77.9                  a 10.244.1.5  b 10.244.1.6  c 10.244.1.7
                    │                              │             │             │
             ───────┴──── node1 192.168.77.1 ──────┴─────────────┴─────────────┘

    Service    address        ports                              endpoints
    web        10.96.0.10     80→8080, NodePort 30080            a, b
    one        10.96.0.11     80→8080                            a
    dns        10.96.0.12     53/TCP→5353, 53/UDP→5354           TCP a, UDP b
    empty      10.96.0.13     80, NodePort 30090                 none
    unready    10.96.0.14     80→8080                            b, not ready
    ending     10.96.0.15     80→8080                            c, terminating but serving

and the same at fd00:10:96::N for IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from podwire_core.family import Family
from podwire_core.feed.decode import decode
from podwire_core.objects import EndpointSlice, KubernetesObject, Node, Service

NODE = "node1"
V4, V6 = Family.IPV4, Family.IPV6

#: Who has which address, by family.
ADDRESSES: dict[str, dict[Family, str]] = {
    "node": {V4: "192.168.77.1", V6: "fd00:77::1"},
    "outside": {V4: "192.168.77.9", V6: "fd00:77::9"},
    "a": {V4: "10.244.1.5", V6: "fd00:10:244:1::5"},
    "b": {V4: "10.244.1.6", V6: "fd00:10:244:1::6"},
    "c": {V4: "10.244.1.7", V6: "fd00:10:244:1::7"},
}
PODS = ("a", "b", "c")
SERVICES = ("web", "one", "dns", "empty", "unready", "ending")
#: Ports on which every pod answers.
SERVED = (8080, 5353, 5354)


def vip(service: str, family: Family) -> str:
    """A Service's address."""
    number = 10 + SERVICES.index(service)
    return f"10.96.0.{number}" if family is V4 else f"fd00:10:96::{number}"


def port(number: int, target: int, name: str = "http", protocol: str = "TCP", node: int = 0) -> Any:
    return {"name": name, "port": number, "target": target, "protocol": protocol, "nodePort": node}


PORTS: dict[str, list[Any]] = {
    "web": [port(80, 8080, node=30080)],
    "one": [port(80, 8080)],
    "dns": [port(53, 5353, "dns-tcp"), port(53, 5354, "dns", "UDP")],
    "empty": [port(80, 8080, node=30090)],
    "unready": [port(80, 8080)],
    "ending": [port(80, 8080)],
}

READY: dict[str, Any] = {}
NOT_READY = {"ready": False, "serving": False}
ENDING = {"ready": False, "serving": True, "terminating": True}

#: (service, ports' names) → endpoints and their conditions.
ENDPOINTS: list[tuple[str, tuple[str, ...], list[tuple[str, dict[str, Any]]]]] = [
    ("web", ("http",), [("a", READY), ("b", READY)]),
    ("one", ("http",), [("a", READY)]),
    ("dns", ("dns-tcp",), [("a", READY)]),
    ("dns", ("dns",), [("b", READY)]),
    ("empty", ("http",), []),
    ("unready", ("http",), [("b", NOT_READY)]),
    ("ending", ("http",), [("c", ENDING)]),
]


def world() -> list[KubernetesObject]:
    """The objects of the drawing above."""
    found: list[KubernetesObject] = [_node()]
    found += [_service(name) for name in SERVICES]
    for number, (service, names, endpoints) in enumerate(ENDPOINTS):
        found += [_slice(number, service, names, endpoints, family) for family in Family]
    return found


def _node() -> KubernetesObject:
    addresses = [{"type": "InternalIP", "address": each} for each in ADDRESSES["node"].values()]
    cidrs = ["10.244.1.0/24", "fd00:10:244:1::/64"]
    document = {
        "metadata": {"name": NODE},
        "spec": {"podCIDRs": cidrs},
        "status": {"addresses": addresses},
    }
    return decode(document, Node, "world")


def _service(name: str) -> KubernetesObject:
    addresses = [vip(name, family) for family in Family]
    ports = [{key: row[key] for key in row if key != "target"} for row in PORTS[name]]
    spec = {"clusterIP": addresses[0], "clusterIPs": addresses, "ports": ports}
    return decode({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}, Service, "world")


def _slice(
    number: int,
    service: str,
    names: tuple[str, ...],
    endpoints: list[tuple[str, dict[str, Any]]],
    family: Family,
) -> KubernetesObject:
    ports = [
        {"name": row["name"], "port": row["target"], "protocol": row["protocol"]}
        for row in PORTS[service]
        if row["name"] in names
    ]
    document = {
        "metadata": {
            "name": f"{service}-{number}-{family.nft}",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": str(family),
        "ports": ports,
        "endpoints": [
            {"addresses": [ADDRESSES[pod][family]], "conditions": conditions, "nodeName": NODE}
            for pod, conditions in endpoints
        ],
    }
    return decode(document, EndpointSlice, "world")


REJECT = "REJECT"


@dataclass(frozen=True)
class Flow:
    """`source` dials `to`:`port` and reaches `ends` ("pod:port", …), or is refused.

    masqueraded: sources the endpoint sees as the node instead of as who dialled; per endpoint,
    because a hairpin is masqueraded only when it comes back to who dialled.
    """

    promise: str
    source: str
    to: str
    port: int
    ends: tuple[str, ...] | str
    protocol: str = "tcp"
    masqueraded: tuple[str, ...] = ()

    def address(self, family: Family) -> str:
        """Where the packet is sent."""
        return ADDRESSES[self.to][family] if self.to in ADDRESSES else vip(self.to, family)


WEB = ("a:8080", "b:8080")

FLOWS = (
    Flow("a pod reaches a Service and keeps its address", "c", "web", 80, WEB),
    Flow("a Service with one endpoint", "c", "one", 80, ("a:8080",)),
    Flow("a pod reaches itself through its Service", "a", "one", 80, ("a:8080",), masqueraded=WEB),
    Flow(
        "only the way back to oneself is masqueraded", "a", "web", 80, WEB, masqueraded=("a:8080",)
    ),
    Flow("the node reaches a Service", "node", "web", 80, WEB, masqueraded=WEB),
    Flow("the world reaches a Service, masqueraded", "outside", "web", 80, WEB, masqueraded=WEB),
    Flow("one port number, TCP", "c", "dns", 53, ("a:5353",)),
    Flow("one port number, UDP, goes elsewhere", "c", "dns", 53, ("b:5354",), "udp"),
    Flow(
        "the world reaches a NodePort, masqueraded", "outside", "node", 30080, WEB, masqueraded=WEB
    ),
    Flow("a pod reaches a NodePort, masqueraded", "c", "node", 30080, WEB, masqueraded=WEB),
    Flow("the node reaches its own NodePort", "node", "node", 30080, WEB, masqueraded=WEB),
    Flow("a NodePort is not open for UDP", "outside", "node", 30080, REJECT, "udp"),
    Flow("a Service with no endpoint is refused", "c", "empty", 80, REJECT),
    Flow("a Service with no endpoint is refused to the node", "node", "empty", 80, REJECT),
    Flow("a Service with no endpoint is refused to the world", "outside", "empty", 80, REJECT),
    Flow("a NodePort with no endpoint is refused", "outside", "node", 30090, REJECT),
    Flow("an endpoint that is not ready is none", "c", "unready", 80, REJECT),
    Flow(
        "an ending endpoint serves when no other does",
        "c",
        "ending",
        80,
        ("c:8080",),
        masqueraded=("c:8080",),
    ),
    Flow("a port that the Service lacks is refused", "c", "web", 81, REJECT),
    Flow("a protocol that the Service lacks is refused", "c", "web", 80, REJECT, "udp"),
    Flow("what is for no Service goes its way", "c", "a", 8080, ("a:8080",)),
    Flow("the node's own way to pods is left alone", "node", "a", 8080, ("a:8080",)),
)
