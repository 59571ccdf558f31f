"""A Service and its EndpointSlices as frontends with backends.

A frontend is what a client dials: an address, a protocol and a port; or, for a NodePort,
any of the node's addresses. A backend is where it may end up: a pod's address and port.
Endpoint ports join a Service's port by name and protocol, never by number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from podwire_core.errors import ObjectError
from podwire_core.family import Family, family_of
from podwire_core.objects import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Protocol,
    Service,
    ServicePort,
)


class Backend(NamedTuple):
    """Where a connection may end up."""

    address: str
    port: int


class Via(StrEnum):
    """How a frontend is dialled."""

    CLUSTER_IP = "cluster-ip"
    NODE_PORT = "node-port"


@dataclass(frozen=True, slots=True, order=True)
class Frontend:
    """What a client dials. `address` is empty for a NodePort: any address of the node."""

    family: Family
    via: Via
    address: str
    protocol: Protocol
    port: int

    @property
    def parts(self) -> tuple[str, ...]:
        """Its key in nft maps: `10.96.0.10 . tcp . 80`, or `tcp . 30080` for a NodePort."""
        address = (self.address,) if self.address else ()
        return (*address, self.protocol.nft, str(self.port))

    def __str__(self) -> str:
        address = f"[{self.address}]" if self.family is Family.IPV6 else self.address
        return f"{address or 'node'}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Backends:
    """Who serves a frontend: `label` is namespace/name:port of the Service, for people."""

    label: str
    usable: frozenset[Backend]


def frontends_of(
    service: Service, slices: Iterable[EndpointSlice]
) -> tuple[dict[Frontend, Backends], list[ObjectError]]:
    """The Service's frontends with their backends, and what could not be used.

    Empty for headless Services and ExternalName. A backend of one family never serves an
    address of the other.
    """
    known = sorted(slices, key=lambda each: each.name)
    problems = [problem for each in known for problem in _wrong_addresses(each)]
    frontends: dict[Frontend, Backends] = {}
    for address in service.cluster_ips:
        family = family_of(address)
        for port in service.spec.ports or ():
            backends = Backends(_label(service, port), usable_backends(known, port, family))
            frontends[Frontend(family, Via.CLUSTER_IP, address, port.protocol, port.port)] = (
                backends
            )
            if port.node_port:
                key = Frontend(family, Via.NODE_PORT, "", port.protocol, port.node_port)
                frontends[key] = backends
    return frontends, problems


def usable_backends(
    slices: Iterable[EndpointSlice], port: ServicePort, family: Family
) -> frozenset[Backend]:
    """Ready endpoints; when there are none, those that end but still serve.

    (KEP-1669; facts of conditions that are not set: ready, serving, not terminating.)
    """
    ready: set[Backend] = set()
    ending: set[Backend] = set()
    for each in slices:
        if each.address_type != family:
            continue
        numbers = [row.port for row in each.ports or () if row.port and _joins(row, port)]
        for endpoint in each.endpoints or ():
            address = endpoint.addresses[0] if endpoint.addresses else ""
            if not address or family_of(address) is not family:
                continue
            found = {Backend(address, number) for number in numbers}
            if endpoint.ready:
                ready |= found
            elif _serves_its_end(endpoint):
                ending |= found
    return frozenset(ready or ending)


def _joins(row: EndpointPort, port: ServicePort) -> bool:
    return (row.name or "") == port.name and row.protocol is port.protocol


def _serves_its_end(endpoint: Endpoint) -> bool:
    return endpoint.conditions.terminating is True and endpoint.conditions.serving is not False


def _label(service: Service, port: ServicePort) -> str:
    return f"{service.name}:{port.name or port.port}"


def _wrong_addresses(each: EndpointSlice) -> Iterable[ObjectError]:
    """Addresses that are not of the slice's addressType."""
    if each.address_type == "FQDN":
        return
    for index, endpoint in enumerate(each.endpoints or ()):
        address = endpoint.addresses[0] if endpoint.addresses else ""
        if address and family_of(address) != each.address_type:
            label, field = f"EndpointSlice {each.name}", f"endpoints[{index}].addresses[0]"
            yield ObjectError("", label, field, f"{address} is not {each.address_type}")
