"""Pods as documents: made from a template, placed on a node, and with the status reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from podwire_core.objects import ObjectName
from podwire_lab.manifests import Document, Manifest
from podwire_lab.past import Past
from podwire_lab.report import Phase, PodReport
from podwire_lab.rollout import NewPod, revision_of, roll_out, template_of
from podwire_lab.scheduler import Owner, Scheduler, why_nowhere
from podwire_lab.topology import Lab
from podwire_lab.workloads import REVISION, LabPod, LabPodSpec, Replicas, StatefulSet

#: Reports by the uid of their pod.
Reports = Mapping[str, PodReport]


def desired_pods(
    lab: Lab, owners: Sequence[Manifest], reports: Reports, past: Past
) -> list[Document]:
    """Every pod that is to be there, those on their way out included."""
    before = [_refreshed(lab, document, reports) for document in _published_pods(past)]
    typed = [as_pod(document) for document in before]
    rollout = roll_out(owners, typed, lab)
    written = {owner.name: owner for owner in owners if isinstance(owner.found, LabPod)}
    staying = [
        _follow_labels(document, pod, written) if pod.name not in rollout.going else document
        for document, pod in zip(before, typed, strict=True)
    ]
    leaving = [_leave(each, as_pod(each).name in rollout.going, past.now) for each in staying]
    there = [each for each in leaving if not _is_gone(each, reports)]
    made = [_make(new, past) for new in rollout.new]
    scheduler = Scheduler(lab, map(as_pod, there))
    return [_place(lab, document, scheduler, reports) for document in (*there, *made)]


def as_pod(document: Document) -> LabPod:
    """A published pod, typed."""
    return msgspec.convert(document, LabPod)
