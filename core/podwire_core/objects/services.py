"""Services (core/v1) and EndpointSlices (discovery.k8s.io/v1)."""

from __future__ import annotations

import sys
from functools import cache
from typing import Annotated

import msgspec
from msgspec.structs import astuple, force_setattr

from podwire_core.family import Family, canonical_address
from podwire_core.objects.base import KubernetesObject, Label, ObjectName, Port, Protocol, Struct

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class ServicePort(Struct, frozen=True):
    """One port of a Service. targetPort is read by whoever makes EndpointSlices, not here."""

    port: Port
    name: Label = ""
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


@cache
def _shared_conditions(*values: bool | None) -> EndpointConditions:
    """The one value for three conditions; there are 27."""
    return EndpointConditions(*values)


class Endpoint(Struct, frozen=True):
    """One endpoint. Only its first address counts (discovery.k8s.io/v1)."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None

    def __post_init__(self) -> None:
        """Share what a hundred thousand endpoints have in common: half of their memory."""
        force_setattr(self, "conditions", _shared_conditions(*astuple(self.conditions)))
        if self.node_name is not None:
            force_setattr(self, "node_name", sys.intern(self.node_name))

    @property
    def ready(self) -> bool:
        """Whether new connections may go there."""
        return self.conditions.ready is not False


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
