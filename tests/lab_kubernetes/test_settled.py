"""When a real control plane has nothing left to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire_core.feed.decode import kind_of
from podwire_core.objects import ObjectName
from podwire_core.snapshot import Snapshot
from podwire_lab.kubernetes.settled import (
    KUBERNETES_KINDS,
    RegisteredNode,
    not_mirrored,
    unsettled,
)

Document = dict[str, Any]


def snapshot(*documents: Document) -> Snapshot:
    kinds = ((each, kind_of(each, KUBERNETES_KINDS)) for each in documents)
    return Snapshot(msgspec.convert(each, kind) for each, kind in kinds if kind)


def workload(kind: str, status: Document, spec: Document | None = None) -> Document:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "web", "namespace": "shop", "generation": 2},
        "spec": {"replicas": 2} if spec is None else spec,
        "status": {"observedGeneration": 2, **status},
    }


def pod(name: str, ip: str, *, ready: bool = True, **metadata: Any) -> Document:
    labels = {"labels": {"app": "web"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", **labels, **metadata},
        "spec": {"nodeName": "node1", "containers": [{"name": "c"}]},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": ip}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def service(**spec: Any) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"port": 80}],
            "ipFamilies": ["IPv4"],
            **spec,
        },
    }


def slice_of(*ips: str) -> Document:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in ips],
    }


ALL = {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2}
EVERYWHERE = {"desiredNumberScheduled": 2, "numberReady": 2, "updatedNumberScheduled": 2}

SETTLED = {
    "a Deployment with all its pods": workload("Deployment", ALL),
    "a Deployment of none": workload("Deployment", {}, {"replicas": 0}),
    "a ReplicaSet, which has no versions": workload(
        "ReplicaSet", {"replicas": 2, "readyReplicas": 2}
    ),
    "an old ReplicaSet that was scaled down": workload("ReplicaSet", {}, {"replicas": 0}),
    "a StatefulSet with all its pods": workload("StatefulSet", ALL),
    "a StatefulSet that is partitioned on purpose": workload(
        "StatefulSet",
        {**ALL, "updatedReplicas": 1},
        {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
    ),
    "a StatefulSet whose old pods a person replaces": workload(
        "StatefulSet",
        {**ALL, "updatedReplicas": 0},
        {"replicas": 2, "updateStrategy": {"type": "OnDelete"}},
    ),
    "a DaemonSet on all nodes": workload("DaemonSet", EVERYWHERE, {}),
    "a DaemonSet that is for no node": workload("DaemonSet", {}, {}),
}
UNSETTLED = {
    "a change that no controller has seen": (
        workload("Deployment", {**ALL, "observedGeneration": 1}),
        "not seen yet",
    ),
    "a new object": (workload("Deployment", {"observedGeneration": 0}), "not seen yet"),
    "a pod that is not ready": (
        workload("Deployment", {**ALL, "readyReplicas": 1}),
        "1 of 2 pods are ready",
    ),
    "a pod of an earlier version": (
        workload("Deployment", {**ALL, "updatedReplicas": 1}),
        "1 of 2 pods are of its last version",
    ),
    "a pod too many": (workload("Deployment", {**ALL, "replicas": 3}), "3 are there"),
    "a StatefulSet that rolls": (
        workload("StatefulSet", {**ALL, "updatedReplicas": 1}),
        "of its last version",
    ),
    "a DaemonSet on half of its nodes": (
        workload("DaemonSet", {**EVERYWHERE, "numberReady": 1}, {}),
        "1 of 2 pods are ready",
    ),
}


@pytest.mark.parametrize("document", SETTLED.values(), ids=SETTLED)
def test_nothing_is_left_to_do_for(document: Document) -> None:
    assert unsettled(snapshot(document)) == ()


@pytest.mark.parametrize(("document", "reason"), UNSETTLED.values(), ids=UNSETTLED)
def test_there_is_still_to_do_for(document: Document, reason: str) -> None:
    (sentence,) = unsettled(snapshot(document))
    assert f"{document['kind']} shop/web" in sentence
    assert reason in sentence


SERVED = {
    "its ready pod": [service(), pod("a", "10.0.0.1"), slice_of("10.0.0.1")],
    "no pod, and no slice yet": [service()],
    "a pod that is not ready and not in": [service(), pod("a", "10.0.0.1", ready=False)],
    "pods that go are out": [
        service(),
        pod("a", "10.0.0.1", deletionTimestamp="2026-01-01T00:00:00Z"),
        slice_of(),
    ],
    "a slice that its user wrote": [service(selector=None), slice_of("192.0.2.1")],
    "all pods, ready or not": [
        service(publishNotReadyAddresses=True),
        pod("a", "10.0.0.1", ready=False),
        slice_of("10.0.0.1"),
    ],
}
NOT_SERVED = {
    "a ready pod that is not in": [service(), pod("a", "10.0.0.1"), slice_of()],
    "a pod that is gone and still in": [service(), slice_of("10.0.0.1")],
    "a pod of the other family": [
        service(ipFamilies=["IPv6"]),
        pod("a", "10.0.0.1"),
        slice_of("10.0.0.1"),
    ],
}


@pytest.mark.parametrize("documents", SERVED.values(), ids=SERVED)
def test_a_service_is_settled_with(documents: list[Document]) -> None:
    assert unsettled(snapshot(*documents)) == ()


@pytest.mark.parametrize("documents", NOT_SERVED.values(), ids=NOT_SERVED)
def test_a_service_is_not_settled_with(documents: list[Document]) -> None:
    (sentence,) = unsettled(snapshot(*documents))
    assert sentence.startswith("Service shop/web")


def test_what_was_applied_is_awaited_at_its_version(tmp_path: Path) -> None:
    file = tmp_path / "Service.shop.web.json"
    versions = {("Service", ObjectName("shop", "web")): 17}
    assert not_mirrored(tmp_path, versions)
    file.write_text('{"metadata": {"resourceVersion": "9"}}')
    assert not_mirrored(tmp_path, versions) == ("Service shop/web has not come through yet",)
    file.write_text('{"metadata": {"resourceVersion": "100"}}')
    assert not_mirrored(tmp_path, versions) == ()


@pytest.mark.parametrize("key", [("ConfigMap", "c"), ("Service", "x" * 253)])
def test_what_a_lab_never_shows_is_not_awaited(key: tuple[str, str], tmp_path: Path) -> None:
    assert not_mirrored(tmp_path, {(key[0], ObjectName("shop", key[1])): 17}) == ()


NODES = {
    "no podCIDRs": ({}, {}, "no podCIDRs"),
    "a kubelet that is silent": (
        {"podCIDRs": ["10.0.0.0/24"]},
        {"conditions": [{"type": "Ready", "status": "Unknown"}]},
        "not Ready",
    ),
    "a taint that is about to go": (
        {"podCIDRs": ["10.0.0.0/24"], "taints": [{"key": "node.kubernetes.io/not-ready"}]},
        {"conditions": [{"type": "Ready", "status": "True"}]},
        "not-ready",
    ),
    "nothing, tainted by its owner": (
        {"podCIDRs": ["10.0.0.0/24"], "taints": [{"key": "example.com/mine"}]},
        {"conditions": [{"type": "Ready", "status": "True"}]},
        "",
    ),
}


@pytest.mark.parametrize(("spec", "status", "lack"), NODES.values(), ids=NODES)
def test_a_node_lacks(spec: Document, status: Document, lack: str) -> None:
    document = {"metadata": {"name": "node1"}, "spec": spec, "status": status}
    found = msgspec.convert(document, RegisteredNode).lacks
    assert lack in found
    assert bool(lack) == bool(found)
