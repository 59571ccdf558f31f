"""A Service and its slices in one line, as the documents that an API server holds.

    Svc("outer", "a d", Port(80, node=30081), balancer=True, externalTrafficPolicy="Local")

Fields that are given by their own name go into `spec` as they are. An endpoint is a word:

    a                    ready, on its node
    a!ending  a!ended    terminating, and serving still or not
    a!unready  a!bare    not ready; no conditions at all
    a!homeless           without a nodeName
    a@here,there  a#node1      hints for zones, for nodes
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from flows.places import ADDRESSES, POD_CIDRS, SERVICE_CIDRS, ZONES, home_of, service_address
from podwire_core.family import Family
from podwire_core.feed.decode import decode
from podwire_core.objects import EndpointSlice, KubernetesObject, Node, Service, ServiceCIDR

NAMESPACE = "shop"
PROTOCOLS = ("TCP", "UDP", "SCTP")
Document = dict[str, Any]

_WORD = re.compile(r"(?P<pod>\w+)(!(?P<state>\w+))?(@(?P<zones>[\w,]+))?(#(?P<nodes>[\w,]+))?\Z")
_READY = {"ready": True, "serving": True, "terminating": False}
_STATES: dict[str, Document] = {
    "ready": _READY,
    "homeless": _READY,
    "bare": {},
    "unready": {"ready": False, "serving": False, "terminating": False},
    "ending": {"ready": False, "serving": True, "terminating": True},
    "ended": {"ready": False, "serving": False, "terminating": True},
    "leaving": {"ready": False, "terminating": True},
    "published": {"ready": True, "serving": False, "terminating": True},
    "hushed": {"ready": True, "serving": False},
}


class Port(NamedTuple):
    """A port of a Service. target: the endpoints'; node: its NodePort."""

    number: int = 80
    target: int = 8080
    name: str = "http"
    protocol: str = "TCP"
    node: int = 0

    @property
    def of_service(self) -> Document:
        """As it stands in spec.ports; no nodePort is no field."""
        found = {"name": self.name, "port": self.number, "protocol": self.protocol}
        return {**found, "nodePort": self.node} if self.node else found

    @property
    def of_slice(self) -> Document:
        """As it stands in a slice's ports."""
        return {"name": self.name, "port": self.target, "protocol": self.protocol}


class Slice(NamedTuple):
    """A slice: endpoints in words, and the names of the ports they serve (none: all).

    families: of the addresses. raw: fields of the document in place of the usual ones.
    """

    endpoints: str = ""
    ports: str = ""
    families: Sequence[Family] = tuple(Family)
    raw: Document = {}  # noqa: RUF012 - read only

    def documents(self, svc: Svc, index: int) -> Iterator[Document]:
        """One document a family."""
        name, labels = f"{svc.name}-{index}", {"kubernetes.io/service-name": svc.name, **svc.labels}
        for family in self.families:
            yield {
                "metadata": {
                    "name": f"{name}-{family.nft}",
                    "namespace": NAMESPACE,
                    "labels": labels,
                },
                "addressType": str(family),
                "ports": [
                    each.of_slice
                    for each in svc.ports
                    if not self.ports or each.name in self.ports.split()
                ],
                "endpoints": [endpoint(word, family) for word in self.endpoints.split()],
                **self.raw,
            }


def endpoint(word: str, family: Family) -> Document:
    """A word of the module's docstring as an endpoint."""
    found = _WORD.match(word)
    assert found, word
    pod, state = found["pod"], found["state"] or "ready"
    document: Document = {
        "addresses": [ADDRESSES[pod][family]],
        "conditions": _STATES[state],
        "nodeName": home_of(pod),
    }
    if state == "homeless":
        del document["nodeName"]
    hints = {
        key: [{"name": name} for name in found[group].split(",")]
        for key, group in (("forZones", "zones"), ("forNodes", "nodes"))
        if found[group]
    }
    return {**document, "hints": hints} if hints else document


class Svc:
    """A Service of a world: see the module.

    balancer, external: it has an address of a load balancer, an external one.
    ingress: fields that the balancer's address has beside. labels: of the Service and its slices.
    """

    def __init__(
        self,
        name: str,
        endpoints: str | Sequence[Slice] = "",
        *ports: Port,
        balancer: bool = False,
        external: bool = False,
        ingress: Document | None = None,
        labels: dict[str, str] | None = None,
        created: str = "2026-01-01T00:00:00Z",
        **spec: Any,
    ) -> None:
        self.name = name
        self.slices = (Slice(endpoints),) if isinstance(endpoints, str) else tuple(endpoints)
        self.ports = ports or (Port(),)
        self.balancer = balancer
        self.external = external
        self.ingress = ingress or {}
        self.labels = labels or {}
        self.created = created
        self.spec = spec

    def objects(self, number: int) -> Iterator[KubernetesObject]:
        """The Service, whose addresses end in `number`, and its slices."""
        yield decode(self._service(number), Service, "world")
        for index, each in enumerate(self.slices):
            for document in each.documents(self, index):
                yield decode(document, EndpointSlice, "world")

    def _service(self, number: int) -> Document:
        addresses = {kind: _addresses(number, kind) for kind in ("cluster", "lb", "ext")}
        spec: Document = {
            "type": "LoadBalancer" if self.balancer else "ClusterIP",
            "clusterIP": addresses["cluster"][0],
            "clusterIPs": addresses["cluster"],
            "ipFamilies": [str(family) for family in Family],
            "ports": [each.of_service for each in self.ports],
        }
        if self.external:
            spec["externalIPs"] = addresses["ext"]
        spec = {key: value for key, value in {**spec, **self.spec}.items() if value is not None}
        rows = [{"ip": address, **self.ingress} for address in addresses["lb"]]
        ingress = [{key: row[key] for key in row if row[key] is not None} for row in rows]
        return {
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "labels": self.labels,
                "creationTimestamp": self.created,
            },
            "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress} if self.balancer else {}},
        }


def _addresses(number: int, kind: str) -> list[str]:
    return [service_address(number, family, kind) for family in Family]


def nodes(zone: str = ZONES["node1"]) -> Iterator[KubernetesObject]:
    """node1, in a zone or (with "") in none, and node2."""
    for name, zone_ in (("node1", zone), ("node2", ZONES["node2"])):
        address = "node" if name == "node1" else name
        internal = [ADDRESSES[address][family] for family in Family]
        document = {
            "metadata": {
                "name": name,
                "labels": {"topology.kubernetes.io/zone": zone_} if zone_ else {},
            },
            "spec": {"podCIDRs": list(POD_CIDRS[name])},
            "status": {"addresses": [{"type": "InternalIP", "address": each} for each in internal]},
        }
        yield decode(document, Node, "world")


def service_cidrs(cidrs: Sequence[str] = SERVICE_CIDRS) -> KubernetesObject:
    """Where ClusterIPs are taken from."""
    document = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": list(cidrs)}}
    return decode(document, ServiceCIDR, "world")
