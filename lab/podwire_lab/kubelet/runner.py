"""A node's kubelet: keeps the pods of its node, and says in reports how they stand.

    python -m podwire_lab.kubelet.runner --lab NAME --node NODE      (inside the node's namespace)

    objects/ ──► pods of this node ──► a PodKeeper each ──► reports/NODE/

Pods outlive their runner: the next one takes over what runs, by its predecessor's reports
and by the marks that processes carry.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import click
import msgspec

from podwire_core.errors import FeedError
from podwire_core.feed.directory import DirectoryFeed
from podwire_core.objects import ObjectName
from podwire_lab.folders import Folders
from podwire_lab.kubelet.cni_client import CniClient
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.pod import PodKeeper
from podwire_lab.kubelet.sandbox import Sandbox
from podwire_lab.machine import processes
from podwire_lab.report import PodReport
from podwire_lab.topology import Lab, LabNode
from podwire_lab.workloads import LabContainer, LabMeta, LabPod, LabPodSpec

_POD = {("", "Pod"): LabPod}
_LOGS_EVERY = 10.0
#: Ending a pod waits in a thread for its processes: so many pods end at the same time.
_THREADS = 32

_log = logging.getLogger(__name__)


class Runner:
    """The pods of one node. Make it and run it inside one event loop."""

    def __init__(self, lab: Lab, node: LabNode) -> None:
        self._lab, self._node = lab, node
        self._folders = Folders.of(lab.name)
        self._cni = CniClient(node, self._folders.node(node.name) / "cni")
        self._running = processes.marked(processes.CONTAINER)
        self._pods: dict[ObjectName, LabPod] = {}
        self._keepers: dict[ObjectName, PodKeeper] = {}
        self._sandboxes: dict[ObjectName, Sandbox] = {}
        self._tasks: dict[ObjectName, asyncio.Task[None]] = {}
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM, or until the lab is gone. Pods stay."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        with DirectoryFeed(self._folders.objects, _POD) as feed:
            self._read(feed)
            self._take_over()
            for name in sorted(self._pods):
                self._settle(name)
            loop.add_reader(feed.fileno(), self._follow, feed)
            logs = asyncio.create_task(self._bound_logs())
            await self._over.wait()
            loop.remove_reader(feed.fileno())
            logs.cancel()

    # ----------------------------------------------------------------------- what is wanted

    def _follow(self, feed: DirectoryFeed) -> None:
        try:
            for name in self._read(feed):
                self._settle(name)
        except FeedError as error:
            _log.warning("%s", error)
            self._over.set()

    def _read(self, feed: DirectoryFeed) -> set[ObjectName]:
        """Take in what changed; names of pods that may need something done."""
        batch = feed.read()
        for error in batch.errors:
            _log.warning("%s", error)
        for change in batch.changes:
            pod = cast("LabPod | None", change.new)
            if pod is not None and pod.spec.node_name == self._node.name:
                self._pods[change.name] = pod
            else:
                self._pods.pop(change.name, None)
        return {change.name for change in batch.changes}

    def _settle(self, name: ObjectName) -> None:
        """Start the pod of that name, stop it, or leave it as it is."""
        pod, keeper = self._pods.get(name), self._keepers.get(name)
        if keeper is not None:
            if pod is None or pod.terminating or pod.metadata.uid != keeper.pod.metadata.uid:
                keeper.stop()
        elif pod is not None and not pod.terminating:
            self._keep(pod, None)

    # ------------------------------------------------------------------------- the keepers

    def _keep(self, pod: LabPod, before: PodReport | None) -> PodKeeper:
        sandbox = Sandbox(self._lab, self._node, pod, self._cni, self._running)
        keeper = PodKeeper(pod, sandbox, Clock(), before)
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
        for file in sorted((self._folders.reports / self._node.name).glob("*.json")):
            try:
                report = msgspec.json.decode(file.read_bytes(), type=PodReport)
            except (OSError, msgspec.DecodeError) as error:
                _log.warning("%s: %s", file, error)
                continue
            pod = self._pods.get(ObjectName(report.namespace, report.name))
            if pod is not None and pod.metadata.uid == report.uid and not pod.terminating:
                self._keep(pod, report)
            else:
                self._keep(_pod_of(report, self._node), report).stop()

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOGS_EVERY)
            for sandbox in list(self._sandboxes.values()):
                sandbox.bound_logs()


def _pod_of(report: PodReport, node: LabNode) -> LabPod:
    """As much of a pod as it takes to end it, when its object is gone."""
    containers = tuple(LabContainer(name=row.name) for row in report.containers)
    return LabPod(
        metadata=LabMeta(name=report.name, namespace=report.namespace, uid=report.uid),
        spec=LabPodSpec(node_name=node.name, containers=containers or (LabContainer(name="none"),)),
    )


@click.command()
@click.option("--lab", "lab_name", required=True, help="The lab's name.")
@click.option("--node", "node_name", required=True, help="The node's name in the lab.")
def main(lab_name: str, node_name: str) -> None:
    """Keep the pods of one node. `podwire lab up` starts it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.umask(0o077)
    lab = Folders.of(lab_name).load()

    async def serve() -> None:
        await Runner(lab, lab.node(node_name)).run()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
