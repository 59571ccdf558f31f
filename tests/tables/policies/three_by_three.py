"""The model of Kubernetes' own policy tests: namespaces x, y and z, in each the pods a, b and c.

Each serves ports 80 and 81 of TCP, UDP and SCTP, under names such as serve-80-tcp, has an address
of both families and a Service of its own; b lives on n2, everyone else on n1. Labels are those of
the tests (test/e2e/network/netpol/model.go): `pod: a`, and a namespace's own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import msgspec
from policy_model import NODES, namespace, pod

from podwire_core.family import FAMILIES, Family
from podwire_core.objects import EndpointSlice, KubernetesObject, Namespace, Node, Pod, Service

PEOPLE = tuple(f"{ns}/{name}" for ns, name in product("xyz", "abc"))
PROTOCOLS = ("TCP", "UDP", "SCTP")
PORTS = (80, 81)
NAME = "kubernetes.io/metadata.name"
SERVED = [(f"serve-{n}-{proto.lower()}", proto, n) for n, proto in product(PORTS, PROTOCOLS)]
POD_CIDRS = {
    "n1": ("10.244.1.0/24", "fd00:244:1::/64"),
    "n2": ("10.244.2.0/24", "fd00:244:2::/64"),
}
_FIRST_VIP = 10


def node_of(person: str) -> str:
    """Where a pod runs."""
    return "n2" if person.endswith("b") else "n1"


def address(person: str, family: Family = Family.IPV4) -> str:
    """A pod's address."""
    last, net = 1 + PEOPLE.index(person), node_of(person)[1]
    return f"10.244.{net}.{last}" if family is Family.IPV4 else f"fd00:244:{net}::{last}"


def addresses(person: str) -> tuple[str, ...]:
    """A pod's addresses of both families."""
    return tuple(address(person, family) for family in FAMILIES)


def vip(person: str, family: Family = Family.IPV4) -> str:
    """The address of a pod's Service."""
    last = _FIRST_VIP + PEOPLE.index(person)
    return f"10.96.0.{last}" if family is Family.IPV4 else f"fd00:96::{last}"


def person(name: str, **labels: str) -> Pod:
    """A pod. labels: beside its usual one."""
    mine = {"pod": name[-1], **labels}
    return pod(name, *addresses(name), node=node_of(name), labels=mine, ports=SERVED)


def realm(name: str, **labels: str) -> Namespace:
    """A namespace. labels: beside its usual one."""
    return namespace(name, **{NAME: name, **labels})


def node(name: str) -> Node:
    """A node, with the networks of its pods."""
    rows = [{"type": "InternalIP", "address": address} for address in NODES[name]]
    document = {
        "metadata": {"name": name},
        "spec": {"podCIDRs": POD_CIDRS[name]},
        "status": {"addresses": rows},
    }
    return msgspec.convert(document, Node)


def everyone() -> list[KubernetesObject]:
    """Nodes, namespaces and pods."""
    return [*map(node, NODES), *map(realm, "xyz"), *map(person, PEOPLE)]


def services() -> Iterator[KubernetesObject]:
    """Each pod's Service, and its slices."""
    for name in PEOPLE:
        meta = {"namespace": name[0], "name": f"s-{name[0]}-{name[-1]}"}
        rows = [{"name": each, "port": n, "protocol": proto} for each, proto, n in SERVED]
        spec = {
            "type": "ClusterIP",
            "clusterIP": vip(name),
            "clusterIPs": [vip(name, family) for family in FAMILIES],
            "ipFamilies": [str(family) for family in FAMILIES],
            "ports": rows,
        }
        yield msgspec.convert({"metadata": meta, "spec": spec}, Service)
        for family in FAMILIES:
            yield msgspec.convert(_slice(name, meta, family, rows), EndpointSlice)


def _slice(name: str, meta: dict[str, str], family: Family, rows: list[Any]) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": f"{meta['name']}-{family.nft}",
            "labels": {"kubernetes.io/service-name": meta["name"]},
        },
        "addressType": str(family),
        "ports": rows,
        "endpoints": [
            {
                "addresses": [address(name, family)],
                "conditions": {"ready": True},
                "nodeName": node_of(name),
            }
        ],
    }


def questions() -> Iterator[tuple[str, str, str, int]]:
    """Everyone to everyone else: source, destination, protocol, port."""
    for source, destination in product(PEOPLE, PEOPLE):
        if source != destination:
            for protocol, number in product(PROTOCOLS, PORTS):
                yield source, destination, protocol, number
