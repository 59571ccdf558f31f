"""Services (core/v1), EndpointSlices (discovery.k8s.io/v1), ServiceCIDRs (networking.k8s.io/v1).

Addresses and ranges that a Service has beside its clusterIPs stay as they are written: one that
is no address makes nothing else of its Service unusable, so whoever uses them parses them.
"""

from __future__ import annotations

import sys
from functools import cache, lru_cache
from typing import Annotated

import msgspec
from msgspec.structs import astuple, force_setattr

from podwire_core.family import Family, canonical_address, canonical_network
from podwire_core.objects.base import (
    ClusterObject,
    KubernetesObject,
    Label,
    ObjectName,
    Port,
    Protocol,
    Struct,
)

SERVICE_NAME_LABEL = "kubernetes.io/service-name"

PortOrNone = Annotated[int, msgspec.Meta(ge=0, le=65535)]  # 0: there is none


class ServicePort(Struct, frozen=True):
    """One port of a Service. targetPort is read by whoever makes EndpointSlices, not here."""

    port: Port
    name: Label = ""
    protocol: Protocol = Protocol.TCP
    node_port: PortOrNone = 0
    target_port: int | str | None = None


class ClientIPConfig(Struct, frozen=True):
    """How long a client keeps its endpoint: seconds since its last connection, as written."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Struct, frozen=True):
    """Settings of sessionAffinity."""

    client_ip: ClientIPConfig | None = None


class ServiceSpec(Struct, frozen=True):
    """Addresses and ports of a Service, and who may come in by which."""

    type: str = "ClusterIP"
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] | None = None
    ip_families: tuple[Family, ...] | None = None
    ip_family_policy: str | None = None
    ports: tuple[ServicePort, ...] | None = None
    selector: dict[str, str] | None = None
    external_ips: tuple[str, ...] | None = None
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    health_check_node_port: PortOrNone = 0
    load_balancer_source_ranges: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.cluster_ip != "None":
            self._set_canonical("cluster_ip", canonical_address)
            self._set_canonical("cluster_ips", canonical_address)


class LoadBalancerIngress(Struct, frozen=True):
    """One address of a load balancer; one that has a host name alone has no ip.

    ip_mode: "VIP" (also when not said) or "Proxy", whose packets the nodes leave alone.
    """

    ip: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(Struct, frozen=True):
    """What a load balancer answers at."""

    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(Struct, frozen=True):
    """What others made for a Service."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


_NOTHING_MADE = ServiceStatus()


class Service(KubernetesObject, frozen=True):
    """A name, virtual addresses, and ports."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = _NOTHING_MADE

    def __post_init__(self) -> None:
        """Share the status of all that have no load balancer, which the API spells out."""
        if not self.status.load_balancer.ingress:
            force_setattr(self, "status", _NOTHING_MADE)

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


@cache
def _shared_conditions(*values: bool | None) -> EndpointConditions:
    """The one value for three conditions; there are 27."""
    return EndpointConditions(*values)


class Hint(Struct, frozen=True):
    """A zone or node whose clients should come here."""

    name: str


class EndpointHints(Struct, frozen=True):
    """For whom an endpoint is meant."""

    for_zones: tuple[Hint, ...] | None = None
    for_nodes: tuple[Hint, ...] | None = None


@lru_cache(maxsize=16384)
def _shared_hints(hints: EndpointHints) -> EndpointHints:
    """The one value for equal hints; a cluster has about as many as it has nodes."""
    return hints


class Endpoint(Struct, frozen=True):
    """One endpoint. Only its first address counts (discovery.k8s.io/v1)."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None
    hints: EndpointHints | None = None

    def __post_init__(self) -> None:
        """Share what a hundred thousand endpoints have in common: half of their memory."""
        force_setattr(self, "conditions", _shared_conditions(*astuple(self.conditions)))
        if self.node_name is not None:
            force_setattr(self, "node_name", sys.intern(self.node_name))
        if self.hints is not None:
            force_setattr(self, "hints", _shared_hints(self.hints))

    @property
    def ready(self) -> bool:
        """Whether new connections may go there."""
        return self.conditions.ready is not False

    @property
    def serving(self) -> bool:
        """Whether it answers, also while it terminates."""
        return self.conditions.serving is not False

    @property
    def terminating(self) -> bool:
        """Whether it is about to go."""
        return self.conditions.terminating is True

    @property
    def hint_zones(self) -> tuple[str, ...]:
        """Zones it is meant for."""
        return tuple(row.name for row in (self.hints and self.hints.for_zones) or ())

    @property
    def hint_nodes(self) -> tuple[str, ...]:
        """Nodes it is meant for."""
        return tuple(row.name for row in (self.hints and self.hints.for_nodes) or ())


class EndpointPort(Struct, frozen=True):
    """A port of all endpoints of a slice, joined to a Service's port by name and protocol."""

    port: Port | None = None
    name: Label | None = None
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

    @property
    def triggered(self) -> str:
        """When what it tells of happened (RFC 3339); "" when its controller does not say."""
        found = self.metadata.annotations
        return found.last_change_trigger_time if found else ""


class ServiceCIDRSpec(Struct, frozen=True):
    """Ranges, at most one per family."""

    cidrs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self._set_canonical("cidrs", canonical_network)


class ServiceCIDR(ClusterObject, frozen=True):
    """Ranges that clusterIPs are taken from."""

    spec: ServiceCIDRSpec = ServiceCIDRSpec()

    @property
    def cidrs(self) -> tuple[str, ...]:
        """Its ranges."""
        return self.spec.cidrs or ()
