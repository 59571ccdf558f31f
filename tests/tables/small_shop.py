"""A shop of five pods on two nodes, whose policies are easy to read: for explain and audit.

node1   shop/web   shop/cron        node2   shop/api-1   shop/api-2   data/db
                                    Service shop/api:80 → api-1, api-2 port 8080

shop/api       isolates app=api for ingress, allows 8080/TCP from app=web
shop/web       isolates app=web for egress, allows 8080/TCP to app=api, and 53/UDP to anyone
data/closed    isolates all of data for ingress, allows nothing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podwire_core.feed.decode import decode, kind_of
from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import AGENT_KINDS, Snapshot

Document = dict[str, Any]

#: Pod → its last number; addresses are 10.244.NODE.N and fd00:10:244:NODE::N.
PODS = {
    "shop/web": ("node1", 4, "web"),
    "shop/cron": ("node1", 5, "cron"),
    "shop/api-1": ("node2", 4, "api"),
    "shop/api-2": ("node2", 5, "api"),
    "data/db": ("node2", 6, "db"),
}
PORTS = {"api": [("http", 8080, "TCP")], "db": [("sql", 5432, "TCP"), ("admin", 9, "UDP")]}
CLUSTER_IPS = ("10.96.0.13", "fd00:10:96::13")
OUTSIDE = "203.0.113.7"


def address(pod: str, version: int = 4) -> str:
    node, number, _ = PODS[pod]
    if version == 4:
        return f"10.244.{node[-1]}.{number}"
    return f"fd00:10:244:{node[-1]}::{number}"


def document(kind: str, name: str, **fields: Any) -> Document:
    namespace, _, own = name.rpartition("/")
    metadata: Document = {"name": own} | ({"namespace": namespace} if namespace else {})
    metadata |= {"labels": fields.pop("labels", {})}
    group = next(group for group, known in AGENT_KINDS if known == kind)
    version = "v1alpha2" if kind == "ClusterNetworkPolicy" else "v1"
    api = f"{group}/{version}" if group else version
    return {"apiVersion": api, "kind": kind, "metadata": metadata} | fields


def policy(name: str, app: str | None, **spec: Any) -> Document:
    """A NetworkPolicy; app: whom it selects, None for everyone."""
    selector = {"matchLabels": {"app": app}} if app else {}
    return document("NetworkPolicy", name, spec={"podSelector": selector, **spec})


def peer(app: str) -> Document:
    return {"podSelector": {"matchLabels": {"app": app}}}


def cluster_policy(name: str, priority: int, **spec: Any) -> Document:
    """A ClusterNetworkPolicy of the tier Admin, of all pods unless spec says another subject."""
    rows = {"tier": "Admin", "priority": priority, "subject": {"namespaces": {}}}
    return document("ClusterNetworkPolicy", name, spec=rows | spec)


POLICIES: tuple[Document, ...] = (
    policy(
        "shop/api",
        "api",
        ingress=[{"from": [peer("web")], "ports": [{"port": 8080}]}],
    ),
    policy(
        "shop/web",
        "web",
        policyTypes=["Egress"],
        egress=[
            {"to": [peer("api")], "ports": [{"port": 8080}]},
            {"ports": [{"port": 53, "protocol": "UDP"}]},
        ],
    ),
    policy("data/closed", None),
)


def documents(policies: Sequence[Document] = POLICIES) -> list[Document]:
    return [
        *map(_node, ("node1", "node2")),
        document("Namespace", "shop"),
        document("Namespace", "data", labels={"team": "data"}),
        *map(_pod, PODS),
        document(
            "Service",
            "shop/api",
            spec={
                "clusterIP": CLUSTER_IPS[0],
                "clusterIPs": list(CLUSTER_IPS),
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            },
        ),
        *(_slice(version) for version in (4, 6)),
        *policies,
    ]


def objects(rows: Sequence[Mapping[str, Any]] | None = None) -> list[KubernetesObject]:
    found = []
    for row in documents() if rows is None else rows:
        kind = kind_of(row, AGENT_KINDS)
        assert kind is not None, row
        found.append(decode(row, kind, "the shop"))
    return found


def snapshot(rows: Sequence[Mapping[str, Any]] | None = None) -> Snapshot:
    return Snapshot(objects(rows))


def _node(name: str) -> Document:
    number = name[-1]
    return document(
        "Node",
        name,
        spec={"podCIDRs": [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"]},
        status={
            "addresses": [
                {"type": "InternalIP", "address": f"192.168.77.{number}"},
                {"type": "InternalIP", "address": f"fd00:77::{number}"},
            ]
        },
    )


def _pod(name: str) -> Document:
    node, _, app = PODS[name]
    ports = [
        {"name": words, "containerPort": number, "protocol": protocol}
        for words, number, protocol in PORTS.get(app, ())
    ]
    ips = [address(name), address(name, 6)]
    return document(
        "Pod",
        name,
        labels={"app": app},
        spec={"nodeName": node, "containers": [{"ports": ports}]},
        status={"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": each} for each in ips]},
    )


def _slice(version: int) -> Document:
    rows = [
        {"addresses": [address(name, version)], "nodeName": "node2"}
        for name in ("shop/api-1", "shop/api-2")
    ]
    return document(
        "EndpointSlice",
        f"shop/api-v{version}",
        labels={"kubernetes.io/service-name": "api"},
        addressType=f"IPv{version}",
        endpoints=rows,
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
    )
