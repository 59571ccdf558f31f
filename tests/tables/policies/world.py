"""Three namespaces of three pods, as plain labels: what the tables of policies change and ask.

                x          y          z                     and, in some cases
    a  b  c     a  b  c    a  b  c    a  b  c     ns: x…    x/d   y-2/a  y-2/b   w/a

Every pod serves ports 80 and 81 over TCP, UDP and SCTP, under the names serve-80-tcp …. A State
is labels and policies in the API's spelling; `objects` makes of it what an API server would hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from podwire_core.family import Family
from podwire_core.objects import KubernetesObject, Namespace, NetworkPolicy, Pod
from podwire_core.snapshot import Change

Spec = Mapping[str, Any]
Labels = Mapping[str, str]

PEOPLE = tuple(f"{ns}/{pod}" for ns in "xyz" for pod in "abc")
#: Pods that come and go in some cases.
VISITORS = ("x/d", "y-2/a", "y-2/b", "w/a")
PROTOCOLS = ("TCP", "UDP", "SCTP")
PORTS = (80, 81)


@dataclass(frozen=True)
class Places:
    """Where the pods are: their addresses of both families, and their nodes' names."""

    addresses: Mapping[str, Mapping[Family, str]]
    nodes: Mapping[str, str]


def _places() -> Places:
    """b is on n2, everyone else on n1; a node's pods have addresses of its own network."""
    addresses, nodes = {}, {}
    for at, pod in enumerate((*PEOPLE, *VISITORS), 1):
        net = 2 if pod.endswith("b") else 1
        nodes[pod] = f"n{net}"
        addresses[pod] = {Family.IPV4: f"10.244.{net}.{at}", Family.IPV6: f"fd00:244:{net}::{at:x}"}
    return Places(addresses, nodes)


PLACES = _places()


@dataclass(frozen=True)
class State:
    """Labels by namespace's name, labels by pod's ("x/a"), specs by policy's ("x/base")."""

    namespaces: Mapping[str, Labels]
    pods: Mapping[str, Labels]
    policies: Mapping[str, Spec] = field(default_factory=dict)

    def namespace(self, name: str, labels: Labels | None) -> State:
        """With a namespace's labels set. None takes it away, and what is in it."""
        if labels is not None:
            return replace(self, namespaces={**self.namespaces, name: labels})
        rest = {each: row for each, row in self.namespaces.items() if each != name}
        pods = {each: row for each, row in self.pods.items() if each.partition("/")[0] != name}
        return replace(self, namespaces=rest, pods=pods)

    def pod(self, name: str, labels: Labels | None) -> State:
        """With a pod's labels set; None takes it away."""
        pods = {**self.pods, name: labels or {}}
        if labels is None:
            del pods[name]
        return replace(self, pods=pods)

    def policy(self, name: str, spec: Spec | None) -> State:
        """With a policy's spec set; None takes it away."""
        policies = {**self.policies, name: spec or {}}
        if spec is None:
            del policies[name]
        return replace(self, policies=policies)

    def objects(self, places: Places = PLACES) -> list[KubernetesObject]:
        """Everything, as objects."""
        return [
            *(_object(Namespace, name, labels) for name, labels in self.namespaces.items()),
            *(_pod(name, labels, places) for name, labels in self.pods.items()),
            *(_object(NetworkPolicy, name, spec=spec) for name, spec in self.policies.items()),
        ]


START = State(
    {ns: {"ns": ns} for ns in "xyz"}, {name: {"pod": name.partition("/")[2]} for name in PEOPLE}
)


def changes(before: State, after: State, places: Places = PLACES) -> list[Change]:
    """What an API server would tell, from one state to the next."""
    old = {(type(each), each.name): each for each in before.objects(places)}
    new = {(type(each), each.name): each for each in after.objects(places)}
    gone = [Change(kind, name, None) for kind, name in old if (kind, name) not in new]
    return gone + [Change(*key, each) for key, each in new.items() if old.get(key) != each]


def _object(
    kind: type[KubernetesObject], name: str, labels: Labels | None = None, **sections: Any
) -> KubernetesObject:
    namespace, _, own = name.rpartition("/")
    meta = {"name": own, "namespace": namespace, "labels": dict(labels or {})}
    return msgspec.convert({"metadata": meta, **sections}, kind)


def _pod(name: str, labels: Labels, places: Places) -> KubernetesObject:
    rows = [
        {"name": f"serve-{port}-{protocol.lower()}", "protocol": protocol, "containerPort": port}
        for port in PORTS
        for protocol in PROTOCOLS
    ]
    ips = [{"ip": address} for address in places.addresses[name].values()]
    spec = {"nodeName": places.nodes[name], "containers": [{"name": "c", "ports": rows}]}
    return _object(Pod, name, labels, spec=spec, status={"phase": "Running", "podIPs": ips})
