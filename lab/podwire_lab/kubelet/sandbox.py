"""The machine under one pod: its namespace, its wiring, its files, its processes, its report."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from podwire_core.files import write_json, write_whole
from podwire_lab.folders import Folders
from podwire_lab.kubelet import command, probes
from podwire_lab.kubelet.cni_client import Attachment, CniClient, CniError
from podwire_lab.kubelet.container import Running
from podwire_lab.machine import namespaces, processes
from podwire_lab.machine.processes import Process
from podwire_lab.report import PodReport
from podwire_lab.topology import DNS_V4, Lab, LabNode
from podwire_lab.workloads import LabContainer, LabPod, Probe

_LAUNCH = str(Path(__file__).with_name("launch.py"))
_LOG_BYTES = 10 * 1024 * 1024

#: What container runtimes allow unprivileged programs in a pod's own network.
_POD_SYSCTLS = {
    "net.ipv4.ping_group_range": "0 2147483647",
    "net.ipv4.ip_unprivileged_port_start": "0",
}

_log = logging.getLogger(__name__)


class ContainerProcess:
    """One running container. `tell` is the descriptor on which it says that it serves."""

    def __init__(self, pid: int, argv: tuple[str, ...], tell: int | None = None) -> None:
        """Raises OSError when the process is gone."""
        self.pid = pid
        self.command = argv
        self._tell = tell
        self._process = Process(pid)

    async def exited(self) -> int | None:
        """See container.Running."""
        return await self._process.exited()

    async def serving(self) -> None:
        """See container.Running. One that closes the descriptor has nothing more to say."""
        if self._tell is None:
            return
        told, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._tell, told.set)
        try:
            await told.wait()
        finally:
            loop.remove_reader(self._tell)
            os.close(self._tell)
            self._tell = None


class Sandbox:
    """A pod.Machine on the real kernel. `running` are processes by mark, found at the start."""

    def __init__(
        self,
        lab: Lab,
        node: LabNode,
        pod: LabPod,
        cni: CniClient,
        running: Mapping[str, int],
    ) -> None:
        self._lab, self._node, self._pod, self._cni = lab, node, pod, cni
        self._running = running
        folders = Folders.of(lab.name)
        self._objects = folders.objects
        self._folder = folders.pod(*pod.name)
        self._report = folders.reports / node.name / f"{pod.name.namespace}.{pod.name.name}.json"
        self._netns = namespaces.pod_netns(lab.name, *pod.name)
        self._mark = "/".join((lab.name, *pod.name, pod.metadata.uid, ""))

    # ------------------------------------------------------------------------- the network

    @property
    def _home(self) -> str:
        """The namespace that its processes run in: its own, or its node's."""
        return self._node.netns if self._pod.spec.host_network else self._netns

    def stands(self) -> bool:
        """See pod.Machine."""
        return namespaces.path(self._home).exists()

    async def make(self) -> tuple[str, ...]:
        """See pod.Machine."""
        ips: tuple[str, ...] = self._node.ips
        if self.stands():  # what a runner before this one left, or a failed try
            await self.clear(0)
        if not self._pod.spec.host_network:
            await asyncio.to_thread(namespaces.create, self._netns, _POD_SYSCTLS)
            try:
                ips = await self._cni.add(self._attachment())
            except CniError:
                with suppress(CniError):
                    await self.clear(0)
                raise
        self._write_etc(ips)
        return ips

    async def clear(self, grace: float) -> None:
        """See pod.Machine."""
        own = namespaces.membership([self._netns])

        def belongs(pid: int) -> bool:
            mark = processes.mark_of(pid, processes.CONTAINER)
            return own(pid) or mark.startswith(self._mark)

        await asyncio.to_thread(processes.end, belongs, grace)
        if not self._pod.spec.host_network:
            await self._cni.delete(self._attachment())
            await asyncio.to_thread(namespaces.delete, self._netns)

    def _attachment(self) -> Attachment:
        path = namespaces.path(self._netns)
        netns = str(path) if path.exists() else ""
        return Attachment(*self._pod.name, uid=self._pod.metadata.uid, netns=netns)

    def _write_etc(self, ips: tuple[str, ...]) -> None:
        namespace = self._pod.name.namespace
        self._folder.mkdir(mode=0o700, exist_ok=True)
        lines = [f"{ip}\t{command.hostname_of(self._pod)}" for ip in ips]
        lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost", *lines]
        write_whole(self._folder / "hosts", _text(lines))
        search = f"search {namespace}.svc.cluster.local svc.cluster.local cluster.local"
        lines = [search, f"nameserver {DNS_V4}", "options ndots:5"]
        write_whole(self._folder / "resolv.conf", _text(lines))

    # ---------------------------------------------------------------------- its containers

    def runs(self, container: LabContainer) -> bool:
        """See pod.Machine."""
        return command.runs_own_command(container, shutil.which)

    def start(self, container: LabContainer, ips: tuple[str, ...]) -> Running:
        """See container.Starter."""
        environment = command.environment_of(self._pod, container, ips, self._node.ips[0])
        environment[processes.CONTAINER] = self._mark + container.name
        argv, tells = command.argv_of(container, environment, self._objects, shutil.which)
        launch = (sys.executable, "-I", "-S", _LAUNCH, str(namespaces.path(self._home)))
        etc = (str(self._folder / "resolv.conf"), str(self._folder / "hosts"))
        words = (*launch, command.hostname_of(self._pod), *etc, *argv)
        ours, theirs = os.pipe() if tells else (None, None)
        try:
            pid = processes.spawn(words, environment, self.log(container), tell=theirs)
        except BaseException:
            if ours is not None:
                os.close(ours)
            raise
        finally:
            if theirs is not None:
                os.close(theirs)
        return ContainerProcess(pid, argv, ours)

    def find(self, container: LabContainer) -> Running | None:
        """See container.Starter."""
        mark = self._mark + container.name
        pid = self._running.get(mark)
        if pid is None:
            return None
        try:
            found = ContainerProcess(pid, processes.command_of(pid))
        except OSError:
            return None
        # Judged after the process is held: a number that was given anew is not it.
        is_it = processes.mark_of(pid, processes.CONTAINER) == mark
        return found if is_it and namespaces.membership([self._home])(pid) else None

    async def probe(
        self, container: LabContainer, probe: Probe, running: Running, ips: tuple[str, ...]
    ) -> bool:
        """See container.Starter. A stand-in has none of the programs an exec probe asks for."""
        stand_in = not command.runs_own_command(container, shutil.which)
        if stand_in and probe.exec is not None:
            return True
        return await probes.passes(probe, container, ips[0], processes.enter(running.pid))

    # ------------------------------------------------------------------------- what it says

    def tell(self, report: PodReport | None) -> None:
        """See pod.Machine."""
        if report is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._report.unlink(missing_ok=True)
            return
        if report.message:
            _log.warning("pod %s: %s", self._pod.name, report.message)
        with suppress(FileNotFoundError):  # `down` took the lab's folder away
            write_json(self._report, report)

    def log(self, container: LabContainer) -> Path:
        """Where a container's output goes."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return self._folder / f"{container.name}.log"

    def bound_logs(self) -> None:
        """Move logs that have grown too long aside; their writers append, so they go on."""
        with suppress(FileNotFoundError):  # the pod has just gone
            for log in self._folder.glob("*.log"):
                if log.stat().st_size > _LOG_BYTES:
                    write_whole(log.with_suffix(".log.1"), log.read_bytes())
                    os.truncate(log, 0)


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
