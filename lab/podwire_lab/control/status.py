"""A pod's status, as the API spells it, from what its node's runner reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podwire_lab.control.manifests import Document
from podwire_lab.control.scheduler import why_nowhere
from podwire_lab.report import ContainerReport, Phase, PodReport
from podwire_lab.topology import Lab
from podwire_lab.workloads import LabPod

#: Reports by the uid of their pod.
Reports = Mapping[str, PodReport]


def status_of(pod: LabPod, lab: Lab, reports: Reports) -> Document:
    """The status to publish; the uid keeps an earlier pod's report from speaking for this one."""
    node = next((node for node in lab.nodes if node.name == pod.spec.node_name), None)
    if node is None:
        return _nowhere(why_nowhere(pod.spec))
    report = reports.get(pod.metadata.uid)
    if report is None:
        return {"phase": "Pending", **_host(node.ips), "conditions": _conditions(ready=False)}
    own = node.ips if pod.spec.host_network and report.phase is Phase.RUNNING else report.pod_ips
    status: Document = {
        "phase": report.phase.value,
        **_host(node.ips),
        "conditions": _conditions(ready=report.ready and report.phase is Phase.RUNNING),
        "containerStatuses": [_container(pod, row, report.phase) for row in report.containers],
    }
    if own:
        status |= {"podIP": own[0], "podIPs": [{"ip": ip} for ip in own]}
    if report.message:
        status["message"] = report.message
    return status


def _nowhere(message: str) -> Document:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {
        "phase": "Pending",
        "message": message,
        "conditions": [{**unscheduled, "message": message}, {"type": "Ready", "status": "False"}],
    }


def _host(ips: tuple[str, ...]) -> Document:
    return {"hostIP": ips[0], "hostIPs": [{"ip": ip} for ip in ips]}


def _conditions(*, ready: bool) -> list[Document]:
    return [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Ready", "status": "True" if ready else "False"},
    ]


def _container(pod: LabPod, report: ContainerReport, phase: Phase) -> Document:
    images = {row.name: row.image for row in pod.spec.containers or ()}
    state: dict[str, Any] = {"waiting": {}}
    if phase in {Phase.SUCCEEDED, Phase.FAILED}:
        state = {"terminated": {}}
    elif report.pid:
        state = {"running": {}}
    return {
        "name": report.name,
        "image": images.get(report.name, ""),
        "ready": report.ready,
        "restartCount": report.restarts,
        "state": state,
    }
