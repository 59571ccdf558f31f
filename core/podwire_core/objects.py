"""Kubernetes objects, frozen, holding only the fields podwire reads.

Field names are the API's, in Python's spelling (clusterIPs is cluster_ips). Defaults are
the API server's, because objects from a folder have met no API server. Addresses are
canonical after decoding; a value that breaks a rule raises ValueError in its own struct,
so that the error names the field. Unknown fields are ignored, as every API client must.

Sources: Kubernetes API reference, core/v1, discovery.k8s.io/v1, networking.k8s.io/v1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec
from msgspec.structs import force_setattr

from podwire_core.family import Family, canonical_address, canonical_network
from podwire_core.selectors import EVERYTHING, LabelSelector

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
#: An API object's name: at most 253 characters that are safe in paths, logs and comments.
ApiName = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?$", max_length=253)
]
#: A port's name. Services may leave it empty when they have one port.
PortName = Annotated[
    str, msgspec.Meta(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=63)
]


def _api_spelling(name: str) -> str:
    """cluster_ips → clusterIPs, pod_cidrs → podCIDRs, api_version → apiVersion."""
    camel = re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name)
    return re.sub(r"(?<=[a-z])(Ip|Cidr)(?=s?$)", lambda match: match.group(1).upper(), camel)


class ObjectName(NamedTuple):
    """Namespace (empty for cluster-wide kinds) and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Protocol(StrEnum):
    """Transport protocols that Services and policies may name."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    @property
    def nft(self) -> str:
        """nft's spelling."""
        return self.value.lower()


class Struct(msgspec.Struct, frozen=True, rename=_api_spelling, omit_defaults=True):
    """Base: frozen, in the API's spelling, defaults left out when written."""

    def _set_canonical(self, field: str, canonical: Callable[[str], str]) -> None:
        """Respell one str field, or each item of a tuple field; ValueError names the field."""
        value = getattr(self, field)
        try:
            if isinstance(value, str):
                force_setattr(self, field, canonical(value) if value else value)
            elif value is not None:
                force_setattr(self, field, tuple(canonical(item) for item in value))
        except ValueError as error:
            raise ValueError(f"`{_api_spelling(field.rstrip('_'))}`: {error}") from error


class ObjectMeta(Struct, frozen=True):
    """The metadata we read."""

    name: ApiName
    namespace: Annotated[str, msgspec.Meta(max_length=63)] = ""
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class KubernetesObject(Struct, frozen=True):
    """What all kinds have in common. A kind says by `namespaced` where its name lives."""

    metadata: ObjectMeta

    @classmethod
    def namespaced(cls) -> bool:
        """Whether objects of this kind live in a namespace."""
        return True

    @property
    def name(self) -> ObjectName:
        """Namespace and name; a namespaced object that names no namespace is in `default`."""
        namespace = (self.metadata.namespace or "default") if self.namespaced() else ""
        return ObjectName(namespace, self.metadata.name)

    @property
    def labels(self) -> dict[str, str]:
        """The object's labels, empty when it has none."""
        return self.metadata.labels or {}


class ClusterObject(KubernetesObject, frozen=True):
    """A kind that lives outside namespaces."""

    @classmethod
    def namespaced(cls) -> bool:
        """Cluster-wide."""
        return False


# ------------------------------------------------------------------ Node, Namespace, Pod


class NodeAddress(Struct, frozen=True):
    """One row of status.addresses; only InternalIP and ExternalIP hold addresses."""

    type: str
    address: str

    def __post_init__(self) -> None:
        if self.type.endswith("IP"):
            self._set_canonical("address", canonical_address)


class NodeSpec(Struct, frozen=True):
    """podCIDRs: at most one per family."""

    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self._set_canonical("pod_cidr", canonical_network)
        self._set_canonical("pod_cidrs", canonical_network)


class NodeStatus(Struct, frozen=True):
    """The node's addresses."""

    addresses: tuple[NodeAddress, ...] | None = None


class Node(ClusterObject, frozen=True):
    """A machine of the cluster."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """CIDRs its pods get their addresses from; empty while no one has given it any."""
        return self.spec.pod_cidrs or ((self.spec.pod_cidr,) if self.spec.pod_cidr else ())

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """Its addresses on the cluster's network, in the order the API lists them."""
        return tuple(row.address for row in self.status.addresses or () if row.type == "InternalIP")


class Namespace(ClusterObject, frozen=True):
    """A namespace, which is its labels."""

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, with the one that the API server always adds (NamespaceDefaultLabelName)."""
        return {**(self.metadata.labels or {}), NAMESPACE_NAME_LABEL: self.metadata.name}

    @classmethod
    def bare(cls, name: str) -> Namespace:
        """A namespace that objects live in although no manifest describes it."""
        return cls(ObjectMeta(name))


class ContainerPort(Struct, frozen=True):
    """A port that a container declares; its name is what named ports resolve to."""

    container_port: Port
    name: PortName = ""
    protocol: Protocol = Protocol.TCP


class Container(Struct, frozen=True):
    """The ports of one container. restart_policy marks a sidecar among initContainers."""

    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str = ""


class PodSpec(Struct, frozen=True):
    """Where a pod runs and what it listens on."""

    node_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class PodIP(Struct, frozen=True):
    """One address of a pod."""

    ip: str

    def __post_init__(self) -> None:
        self._set_canonical("ip", canonical_address)


class PodStatus(Struct, frozen=True):
    """The pod's phase and addresses."""

    phase: str = "Pending"
    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] | None = None

    def __post_init__(self) -> None:
        self._set_canonical("pod_ip", canonical_address)


class Pod(KubernetesObject, frozen=True):
    """A pod: its labels, its node, its addresses, its named ports."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ips(self) -> tuple[str, ...]:
        """The addresses it owns now.

        A finished pod keeps status.podIP although its address may belong to another pod
        already, and a hostNetwork pod's addresses are its node's: neither owns any.
        """
        if self.spec.host_network or self.status.phase in {"Succeeded", "Failed"}:
            return ()
        if self.status.pod_ips:
            return tuple(row.ip for row in self.status.pod_ips)
        return (self.status.pod_ip,) if self.status.pod_ip else ()

    @property
    def ports(self) -> tuple[ContainerPort, ...]:
        """Declared ports of containers and of sidecars (init containers that keep running)."""
        sidecars = [c for c in self.spec.init_containers or () if c.restart_policy == "Always"]
        containers = (*(self.spec.containers or ()), *sidecars)
        return tuple(port for container in containers for port in container.ports or ())


# ---------------------------------------------------------------- Service, EndpointSlice


class ServicePort(Struct, frozen=True):
    """One port of a Service. targetPort is read by whoever makes EndpointSlices, not here."""

    port: Port
    name: PortName = ""
    protocol: Protocol = Protocol.TCP
    node_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    target_port: int | str | None = None


class ServiceSpec(Struct, frozen=True):
    """Addresses and ports of a Service."""

    type: str = "ClusterIP"
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] | None = None
    ip_families: tuple[Family, ...] | None = None
    ip_family_policy: str | None = None
    ports: tuple[ServicePort, ...] | None = None
    selector: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if self.cluster_ip != "None":
            self._set_canonical("cluster_ip", canonical_address)
            self._set_canonical("cluster_ips", canonical_address)


class Service(KubernetesObject, frozen=True):
    """A name, virtual addresses, and ports."""

    spec: ServiceSpec = ServiceSpec()

    @property
    def cluster_ips(self) -> tuple[str, ...]:
        """Virtual addresses; none for headless Services and for ExternalName."""
        if self.spec.type == "ExternalName" or self.spec.cluster_ip in {"", "None"}:
            return ()
        return self.spec.cluster_ips or (self.spec.cluster_ip,)


class EndpointConditions(Struct, frozen=True):
    """Conditions of an endpoint; what is not said means ready, serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Struct, frozen=True):
    """One endpoint. Only its first address counts (discovery.k8s.io/v1)."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None

    @property
    def ready(self) -> bool:
        """Whether new connections may go there."""
        return self.conditions.ready is not False


class EndpointPort(Struct, frozen=True):
    """A port of all endpoints of a slice, joined to a Service's port by name and protocol."""

    port: Port | None = None
    name: PortName | None = None
    protocol: Protocol = Protocol.TCP


class EndpointSlice(KubernetesObject, frozen=True):
    """A part of a Service's endpoints, all of one address type."""

    address_type: str
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None

    def __post_init__(self) -> None:
        if self.address_type not in {"IPv4", "IPv6", "FQDN"}:
            raise ValueError(f"`addressType`: {self.address_type!r} is not IPv4, IPv6 or FQDN")
        if self.address_type != "FQDN":
            for endpoint in self.endpoints or ():
                endpoint._set_canonical("addresses", canonical_address)  # noqa: SLF001 - our own struct

    @property
    def service(self) -> ObjectName | None:
        """The Service it belongs to, by its label; None when it belongs to none."""
        owner = self.labels.get(SERVICE_NAME_LABEL)
        return ObjectName(self.name.namespace, owner) if owner else None


# ---------------------------------------------------------------------- NetworkPolicy


class IPBlock(Struct, frozen=True):
    """A CIDR and what is cut out of it."""

    cidr: str
    except_: tuple[str, ...] | None = msgspec.field(default=None, name="except")

    def __post_init__(self) -> None:
        self._set_canonical("cidr", canonical_network)
        self._set_canonical("except_", canonical_network)


class PolicyPeer(Struct, frozen=True):
    """Who may talk: pods here, pods of namespaces, or a block of addresses."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None

    def __post_init__(self) -> None:
        selects = self.pod_selector is not None or self.namespace_selector is not None
        if self.ip_block is not None and selects:
            raise ValueError("`ipBlock`: excludes `podSelector` and `namespaceSelector`")
        if self.ip_block is None and not selects:
            raise ValueError("a peer needs `podSelector`, `namespaceSelector` or `ipBlock`")


class PolicyPort(Struct, frozen=True):
    """A port, a range, a name, or (without port) a whole protocol."""

    protocol: Protocol = Protocol.TCP
    port: Port | Annotated[str, msgspec.Meta(min_length=1, max_length=63)] | None = None
    end_port: Port | None = None

    def __post_init__(self) -> None:
        if self.end_port is None:
            return
        if not isinstance(self.port, int):
            raise ValueError("`endPort`: needs a numeric `port`")
        if self.end_port < self.port:
            raise ValueError(f"`endPort`: {self.end_port} is below `port` {self.port}")


class IngressRule(Struct, frozen=True):
    """Peers AND ports; nothing said means anyone, or any port of any protocol."""

    from_: tuple[PolicyPeer, ...] | None = msgspec.field(default=None, name="from")
    ports: tuple[PolicyPort, ...] | None = None

    @property
    def peers(self) -> tuple[PolicyPeer, ...]:
        """The sources; empty means everyone."""
        return self.from_ or ()


class EgressRule(Struct, frozen=True):
    """Peers AND ports; nothing said means anyone, or any port of any protocol."""

    to: tuple[PolicyPeer, ...] | None = None
    ports: tuple[PolicyPort, ...] | None = None

    @property
    def peers(self) -> tuple[PolicyPeer, ...]:
        """The destinations; empty means everyone."""
        return self.to or ()


class PolicyType(StrEnum):
    """A direction that a policy isolates."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


class NetworkPolicySpec(Struct, frozen=True):
    """Subjects, directions and rules."""

    pod_selector: LabelSelector | None = None
    policy_types: tuple[PolicyType, ...] | None = None
    ingress: tuple[IngressRule, ...] | None = None
    egress: tuple[EgressRule, ...] | None = None


class NetworkPolicy(KubernetesObject, frozen=True):
    """What selected pods may receive and send, beside what other policies allow."""

    spec: NetworkPolicySpec = NetworkPolicySpec()

    @property
    def directions(self) -> frozenset[PolicyType]:
        """Directions it isolates: those it names, else Ingress, and Egress if it has such rules."""
        if self.spec.policy_types:
            return frozenset(self.spec.policy_types)
        implied = {PolicyType.EGRESS} if self.spec.egress else set()
        return frozenset({PolicyType.INGRESS} | implied)

    def selects(self, pod: Pod) -> bool:
        """Whether the pod is a subject: of the policy's namespace, and matched by podSelector."""
        selector = self.spec.pod_selector or EVERYTHING
        return pod.name.namespace == self.name.namespace and selector.matches(pod.labels)

    def rules(self, direction: PolicyType) -> tuple[IngressRule | EgressRule, ...]:
        """The allow rules of one direction; empty allows nothing."""
        if direction is PolicyType.INGRESS:
            return self.spec.ingress or ()
        return self.spec.egress or ()
