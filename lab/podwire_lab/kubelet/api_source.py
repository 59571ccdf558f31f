"""Pods that an API server binds to this node, and their status there.

    /api/v1/pods?fieldSelector=spec.nodeName=NODE ─► News
    reports ─► PATCH pods/NAME/status   newest only, and only what the API does not say already
    nothing left of one that is to go ─► DELETE, grace 0, this uid

A pod that cannot be decoded is shown as waiting with what is wrong; the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

import msgspec

from podwire_core.errors import ObjectError
from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.cluster import ClusterFeed
from podwire_core.feed.decode import decode
from podwire_core.feed.reflector import Resource
from podwire_core.objects import KubernetesObject, ObjectName
from podwire_lab.kubelet import pod_status
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.requests import STRATEGIC, Requests
from podwire_lab.kubelet.source import News, ReportFiles
from podwire_lab.kubelet.work_queue import WorkQueue
from podwire_lab.report import PodReport
from podwire_lab.topology import LabNode
from podwire_lab.workloads import LabContainer, LabMeta, LabPod, LabPodSpec

_LONGEST = 200

_log = logging.getLogger(__name__)


class BoundPod(KubernetesObject, frozen=True, kw_only=True):
    """A pod of which only its identity is judged; the rest is as the API sent it."""

    metadata: LabMeta
    spec: dict[str, Any] = msgspec.field(default_factory=dict)
    status: dict[str, Any] = msgspec.field(default_factory=dict)

    def decoded(self) -> LabPod:
        """As the kubelet reads it. Raises ObjectError."""
        document = {"spec": self.spec, "status": self.status}
        metadata = msgspec.to_builtins(self.metadata)
        return cast("LabPod", decode({"metadata": metadata, **document}, LabPod, ""))

    def bare(self) -> LabPod:
        """As much as it takes to end it."""
        spec = LabPodSpec(
            node_name=str(self.spec.get("nodeName", "")), containers=(LabContainer(name="none"),)
        )
        return LabPod(metadata=self.metadata, spec=spec)

    @property
    def uid(self) -> str:
        """Tells it from an earlier one of its name."""
        return self.metadata.uid

    @property
    def terminating(self) -> bool:
        """Whether it has been told to go."""
        return self.metadata.deletion_timestamp is not None


@dataclass
class _Row:
    """One pod: what the API says, what is wrong with that, and what is to be said."""

    bound: BoundPod
    pod: LabPod | None = None
    problem: str = ""
    report: PodReport | None = None
    ended: bool = False
    since: dict[str, tuple[str, str]] = field(default_factory=dict)


class ApiSource:
    """See source.Source. Make it inside the event loop."""

    def __init__(
        self, server: ApiServer, requests: Requests, node: LabNode, files: ReportFiles, clock: Clock
    ) -> None:
        self._requests, self._host_ips, self._files = requests, node.ips, files
        self._clock = clock
        self._rows: dict[ObjectName, _Row] = {}
        self._unsent = WorkQueue[ObjectName](self._send, clock)
        pods = Resource(BoundPod, "/api/v1/pods", field_selector=f"spec.nodeName={node.name}")
        self._feed = ClusterFeed(server, [pods])

    def fileno(self) -> int:
        """See Source."""
        return self._feed.fileno()

    def read(self) -> News:
        """See Source."""
        batch = self._feed.read()
        for error in batch.errors:
            _log.warning("%s", error)
        news: dict[ObjectName, LabPod | None] = {}
        for change in batch.changes:
            bound = cast("BoundPod | None", change.new)
            if bound is None:
                self._rows.pop(change.name, None)
                news[change.name] = None
            elif (pod := self._take(change.name, bound)) is not None:
                news[change.name] = pod
        return News(news, batch.synced)

    def reports(self) -> Iterator[PodReport]:
        """See Source."""
        for report in self._files.read():
            row = self._rows.get(ObjectName(report.namespace, report.name))
            if row is not None and row.bound.uid == report.uid:
                row.report = report
            yield report

    def tell(self, pod: LabPod, report: PodReport | None) -> None:
        """See Source."""
        self._files.tell(pod.name, report)
        row = self._rows.get(pod.name)
        if row is None or row.bound.uid != pod.metadata.uid:
            return
        row.ended = report is None
        row.report = report or row.report
        self._unsent.put(pod.name)

    def close(self) -> None:
        """See Source."""
        self._unsent.close()
        self._feed.close()

    # ------------------------------------------------------------------- what the API says

    def _take(self, name: ObjectName, bound: BoundPod) -> LabPod | None:
        """What the runner hears of it; None when that is nothing it could use."""
        row = self._rows.get(name)
        if row is None or row.bound.uid != bound.uid:
            known = bound.status.get("conditions") or ()
            row = self._rows[name] = _Row(bound, since=pod_status.since(known))
        row.bound = bound
        try:
            row.pod, row.problem = bound.decoded(), _too_long(name)
        except ObjectError as error:
            row.problem = f"{error.field}: {error.reason}" if error.field else error.reason
        self._unsent.put(name)
        if row.problem:
            return bound.bare() if bound.terminating else None
        return row.pod

    # --------------------------------------------------------------------- what it is told

    async def _send(self, name: ObjectName) -> None:
        """Bring the API to what is known here. Raises ApiError."""
        row = self._rows.get(name)
        if row is None:
            return
        path = f"/api/v1/namespaces/{quote(name.namespace)}/pods/{quote(name.name)}"
        if row.bound.terminating and row.ended:
            body: dict[str, Any] = {
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": row.bound.uid},
            }
            await self._requests.send("DELETE", path, body)
        elif (status := self._status(row)) and not pod_status.covers(row.bound.status, status):
            body = {"metadata": {"uid": row.bound.uid}, "status": status}
            await self._requests.send("PATCH", f"{path}/status", body, STRATEGIC)

    def _status(self, row: _Row) -> pod_status.Document | None:
        """What the API should say; None while nothing is known."""
        now = self._clock.utc()
        if row.pod is not None and row.report is not None:
            status = pod_status.compose(row.pod, row.report, self._host_ips, row.since, now)
        elif row.problem:
            rows = row.bound.spec.get("containers") or ()
            names = [(str(each.get("name")), str(each.get("image", ""))) for each in rows]
            status = pod_status.unusable(names, row.problem, row.since, now)
        else:
            return None
        row.since |= pod_status.since(status["conditions"])
        return status


def _too_long(name: ObjectName) -> str:
    """Names become parts of paths, which the kernel bounds."""
    if len(name.namespace) + len(name.name) <= _LONGEST:
        return ""
    return f"metadata.name: a lab has room for {_LONGEST} characters of namespace and name"
