"""Two pods on two nodes, and what oracle and compiled rules agree on about them.

    shop/web   10.244.1.1, fd00:1::1   on n1   app=web, namespace team=red
    other/app  10.244.2.1, fd00:2::1   on n2   app=app, namespace team=blue

Tests about what policies mean begin here. `allowed` is the answer of both, or fails.
"""

from __future__ import annotations

from typing import Any

import msgspec
from policy_model import NODES, Cluster, match, namespace, namespaces, pod, pods, policy

from podwire_core.objects import KubernetesObject, Node
from podwire_policy import oracle

WEB, WEB6 = "10.244.1.1", "fd00:1::1"
APP, APP6 = "10.244.2.1", "fd00:2::1"
#: Other addresses of the nodes' networks, for pods of single tests.
NEAR, OLD = "10.244.1.9", "10.244.2.9"
NETWORKS = {"n1": ("10.244.1.0/24", "fd00:1::/64"), "n2": ("10.244.2.0/24", "fd00:2::/64")}
HTTP = [("http", "TCP", 8080), ("dns", "UDP", 53), ("dns", "TCP", 5353)]
ICMP = ("ICMP", 0)

RED, BLUE = namespaces(match(team="red")), namespaces(match(team="blue"))
APPS = pods(match(app="app"))


def cluster(*objects: KubernetesObject) -> Cluster:
    """The two, and others. An object of the same name comes after, and so replaces."""
    made = Cluster([
        namespace("shop", team="red"),
        namespace("other", team="blue"),
        pod("shop/web", WEB, WEB6, labels={"app": "web"}, ports=HTTP),
        pod("other/app", APP, APP6, node="n2", labels={"app": "app"}, ports=HTTP),
    ])  # fmt: skip
    if objects:
        made.apply(*objects)
    return made


def allowed(made: Cluster, source: str, destination: str, *way: Any) -> bool:
    """What oracle and rules agree on, between two addresses."""
    protocol, port = way or ("TCP", 80)
    said = oracle.judge(made.snapshot, source, destination, protocol, port)
    assert made.reaches(source, destination, protocol, port) is said.allowed, said
    return said.allowed


def ingress(*rules: dict[str, Any], name: str = "shop/p", **spec: Any) -> KubernetesObject:
    return policy(name, policyTypes=["Ingress"], ingress=list(rules), **spec)


def egress(*rules: dict[str, Any], name: str = "shop/p", **spec: Any) -> KubernetesObject:
    return policy(name, policyTypes=["Egress"], egress=list(rules), **spec)


DENY_ALL = policy("shop/deny", policyTypes=["Ingress", "Egress"])


def node(name: str, **labels: str) -> Node:
    """A node that has a network for its pods, unlike those that a Cluster begins with."""
    rows = [{"type": "InternalIP", "address": address} for address in NODES[name]]
    document = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDRs": NETWORKS[name]},
        "status": {"addresses": rows},
    }
    return msgspec.convert(document, Node)
