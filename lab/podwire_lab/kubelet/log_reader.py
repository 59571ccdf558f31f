"""Which file a request for a log means, and when what it follows is over.

The API's users ask by names; the answer depends on the run that the pod's report tells of.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from podwire_core.objects import ObjectName
from podwire_lab.folders import Folders
from podwire_lab.kubelet import logs
from podwire_lab.kubelet.node_pods import NodePods
from podwire_lab.kubelet.server import RefusedError, Wanted
from podwire_lab.machine import processes
from podwire_lab.report import ContainerReport, PodReport


class LogReader:
    """Answers the server's threads. What it asks of the pods are values that are replaced whole."""

    def __init__(self, folders: Folders, pods: NodePods) -> None:
        self._folders, self._pods = folders, pods

    def read(self, wanted: Wanted) -> Iterator[bytes]:
        """See server.Logs."""
        keeper = self._pods.keeper(ObjectName(wanted.namespace, wanted.pod))
        if keeper is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "this node keeps no such pod")
        row = _row(keeper.report, wanted.container)
        log = self._folders.pod(*keeper.pod.name) / f"{row.name}.log"
        if not log.exists() and row.over:
            return iter(())
        if not log.exists():
            reason = row.waiting or "ContainerCreating"
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                f'container "{row.name}" in pod "{wanted.pod}" is waiting to start: {reason}',
            )
        mark = f"{keeper.pod.metadata.uid}/{row.name}"
        return self._read(log, wanted, row.pid, mark)

    def _read(self, log: Path, wanted: Wanted, pid: int, mark: str) -> Iterator[bytes]:
        run = _hold(pid, mark) if wanted.request.follow else -1
        try:
            yield from logs.read(log, wanted.request, run, wanted.reader)
        finally:
            if run >= 0:
                os.close(run)


def _row(report: PodReport, container: str) -> ContainerReport:
    for row in (*report.containers, *report.init_containers):
        if row.name == container:
            return row
    raise RefusedError(HTTPStatus.NOT_FOUND, f"the pod has no container {container!r}")


def _hold(pid: int, mark: str) -> int:
    """A pidfd of the container's run; -1 when it is over."""
    if pid == 0:
        return -1
    try:
        run = os.pidfd_open(pid)
    except OSError:
        return -1
    if processes.mark_of(pid, processes.CONTAINER).endswith(mark):
        return run
    os.close(run)
    return -1
