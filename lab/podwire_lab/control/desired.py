"""The lab's control plane, pure: what a user applied and what runners report → the objects.

    manifests ──► pods ──────► placed on nodes, rolled, with the status reported ─┐
              ├─► Services ──► with addresses and node ports ─────────────────────┼─► objects
              ├─► Namespaces, policies, own EndpointSlices: as written ───────────┤
              └─► EndpointSlices of Services that select pods ◄───────────────────┘

It plays the API server's defaults, the scheduler, the workload controllers and the endpoints
controller. Its memory is what it published before: `desired` of its own output changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from podwire_core.errors import ObjectError
from podwire_core.objects import NAMESPACE_NAME_LABEL, ObjectName
from podwire_lab.control.endpoints import desired_slices
from podwire_lab.control.manifests import Document, Manifest, file_name, without_doubles
from podwire_lab.control.past import Past
from podwire_lab.control.pods import as_pod, desired_pods
from podwire_lab.control.scheduler import node_labels
from podwire_lab.control.services import as_service, desired_services
from podwire_lab.control.system import SYSTEM
from podwire_lab.report import PodReport
from podwire_lab.topology import SERVICES_V4, SERVICES_V6, Lab, LabNode

#: More steps than any state needs: a pod goes, its successor comes, and that is all.
MAX_STEPS = 10

_OWNERS = {"Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"}
_AS_WRITTEN = {"EndpointSlice", "NetworkPolicy", "ClusterNetworkPolicy"}


@dataclass(frozen=True)
class Desired:
    """The objects to publish, by file name, and what of the manifests cannot be used."""

    objects: Mapping[str, Document]
    errors: tuple[ObjectError, ...] = ()


def desired(
    lab: Lab,
    manifests: Sequence[Manifest],
    reports: Iterable[PodReport],
    current: Mapping[str, Document],
    now: str,
) -> Desired:
    """What is to be published, given what was (`current`) at the moment `now`.

    Equal input gives equal output, in one order. `now` is RFC 3339 in UTC with microseconds,
    so that it sorts as text and two pods of one name never share an age.
    """
    every, doubles = without_doubles([*SYSTEM, *manifests])
    by_uid = {report.uid: report for report in reports}
    result = Desired(current)
    for _ in range(MAX_STEPS):
        before, result = result, _step(lab, every, by_uid, Past(result.objects, now))
        if result.objects == before.objects:
            break
    return Desired(result.objects, doubles + result.errors)


def _step(
    lab: Lab, manifests: Sequence[Manifest], reports: Mapping[str, PodReport], past: Past
) -> Desired:
    owners = [each for each in manifests if each.kind in _OWNERS]
    pods = desired_pods(lab, owners, reports, past)
    services, errors = desired_services((m for m in manifests if m.kind == "Service"), past)
    zones = {node.name: node.zone for node in lab.nodes}
    slices = desired_slices(map(as_service, services), list(map(as_pod, pods)), zones, past)
    written = [past.publish(each) for each in manifests if each.kind in _AS_WRITTEN]
    nodes = [_node(node, past) for node in lab.nodes]
    namespaces = _namespaces(manifests, past)
    # Slices of selectors stand behind: they win against one of their name that a user wrote.
    ranges = _service_cidr(past)
    everything = [*nodes, *namespaces, ranges, *services, *pods, *written, *slices]
    objects = {_file_of(document): document for document in everything}
    return Desired(dict(sorted(objects.items())), tuple(errors))


def _file_of(document: Document) -> str:
    metadata = document["metadata"]
    return file_name(document["kind"], ObjectName(metadata.get("namespace", ""), metadata["name"]))


def _node(node: LabNode, past: Past) -> Document:
    addresses = [{"type": "InternalIP", "address": ip} for ip in node.ips]
    labels = {"labels": node_labels(node)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": past.metadata("Node", ObjectName("", node.name), labels),
        "spec": {"podCIDR": node.pod_cidrs[0], "podCIDRs": list(node.pod_cidrs)},
        "status": {
            "addresses": [*addresses, {"type": "Hostname", "address": node.name}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _service_cidr(past: Past) -> Document:
    """What clusterIPs are taken from, as a cluster's first ServiceCIDR says it."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": past.metadata("ServiceCIDR", ObjectName("", "kubernetes"), {}),
        "spec": {"cidrs": [str(SERVICES_V4), str(SERVICES_V6)]},
    }


def _namespaces(manifests: Sequence[Manifest], past: Past) -> list[Document]:
    """Namespaces that are written, that anything lives in, and those every cluster has."""
    written = {each.name.name: each for each in manifests if each.kind == "Namespace"}
    lived_in = {each.name.namespace for each in manifests if each.found.namespaced()}
    names = sorted({"default", "kube-system", *written, *lived_in})
    return [_namespace(name, written.get(name), past) for name in names]


def _namespace(name: str, written: Manifest | None, past: Past) -> Document:
    own = written.document["metadata"] if written else {}
    labels = {**(own.get("labels") or {}), NAMESPACE_NAME_LABEL: name}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": past.metadata("Namespace", ObjectName("", name), {**own, "labels": labels}),
        "status": {"phase": "Active"},
    }
