"""A cluster in memory: objects in short spelling, and every node's rules in a fake of its own.

reaches()   what the compiled rules of the nodes on the way say   (tracer over the fake)
judge()     what the API's text says                              (the oracle)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import msgspec

from podwire_core.family import FAMILIES, Family, family_of
from podwire_core.nft.fake import Fake
from podwire_core.nft.intervals import holds
from podwire_core.nft.kernel import Nft
from podwire_core.nft.owner import Owner
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate, Ruleset, Trace, trace
from podwire_core.nft.transaction import Transaction
from podwire_core.objects import (
    Attached,
    KubernetesObject,
    Namespace,
    NetworkPolicy,
    Node,
    ObjectName,
    Pod,
    Protocol,
)
from podwire_core.snapshot import Change, Snapshot
from podwire_policy import oracle
from podwire_policy.policies import Policies

NODES = {"n1": ("192.168.0.1", "fd01::1"), "n2": ("192.168.0.2", "fd01::2")}
OUTSIDE = ("203.0.113.9", "2001:db8:9::9")


# ------------------------------------------------------------------------------ objects


def named(text: str) -> ObjectName:
    namespace, _, name = text.rpartition("/")
    return ObjectName(namespace, name)


def node(name: str, *cidrs: str, **labels: str) -> Node:
    """cidrs: what its pods get."""
    rows = [{"type": "InternalIP", "address": address} for address in NODES[name]]
    document = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDRs": cidrs},
        "status": {"addresses": rows},
    }
    return msgspec.convert(document, Node)


def namespace(name: str, **labels: str) -> Namespace:
    return msgspec.convert({"metadata": {"name": name, "labels": labels}}, Namespace)


def pod(
    name: str,
    *ips: str,
    node: str = "n1",
    labels: Mapping[str, str] | None = None,
    ports: Sequence[tuple[str, str, int]] = (),
    phase: str = "Running",
    host_network: bool = False,
    meta: Mapping[str, str] | None = None,
) -> Pod:
    """ports: (name, protocol, number). meta: its timestamps."""
    where = named(name)
    rows = [{"name": port, "protocol": proto, "containerPort": n} for port, proto, n in ports]
    document = {
        "metadata": {
            "namespace": where.namespace,
            "name": where.name,
            "labels": labels or {},
            **(meta or {}),
        },
        "spec": {
            "nodeName": node,
            "hostNetwork": host_network,
            "containers": [{"name": "c", "ports": rows}],
        },
        "status": {"phase": phase, "podIPs": [{"ip": ip} for ip in ips]},
    }
    return msgspec.convert(document, Pod)


def policy(name: str, **spec: Any) -> NetworkPolicy:
    """The spec in the API's spelling, with `from_` for `from`."""
    where = named(name)
    spec = {"podSelector": {}, **_api(spec)}
    document = {"metadata": {"namespace": where.namespace, "name": where.name}, "spec": spec}
    return msgspec.convert(document, NetworkPolicy)


def _api(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.rstrip("_"): _api(item) for key, item in value.items()}
    return [_api(item) for item in value] if isinstance(value, list | tuple) else value


def match(**labels: str) -> dict[str, Any]:
    return {"matchLabels": labels}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    row = {"key": key, "operator": operator, **({"values": values} if values else {})}
    return {"matchExpressions": [row]}


def pods(selector: dict[str, Any]) -> dict[str, Any]:
    return {"podSelector": selector}


def namespaces(selector: dict[str, Any]) -> dict[str, Any]:
    return {"namespaceSelector": selector}


def block(cidr: str, *holes: str) -> dict[str, Any]:
    return {"ipBlock": {"cidr": cidr, "except": holes}}


def port(number: int | str | None = None, protocol: str = "TCP", end: int | None = None) -> Any:
    row = {"port": number, "protocol": protocol, "endPort": end}
    return {key: value for key, value in row.items() if value is not None}


# ------------------------------------------------------------------------------ cluster


class NodeRules:
    """One node's share: what it wants, and the fake (or kernel) that it put it in."""

    def __init__(self, name: str, nft: Nft | None = None) -> None:
        self.policies = Policies(name)
        self.nft = nft or Fake()
        self.owner = Owner(self.nft, self.policies.tables)

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Transaction:
        return self.owner.change(self.policies.update(snapshot, changes))


class Cluster:
    """Objects, and the nodes that enforce their policies."""

    def __init__(self, objects: Iterable[KubernetesObject], nodes: Iterable[str] = NODES) -> None:
        self.snapshot = Snapshot()
        self.nodes = {name: NodeRules(name) for name in nodes}
        self._rulesets: dict[str, Ruleset] = {}
        self.apply(*map(node, NODES), *objects)

    def apply(self, *objects: KubernetesObject) -> dict[str, Transaction]:
        return self.change(*(Change(type(each), each.name, each) for each in objects))

    def remove(self, *objects: KubernetesObject) -> dict[str, Transaction]:
        return self.change(*(Change(type(each), each.name, None) for each in objects))

    def change(self, *changes: Change) -> dict[str, Transaction]:
        """Apply changes; what each node sent to its kernel."""
        for each in changes:
            self.snapshot.apply(each)
        self._rulesets.clear()
        return {name: rules.update(self.snapshot, changes) for name, rules in self.nodes.items()}

    def addresses(self, end: str) -> tuple[str, ...]:
        """Of a pod ("x/a") that owns some, or an address itself."""
        if "/" not in end:
            return (end,)
        owner = self.snapshot.get(Pod, named(end))
        return owner.ips if owner else ()

    # ------------------------------------------------------------------------ questions

    def judge(
        self, source: str, destination: str, protocol: str = "TCP", port: int = 80
    ) -> oracle.Judgement:
        ends = [named(end) if "/" in end else end for end in (source, destination)]
        return oracle.judge(self.snapshot, ends[0], ends[1], Protocol(protocol), port)

    def traces(
        self,
        source: str,
        destination: str,
        protocol: str = "TCP",
        port: int = 80,
        state: str = "new",
    ) -> list[Trace]:
        """The packet's way through each node that it passes; addresses only."""
        found = []
        for name in self._passed(source, destination):
            ours = source in NODES[name]
            sent = Packet(
                family_of(source), source, destination, protocol.lower(), port,
                from_node=ours, state=state,
            )  # fmt: skip
            found += trace(self._ruleset(name), sent)
            if found[-1].fate is not Fate.ACCEPT:
                break
        return found

    def reaches(
        self,
        source: str,
        destination: str,
        protocol: str = "TCP",
        port: int = 80,
        state: str = "new",
    ) -> bool:
        traces = self.traces(source, destination, protocol, port, state)
        return all(each.fate is Fate.ACCEPT for each in traces)

    def _passed(self, source: str, destination: str) -> Iterator[str]:
        """Nodes on the way: the source's, and the destination's where it is another."""
        nodes = [self._node_of(source, destination), self._node_of(destination, source)]
        return iter(dict.fromkeys(name for name in nodes if name in self.nodes))

    def _node_of(self, address: str, other: str) -> str:
        """By its pod, else by podCIDRs; given to someone, any node but the other end."""
        for name, addresses in NODES.items():
            if address in addresses:
                return name
        owner = oracle.owner(self.snapshot, address)
        if owner:
            return owner.spec.node_name
        for each in self.snapshot.all(Node):
            if any(holds(cidr, address) for cidr in each.pod_cidrs):
                return each.metadata.name
        given = any(address in each.addresses for each in self.snapshot.all(Attached))
        return next((name for name in NODES if given and other not in NODES[name]), "")

    def _ruleset(self, name: str) -> Ruleset:
        if name not in self._rulesets:
            fake = self.nodes[name].nft
            assert isinstance(fake, Fake)
            self._rulesets[name] = Ruleset(fake.objects(), NODES[name])
        return self._rulesets[name]


# ----------------------------------------------------------------------- x y z with a b c

SERVED = [(f"serve-{n}-{proto.lower()}", proto, n) for n in (80, 81) for proto in ("TCP", "UDP")]
PEOPLE = [f"{ns}/{name}" for ns in "xyz" for name in "abc"]


def address(person: str, family: Family = Family.IPV4) -> str:
    last = 1 + PEOPLE.index(person)
    return f"10.244.0.{last}" if family is Family.IPV4 else f"fd00::{last}"


def person(name: str, **labels: str) -> Pod:
    """A pod of the upstream test's model. b lives on the second node."""
    ips = [address(name, family) for family in FAMILIES]
    where = "n2" if name.endswith("b") else "n1"
    return pod(name, *ips, node=where, labels={"pod": name[-1], **labels}, ports=SERVED)


def three_by_three(*objects: KubernetesObject) -> Cluster:
    """Upstream's model: namespaces x y z, pods a b c, ports 80 and 81 over TCP and UDP."""
    everyone = [person(name) for name in PEOPLE]
    return Cluster([*(namespace(ns, ns=ns) for ns in "xyz"), *everyone, *objects])


def probes() -> Iterator[tuple[str, str, str, int]]:
    return product(PEOPLE, PEOPLE, ("TCP", "UDP"), (80, 81))


def sizes(thing: object, path: str = "") -> dict[str, int]:
    """How much a compiler's own containers hold, however deep; not what objects of the API do."""
    if isinstance(thing, dict):
        found = {path: len(thing)}
        inner: list[object] = [each for each in thing.values() if isinstance(each, dict | set)]
    elif isinstance(thing, set | list | tuple):
        return {path: len(thing)}
    elif type(thing).__module__.startswith("podwire_policy") and hasattr(thing, "__dict__"):
        found, inner = {}, []
        for name, value in vars(thing).items():
            found |= sizes(value, f"{path}.{name}")
    else:
        return {}
    for each in inner:
        for name, size in sizes(each, f"{path}[]").items():
            found[name] = found.get(name, 0) + size
    return found
