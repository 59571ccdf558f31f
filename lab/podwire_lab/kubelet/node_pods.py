"""The pods of one node: who is wanted, who is kept, and what one has to do with the other.

    Source ──► pods of this node ──► a PodKeeper each ──► Source

Pods outlive the process that keeps them: the next one takes over what runs, by its
predecessor's reports and by the marks that processes carry.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from podwire_core.errors import FeedError
from podwire_core.objects import ObjectName
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.pod import PodKeeper
from podwire_lab.kubelet.sandbox import Place, Sandbox
from podwire_lab.kubelet.source import Source
from podwire_lab.machine import processes
from podwire_lab.report import PodReport
from podwire_lab.topology import LabNode
from podwire_lab.workloads import LabContainer, LabMeta, LabPod, LabPodSpec

_LOGS_EVERY = 10.0
#: Ending a pod waits in a thread for its processes: so many pods end at the same time.
_THREADS = 32

_log = logging.getLogger(__name__)


class NodePods:
    """The pods of one node. Make it and run it inside one event loop."""

    def __init__(self, place: Place, source: Source, clock: Clock) -> None:
        self._place, self._source, self._clock = place, source, clock
        self._running = processes.marked(processes.CONTAINER)
        self._pods: dict[ObjectName, LabPod] = {}
        self._keepers: dict[ObjectName, PodKeeper] = {}
        self._sandboxes: dict[ObjectName, Sandbox] = {}
        self._tasks: dict[ObjectName, asyncio.Task[None]] = {}
        self._synced = False
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM, or until the lab is gone. Pods stay."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        self._follow()
        loop.add_reader(self._source.fileno(), self._follow)
        logs = asyncio.create_task(self._bound_logs())
        await self._over.wait()
        loop.remove_reader(self._source.fileno())
        logs.cancel()

    def keeper(self, name: ObjectName) -> PodKeeper | None:
        """Who keeps the pod of that name now."""
        return self._keepers.get(name)

    def accounts(self) -> Iterator[tuple[LabPod, Path]]:
        """Pods that are kept now, and where the files of their accounts are."""
        for name, sandbox in self._sandboxes.items():
            yield self._keepers[name].pod, sandbox.account

    # ----------------------------------------------------------------------- what is wanted

    def _follow(self) -> None:
        """Take in what changed, and do what it asks for. Before all is known nothing is ended."""
        try:
            news = self._source.read()
        except FeedError as error:
            _log.warning("%s", error)
            self._over.set()
            return
        for name, pod in news.pods.items():
            if pod is None:
                self._pods.pop(name, None)
            else:
                self._pods[name] = pod
        if self._synced:
            self._settle_all(set(news.pods))
        elif news.synced:
            self._synced = True
            self._take_over()
            self._settle_all(set(self._pods))

    def _settle_all(self, names: set[ObjectName]) -> None:
        for name in sorted(names):
            self._settle(name)

    def _settle(self, name: ObjectName) -> None:
        """Start the pod of that name, stop it, or leave it as it is."""
        pod, keeper = self._pods.get(name), self._keepers.get(name)
        if keeper is not None:
            if pod is None or pod.terminating or pod.metadata.uid != keeper.pod.metadata.uid:
                keeper.stop(pod.metadata.deletion_grace_period_seconds if pod else None)
        elif pod is not None and pod.terminating:
            self._source.tell(pod, None)
        elif pod is not None and not pod.finished:
            self._keep(pod, None)

    # ------------------------------------------------------------------------- the keepers

    def _keep(self, pod: LabPod, before: PodReport | None) -> PodKeeper:
        def tell(report: PodReport | None) -> None:
            self._source.tell(pod, report)

        sandbox = Sandbox(self._place, pod, self._running, tell)
        keeper = PodKeeper(pod, sandbox, self._clock, before)
        self._keepers[pod.name], self._sandboxes[pod.name] = keeper, sandbox
        task = asyncio.create_task(keeper.keep())
        self._tasks[pod.name] = task
        task.add_done_callback(lambda done: self._kept(pod.name, done))
        return keeper

    def _kept(self, name: ObjectName, task: asyncio.Task[None]) -> None:
        """Nothing of the pod is left; its name may be wanted again already."""
        if task.cancelled():
            return
        del self._keepers[name], self._sandboxes[name], self._tasks[name]
        if (error := task.exception()) is not None:
            _log.error("pod %s: the runner failed", name, exc_info=error)
        else:
            self._settle(name)

    def _take_over(self) -> None:
        """Keepers for what the runner before this one reported; for what is unwanted, to end it."""
        for report in self._source.reports():
            pod = self._pods.get(ObjectName(report.namespace, report.name))
            if pod is None or pod.metadata.uid != report.uid:
                self._keep(_pod_of(report, self._place.node), report).stop()
            else:  # one that is to go is stopped when it is settled
                self._keep(pod, report)

    async def _bound_logs(self) -> None:
        while True:
            await self._clock.sleep(_LOGS_EVERY)
            for sandbox in list(self._sandboxes.values()):
                await asyncio.to_thread(sandbox.bound_logs)


def _pod_of(report: PodReport, node: LabNode) -> LabPod:
    """As much of a pod as it takes to end it, when its object is gone."""
    containers = tuple(LabContainer(name=row.name) for row in report.containers)
    return LabPod(
        metadata=LabMeta(name=report.name, namespace=report.namespace, uid=report.uid),
        spec=LabPodSpec(node_name=node.name, containers=containers or (LabContainer(name="none"),)),
    )
