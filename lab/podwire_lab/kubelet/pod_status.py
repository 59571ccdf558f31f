"""A pod's status as a kubelet writes it, from what the node reports of it (pure).

    report   phase, addresses, containers        ┐
    before   conditions with the times they have ├─► a strategic merge patch of pods/status
    pod      spec, generation, others' gates     ┘

Lists that the API merges (addresses) are replaced; conditions of others stay, because
conditions are merged by their type. A condition's time moves only when its status does.

Sources: Kubernetes API reference, PodStatus; kubernetes.io, "Pod Lifecycle".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podwire_lab.report import ContainerReport, Ended, Phase, PodReport
from podwire_lab.workloads import LabContainer, LabPod

Document = dict[str, Any]
#: A condition's status and the time since which it holds, by its type.
Since = Mapping[str, tuple[str, str]]

_REPLACE = {"$patch": "replace"}
_FINISHED = {Phase.SUCCEEDED, Phase.FAILED}
#: What kubelet says when nobody saw how a container ended.
_UNKNOWN_EXIT = 137


def compose(
    pod: LabPod, report: PodReport, host_ips: Sequence[str], before: Since, now: str
) -> Document:
    """The patch's `status`."""
    inits = [_container(pod, each, report) for each in pod.spec.init_containers or ()]
    mains = [_container(pod, each, report) for each in pod.spec.containers or ()]
    status: Document = {
        "phase": report.phase.value,
        "observedGeneration": pod.metadata.generation or None,
        "message": report.message or None,
        "startTime": pod.status.start_time or report.started_at or None,
        "hostIP": host_ips[0],
        "hostIPs": [_REPLACE, *({"ip": ip} for ip in host_ips)],
        "conditions": conditions(pod, report, before, now),
        "containerStatuses": mains,
        "initContainerStatuses": inits or None,
    }
    if report.pod_ips:
        ips = [_REPLACE, *({"ip": ip} for ip in report.pod_ips)]
        status |= {"podIP": report.pod_ips[0], "podIPs": ips}
    return status


def unusable(
    containers: Iterable[tuple[str, str]], reason: str, before: Since, now: str
) -> Document:
    """The status of a pod that cannot be run here; containers: names and images."""
    row = ("Ready", "False", "Unusable", reason)
    return {
        "phase": Phase.PENDING.value,
        "message": reason,
        "conditions": [_condition(row, 0, before, now)],
        "containerStatuses": [
            {
                "name": name,
                "image": image,
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"waiting": {"reason": "Unusable", "message": reason}},
            }
            for name, image in containers
        ],
    }


def since(conditions: Iterable[Document]) -> dict[str, tuple[str, str]]:
    """What `before` is next time."""
    return {row["type"]: (row["status"], row.get("lastTransitionTime") or "") for row in conditions}


def covers(have: object, want: object) -> bool:
    """Whether what the API holds says all that a patch would make it say."""
    if want is None:
        return not have
    if isinstance(want, dict):
        return isinstance(have, dict) and all(covers(have.get(k), want[k]) for k in want)
    if isinstance(want, list):
        rows = [row for row in want if row != _REPLACE]
        if not isinstance(have, list):
            return not rows
        if rows and "type" in rows[0]:
            known = {row.get("type"): row for row in have}
            return all(covers(known.get(row["type"]), row) for row in rows)
        return len(have) == len(rows) and all(map(covers, have, rows))
    return have == want or (have is None and not want)


# ------------------------------------------------------------------------- conditions


def conditions(pod: LabPod, report: PodReport, before: Since, now: str) -> list[Document]:
    """The four conditions that are the kubelet's; PodScheduled is the scheduler's."""
    done = report.phase in _FINISHED
    begun = done or report.phase is Phase.RUNNING
    sandbox = bool(report.pod_ips) and not done
    gates = [row.condition_type for row in pod.spec.readiness_gates or ()]
    closed = [gate for gate in gates if not pod.status.holds(gate)]
    unready = ", ".join(row.name for row in report.containers if not row.ready)
    completed = "PodCompleted" if report.phase is Phase.SUCCEEDED else "PodFailed"
    lacking = (completed, "") if done else ("ContainersNotReady", f"not ready: {unready}")
    gated = ("ReadinessGatesNotReady", f"not True: {', '.join(closed)}")
    ready = report.ready and not closed
    rows = [
        ("PodReadyToStartContainers", _word(sandbox), "", ""),
        ("Initialized", _word(begun), *_unless(begun, ("ContainersNotInitialized", ""))),
        ("ContainersReady", _word(report.ready), *_unless(report.ready, lacking)),
        ("Ready", _word(ready), *_unless(ready, gated if report.ready else lacking)),
    ]
    return [_condition(row, pod.metadata.generation, before, now) for row in rows]


def _condition(row: tuple[str, ...], generation: int, before: Since, now: str) -> Document:
    kind, status, reason, message = row
    known, moved = before.get(kind, ("", ""))
    return {
        "type": kind,
        "status": status,
        "reason": reason or None,
        "message": message or None,
        "lastTransitionTime": moved if known == status and moved else now,
        "observedGeneration": generation or None,
    }


def _word(holds: bool) -> str:  # noqa: FBT001 - a condition's status is its only argument
    return "True" if holds else "False"


def _unless(holds: bool, words: tuple[str, str]) -> tuple[str, str]:  # noqa: FBT001 - same
    return ("", "") if holds else words


# ------------------------------------------------------------------------- containers


def _creating(pod: LabPod, report: PodReport) -> Document:
    """Why a container that has not begun does not run."""
    inits = [row for row in pod.spec.init_containers or () if row.restart_policy != "Always"]
    reason = "PodInitializing" if inits and report.pod_ips else "ContainerCreating"
    return {"reason": reason, **({"message": report.message} if report.message else {})}


def _container(pod: LabPod, container: LabContainer, report: PodReport) -> Document:
    rows = {row.name: row for row in (*report.containers, *report.init_containers)}
    row = rows.get(container.name) or ContainerReport(container.name)
    ended = _terminated(pod, row, row.last) if row.last else None
    state: Document = {"waiting": _creating(pod, report)}
    identity = ended["containerID"] if ended else None
    if row.pid:
        state = {"running": {"startedAt": row.started_at or None}}
        identity = _identity(pod, row, row.started_at)
    elif row.waiting:
        message = row.last.message if row.last else ""
        state = {"waiting": {"reason": row.waiting, "message": message or None}}
    elif ended:
        state, ended = {"terminated": ended}, None
    completed = row.over and row.last is not None and row.last.code == 0
    return {
        "name": container.name,
        "image": container.image,
        "imageID": "",  # a lab has no images
        "containerID": identity,
        # An init container is ready when it is done.
        "ready": row.ready or (completed and row in report.init_containers),
        "started": row.pid != 0,
        "restartCount": row.restarts,
        "state": state,
        "lastState": {"terminated": ended} if ended else {},
    }


def _terminated(pod: LabPod, row: ContainerReport, ended: Ended) -> Document:
    return {
        "exitCode": _UNKNOWN_EXIT if ended.code is None else ended.code,
        "reason": ended.reason,
        "message": ended.message or None,
        "startedAt": ended.started_at or None,
        "finishedAt": ended.finished_at or None,
        "containerID": _identity(pod, row, ended.started_at),
    }


def _identity(pod: LabPod, row: ContainerReport, started: str) -> str:
    """A run's id: equal for one run, different for the next one."""
    life = f"{pod.metadata.uid}/{row.name}/{started}"
    return f"podwire-lab://{hashlib.sha256(life.encode()).hexdigest()}"
