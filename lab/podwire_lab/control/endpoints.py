"""EndpointSlices: where a Service's selector leads, per family and per set of resolved ports.

A named targetPort may be another number in another pod (a rolling update that moves a port);
such pods go into slices of their own: SERVICE-ipv4, SERVICE-ipv4-2 …

    pod               ready   serving   terminating      publishNotReadyAddresses
    ready             true    true      false            ready is always true
    not ready         false   false     false
    ready, leaving    false   true      true

trafficDistribution becomes hints, on every endpoint or on none: a proxy uses them only then.

Sources: Kubernetes endpointslice controller, utils.go podToEndpoint; KEP-1672.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from podwire_core.family import Family, family_of
from podwire_core.objects import SERVICE_NAME_LABEL, ObjectName
from podwire_lab.control.manifests import Document
from podwire_lab.control.past import Past
from podwire_lab.control.traffic import SAME_NODE, SAME_ZONE
from podwire_lab.workloads import LabPod, LabService

_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"

#: (name, port, protocol) of each port of a Service that a pod has.
Ports = tuple[tuple[str, int, str], ...]
#: Zones of nodes by name; "" for none.
Zones = Mapping[str, str]


def desired_slices(
    services: Iterable[LabService], pods: Sequence[LabPod], zones: Zones, past: Past
) -> list[Document]:
    """The slices of every Service with a selector. Those without bring their own."""
    by_namespace: dict[str, list[LabPod]] = {}
    for pod in pods:
        by_namespace.setdefault(pod.name.namespace, []).append(pod)
    return [
        document
        for service in services
        if service.spec.selector and service.spec.type != "ExternalName"
        for family in service.spec.ip_families or ()
        for document in _slices(
            service, family, by_namespace.get(service.name.namespace, ()), zones, past
        )
    ]


def _slices(
    service: LabService, family: Family, pods: Iterable[LabPod], zones: Zones, past: Past
) -> list[Document]:
    groups: dict[Ports, list[Document]] = {}
    for pod in sorted(pods, key=lambda pod: pod.name):
        address = _address(pod, family)
        if address and _selects(service, pod):
            where = _place(service, pod, zones)
            endpoint = _endpoint(service, pod, address) | where
            groups.setdefault(_ports(service, pod), []).append(endpoint)
    rows = sorted(groups.items()) or [((), [])]
    return [
        _document(service, family, number, ports, endpoints, past)
        for number, (ports, endpoints) in enumerate(rows, start=1)
    ]


def _selects(service: LabService, pod: LabPod) -> bool:
    wanted = (service.spec.selector or {}).items()
    return not pod.finished and all(pod.labels.get(key) == value for key, value in wanted)


def _address(pod: LabPod, family: Family) -> str | None:
    """The pod's address of a family; a hostNetwork pod's is its node's."""
    ips = (row.ip for row in pod.status.pod_ips or ())
    return next((ip for ip in ips if family_of(ip) is family), None)


def _ports(service: LabService, pod: LabPod) -> Ports:
    found = (
        (row.name, pod.port(row.target_port or row.port, row.protocol), row.protocol.value)
        for row in service.spec.ports or ()
    )
    return tuple((name, port, protocol) for name, port, protocol in found if port is not None)


def _endpoint(service: LabService, pod: LabPod, address: str) -> Document:
    always = service.spec.publish_not_ready_addresses
    names = pod.spec.hostname and pod.spec.subdomain == service.name.name
    return {
        "addresses": [address],
        "conditions": {
            "ready": always or (pod.ready and not pod.terminating),
            "serving": pod.ready,
            "terminating": pod.terminating,
        },
        **({"hostname": pod.spec.hostname} if names else {}),
        "nodeName": pod.spec.node_name,
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.name.namespace,
            "name": pod.name.name,
            "uid": pod.metadata.uid,
        },
    }


def _place(service: LabService, pod: LabPod, zones: Zones) -> Document:
    """The endpoint's zone, and who should come to it: clients of its zone, or of its node."""
    node, zone = pod.spec.node_name, zones.get(pod.spec.node_name, "")
    place: Document = {"zone": zone} if zone else {}
    if service.spec.traffic_distribution in SAME_NODE:
        return {**place, "hints": {"forNodes": [{"name": node}]}}
    if service.spec.traffic_distribution in SAME_ZONE and zone:
        return {**place, "hints": {"forZones": [{"name": zone}]}}
    return place


def _document(
    service: LabService,
    family: Family,
    number: int,
    ports: Ports,
    endpoints: Sequence[Document],
    past: Past,
) -> Document:
    ending = family.value.lower() + (f"-{number}" if number > 1 else "")
    name = ObjectName(service.name.namespace, f"{service.name.name}-{ending}")
    labels = {SERVICE_NAME_LABEL: service.name.name, _MANAGED_BY: "podwire-lab"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": past.metadata("EndpointSlice", name, {"labels": labels}),
        "addressType": family.value,
        "endpoints": list(endpoints),
        "ports": [{"name": name, "port": port, "protocol": of} for name, port, of in ports],
    }
