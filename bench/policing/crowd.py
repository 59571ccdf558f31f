"""A cluster as its API server tells of it: namespaces of 100 pods and 10 policies each.

    10.128.0.0/16   our Node's pods: one in each of the first 100 namespaces, and those that come
    10.129.0.0 …    the other 99 Nodes' pods
    team-00 …       a label of ten namespaces each, whose pods may talk to each other

A pod has one of ten apps and one of two tiers. Policies of a namespace (ports are TCP):

    deny      all pods      both directions, nothing allowed
    dns       all pods      to app-0 of namespace-0000, 53 UDP and TCP
    team-in   all pods      from pods of its team, 8080
    team-out  all pods      to pods of its team, 8080
    tier-0    tier 0        from tier 1 here, the port named http
    tier-1    tier 1        from tier 0 here, 8080
    outside   apps 0 to 4   to a network but for a part of it, 8000 to 8100
    watched   apps 5 to 9   from namespace-0001, the port named metrics
    front     apps 0 to 4   from two networks, one but for a part of it, 443 and 8443
    back      apps 5 to 9   to one app here, 5432 and 6379

So a pod is isolated both ways, and six or so of the ten select it. Plain documents, the same at
each call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

NODE = "node-000"
NODE_COUNT = 100
PODS = 100  # of a namespace
POLICIES = 10  # of a namespace
LOCAL = 100  # pods of our Node, at most one a namespace
TEAM = 10  # namespaces
PORT = 8080
_APPS = 10
_LOW, _HIGH = [f"app-{each}" for each in range(5)], [f"app-{each}" for each in range(5, 10)]


@dataclass(frozen=True)
class Place:
    """Which pod it is of its namespace, and where it runs."""

    namespace: int
    index: int
    node: int
    address: str


def namespace_name(number: int) -> str:
    """A namespace's name."""
    return f"namespace-{number:04}"


def team(number: int, namespaces: int) -> str:
    """The team of a namespace."""
    return f"team-{number % max(1, namespaces // TEAM):02}"


def local_address(number: int) -> str:
    """An address of our Node's: 10.128.0.1 is number 0."""
    return f"10.128.{number // 250}.{1 + number % 250}"


def remote_place(namespace: int, index: int, serial: int) -> Place:
    """A pod on another Node; its address goes by its number in the cluster."""
    node = 1 + serial % (NODE_COUNT - 1)
    where = serial // (NODE_COUNT - 1)
    return Place(namespace, index, node, f"10.{128 + node}.{where // 250}.{1 + where % 250}")


def local_place(namespace: int) -> Place:
    """Our Node's pod of one of the first namespaces."""
    return Place(namespace, namespace % PODS, 0, local_address(namespace))


def places(namespaces: int) -> Iterator[Place]:
    """Every pod that is there at the beginning."""
    for namespace in range(namespaces):
        for index in range(PODS):
            if namespace < LOCAL and index == namespace % PODS:
                yield local_place(namespace)
            else:
                yield remote_place(namespace, index, namespace * PODS + index)


def node(number: int) -> Document:
    """A Node with a podCIDR of its own."""
    cidr = f"10.{128 + number}.0.0/16"
    address = {"type": "InternalIP", "address": f"192.168.90.{2 + number}"}
    return {
        "metadata": {"name": f"node-{number:03}", "labels": {"zone": f"zone-{number % 3}"}},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {"addresses": [address]},
    }


def namespace(number: int, namespaces: int) -> Document:
    """A namespace, with its team."""
    labels = {"team": team(number, namespaces)}
    return {"metadata": {"name": namespace_name(number), "labels": labels}}


def pod(place: Place) -> Document:
    """A running pod, with the fields that a real one has and podwire reads."""
    app = f"app-{place.index % _APPS}"
    name = f"{app}-7d4b9c6f5-{place.index:05}"
    labels = {
        "app": app,
        "tier": str(place.index // _APPS % 2),
        "pod-template-hash": "7d4b9c6f5",
    }
    ports = [
        {"name": "http", "containerPort": PORT, "protocol": "TCP"},
        {"name": "metrics", "containerPort": 9090, "protocol": "TCP"},
    ]
    return {
        "metadata": {
            "name": name,
            "namespace": namespace_name(place.namespace),
            "uid": f"00000000-{place.namespace:04}-4000-8000-{place.index:012}",
            "labels": labels,
        },
        "spec": {
            "nodeName": f"node-{place.node:03}",
            "containers": [{"name": "c", "ports": ports}],
        },
        "status": {
            "phase": "Running",
            "podIP": place.address,
            "podIPs": [{"ip": place.address}],
        },
    }


def policies(number: int, namespaces: int) -> Iterator[Document]:
    """The policies of one namespace."""
    own_team = {"namespaceSelector": {"matchLabels": {"team": team(number, namespaces)}}}
    network = f"203.0.{number % 256}.0"
    low, high = _apps(_LOW), _apps(_HIGH)
    specs: dict[str, Document] = {
        "deny": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        "dns": _egress({}, [_pods_of(0, {"app": "app-0"})], _ports(53) + _ports(53, "UDP")),
        "team-in": _ingress({}, [own_team], _ports(PORT)),
        "team-out": _egress({}, [own_team], _ports(PORT)),
        "tier-0": _ingress(_labels(tier="0"), [_here(tier="1")], _ports("http")),
        "tier-1": _ingress(_labels(tier="1"), [_here(tier="0")], _ports(PORT)),
        "outside": _egress(
            low,
            [_block(f"{network}/24", f"{network}/28")],
            [{"protocol": "TCP", "port": 8000, "endPort": 8100}],
        ),
        "watched": _ingress(high, [_pods_of(1)], _ports("metrics")),
        "front": _ingress(
            low,
            [_block("198.51.100.0/24"), _block("192.0.2.0/24", "192.0.2.64/26")],
            _ports(443, more=8443),
        ),
        "back": _egress(high, [_here(app=f"app-{number % _APPS}")], _ports(5432, more=6379)),
    }
    for name, spec in specs.items():
        yield {"metadata": {"name": name, "namespace": namespace_name(number)}, "spec": spec}


def _ingress(pods: Document, peers: list[Document], ports: list[Document]) -> Document:
    rule = {"from": peers, "ports": ports}
    return {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": [rule]}


def _egress(pods: Document, peers: list[Document], ports: list[Document]) -> Document:
    rule = {"to": peers, "ports": ports}
    return {"podSelector": pods, "policyTypes": ["Egress"], "egress": [rule]}


def _labels(**labels: str) -> Document:
    return {"matchLabels": labels}


def _here(**labels: str) -> Document:
    return {"podSelector": _labels(**labels)}


def _apps(names: list[str]) -> Document:
    return {"matchExpressions": [{"key": "app", "operator": "In", "values": names}]}


def _pods_of(number: int, labels: dict[str, str] | None = None) -> Document:
    name = {"kubernetes.io/metadata.name": namespace_name(number)}
    peer: Document = {"namespaceSelector": {"matchLabels": name}}
    return peer | ({"podSelector": {"matchLabels": labels}} if labels else {})


def _block(cidr: str, *excepted: str) -> Document:
    return {"ipBlock": {"cidr": cidr} | ({"except": list(excepted)} if excepted else {})}


def _ports(port: int | str, protocol: str = "TCP", more: int = 0) -> list[Document]:
    every = [port, more] if more else [port]
    return [{"protocol": protocol, "port": each} for each in every]
