"""A command inside a running container, as `kubectl exec` runs it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from podwire_core import typed
from podwire_core.errors import PodwireError
from podwire_lab.folders import Folders
from podwire_lab.lookup import find_pod
from podwire_lab.machine import cgroups, processes
from podwire_lab.overview import Lookout
from podwire_lab.report import ContainerReport, PodReport
from podwire_lab.topology import Lab
from podwire_lab.workloads import LabPod


class NotRunning(PodwireError):  # noqa: N818 - a state of the pod
    """The container does not run, or the pod has none of that name; the text says which."""


@dataclass(frozen=True)
class Visit:
    """A way in: what to put before a command, and the container's own environment."""

    enter: tuple[str, ...]
    environment: dict[str, str]


def visit(lab: Lab, pod: LabPod, container: str | None = None) -> Visit:
    """The way into a container, the pod's first when none is named. Raises NotRunning."""
    row = _container(pod, _report(lab, pod), container)
    environment = processes.environment_of(row.pid) if row.pid else {}
    mark = "/".join((lab.name, *pod.name, pod.metadata.uid, row.name))
    if environment.get(processes.CONTAINER) != mark:
        raise NotRunning(f"container {row.name} of pod {pod.name} does not run")
    cgroup = cgroups.enter(lab, lab.node(pod.spec.node_name))
    return Visit((*cgroup, *processes.enter(row.pid)), environment)


def run(
    lab: Lab,
    pod: str,
    command: Sequence[str],
    *,
    namespace: str | None = None,
    container: str | None = None,
    timeout: float | None = 30.0,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a pod and capture what it prints; `pod` as people name it (lookup).

    Raises lookup.NoSuchPod, NotRunning, subprocess.TimeoutExpired.
    """
    with Lookout(lab) as lookout:
        lookout.look()
        way = visit(lab, find_pod(pod, lookout.snapshot.all(LabPod), namespace), container)
    return subprocess.run(
        [*way.enter, *command],
        env=way.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )


def _report(lab: Lab, pod: LabPod) -> PodReport:
    folder = Folders.of(lab.name).reports / pod.spec.node_name
    file = folder / f"{pod.name.namespace}.{pod.name.name}.json"
    try:
        return typed.decode(file.read_bytes(), PodReport)
    except (OSError, msgspec.DecodeError) as error:
        where = pod.spec.node_name or "no node yet"
        raise NotRunning(f"pod {pod.name} has not started ({where})") from error


def _container(pod: LabPod, report: PodReport, wanted: str | None) -> ContainerReport:
    rows = {row.name: row for row in report.containers}
    if wanted is None:
        return next(iter(rows.values()))
    if wanted not in rows:
        raise NotRunning(f"pod {pod.name} has no container {wanted!r}: it has {', '.join(rows)}")
    return rows[wanted]
