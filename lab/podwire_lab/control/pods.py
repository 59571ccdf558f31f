"""Pods as documents: made from a template, placed on a node, gone when their runner says so."""

from __future__ import annotations

from collections.abc import Sequence

from podwire_core import typed
from podwire_core.objects import ObjectName
from podwire_lab.control.manifests import Document, Manifest
from podwire_lab.control.past import Past, uid
from podwire_lab.control.rollout import NewPod, revision_of, roll_out, template_of
from podwire_lab.control.scheduler import Scheduler, owner_of
from podwire_lab.control.status import Reports, status_of
from podwire_lab.topology import Lab
from podwire_lab.workloads import REVISION, LabPod, Replicas, StatefulSet


def as_pod(document: Document) -> LabPod:
    """A published pod, typed."""
    return typed.convert(document, LabPod)


def desired_pods(
    lab: Lab, owners: Sequence[Manifest], reports: Reports, past: Past
) -> list[Document]:
    """Every pod that is to be there, those on their way out included."""
    before = [
        {**document, "status": status_of(as_pod(document), lab, reports)}
        for document in past.current.values()
        if document["kind"] == "Pod"
    ]
    rollout = roll_out(owners, [as_pod(document) for document in before], lab)
    marked = [_mark(document, rollout.going, past.now) for document in before]
    there = [document for document in marked if not _is_gone(document, reports)]
    labelled = _follow_labels(there, owners)
    made = [_make(new, past) for new in rollout.new]
    return _place(lab, [*labelled, *made], reports)


def _mark(document: Document, going: frozenset[ObjectName], now: str) -> Document:
    """Tell a pod to go, once."""
    metadata = document["metadata"]
    if as_pod(document).name not in going or "deletionTimestamp" in metadata:
        return document
    return {**document, "metadata": {**metadata, "deletionTimestamp": now}}


def _is_gone(document: Document, reports: Reports) -> bool:
    """Whether a pod has left: told to go, and no runner has anything of it (any more, or yet)."""
    metadata = document["metadata"]
    return "deletionTimestamp" in metadata and metadata["uid"] not in reports


def _follow_labels(documents: Sequence[Document], owners: Sequence[Manifest]) -> list[Document]:
    """Give pods that a user wrote the labels that the user gives them now."""
    written = {owner.name: owner for owner in owners if isinstance(owner.found, LabPod)}
    followed = []
    for document in documents:
        pod = as_pod(document)
        if pod.owner is None and not pod.terminating and pod.name in written:
            labels = {"labels": dict(written[pod.name].found.labels)}
            followed.append({**document, "metadata": {**document["metadata"], **labels}})
        else:
            followed.append(document)
    return followed


def _make(new: NewPod, past: Past) -> Document:
    """A pod's document, still without a node unless it is bound to one."""
    template, revision = template_of(new.owner), revision_of(new.owner)
    written = template.get("metadata") or {}
    found = new.owner.found
    labels, spec = dict(written.get("labels") or {}), dict(template["spec"])
    if isinstance(found, Replicas):
        labels["pod-template-hash"] = revision
    if isinstance(found, StatefulSet):
        labels["statefulset.kubernetes.io/pod-name"] = new.name.name
        spec |= {"hostname": new.name.name, "subdomain": found.spec.service_name}
    if new.node:
        spec["nodeName"] = new.node
    annotations = {**(written.get("annotations") or {}), REVISION: revision}
    metadata = past.metadata("Pod", new.name, {"annotations": annotations})
    metadata |= {"labels": labels, **_owner_references(new.owner)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _owner_references(owner: Manifest) -> Document:
    if isinstance(owner.found, LabPod):
        return {}
    reference = {
        "apiVersion": owner.document["apiVersion"],
        "kind": owner.kind,
        "name": owner.name.name,
        "uid": uid(owner.kind, owner.name),
        "controller": True,
    }
    return {"ownerReferences": [reference]}


def _place(lab: Lab, documents: Sequence[Document], reports: Reports) -> list[Document]:
    """Give each pod that has none a node; who has one keeps it."""
    scheduler = Scheduler(lab, map(as_pod, documents))
    placed = []
    for document in documents:
        pod = as_pod(document)
        node = pod.spec.node_name or scheduler.choose(pod.spec, owner_of(pod))
        spec = {**document["spec"], "nodeName": node} if node else document["spec"]
        whole = {**document, "spec": spec}
        placed.append({**whole, "status": status_of(as_pod(whole), lab, reports)})
    return placed
