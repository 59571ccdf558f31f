"""The machine under one pod: its namespace, its wiring, its files, its processes, its report."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from podwire_core.files import write_whole
from podwire_lab.folders import Folders
from podwire_lab.kubelet import command, probes
from podwire_lab.kubelet.accounts import Accounts, NoAccounts, wants
from podwire_lab.kubelet.cni_client import Attachment, CniClient, CniError
from podwire_lab.kubelet.container import Running
from podwire_lab.kubelet.networks import NotInstalledError
from podwire_lab.machine import namespaces, processes
from podwire_lab.machine.processes import Process
from podwire_lab.report import PodReport
from podwire_lab.topology import DNS_V4, Lab, LabNode
from podwire_lab.workloads import LabContainer, LabPod, Probe

_LAUNCH = str(Path(__file__).with_name("launch.py"))
#: What a container's log may grow to before it is moved aside.
LOG_BYTES = 10 * 1024 * 1024
_PIECE = 256 * 1024
#: A file in a pod's folder: the uid of the pod whose name it is now.
_OWNER = "uid"

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


@dataclass(frozen=True)
class Place:
    """What all pods of one node share. `environment` is given to every container."""

    lab: Lab
    node: LabNode
    cni: CniClient
    environment: Mapping[str, str] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=NoAccounts)


class Sandbox:
    """A pod.Machine on the real kernel.

    running: processes by mark, found at the start. told: where reports go.
    """

    def __init__(
        self,
        place: Place,
        pod: LabPod,
        running: Mapping[str, int],
        told: Callable[[PodReport | None], None],
    ) -> None:
        lab, self._node, self._cni = place.lab, place.node, place.cni
        self._place, self._pod, self._running, self._told = place, pod, running, told
        self._said = ""
        folders = Folders.of(lab.name)
        self._objects = folders.objects
        self._folder = folders.pod(*pod.name)
        self._netns = namespaces.pod_netns(lab.name, *pod.name)
        self._mark = "/".join((lab.name, *pod.name, pod.metadata.uid, ""))

    # ------------------------------------------------------------------------- the network

    @property
    def _home(self) -> str:
        """The namespace that its processes run in: its own, or its node's."""
        return self._node.netns if self._pod.spec.host_network else self._netns

    def network_problem(self) -> str:
        """See pod.Machine."""
        if self._pod.spec.host_network:
            return ""
        try:
            self._cni.networks.current()
        except NotInstalledError as error:
            return str(error)
        return ""

    async def network_ready(self) -> None:
        """See pod.Machine."""
        await self._cni.networks.ready()

    def stands(self) -> bool:
        """See pod.Machine."""
        return namespaces.path(self._home).exists()

    async def make(self) -> tuple[str, ...]:
        """See pod.Machine."""
        ips: tuple[str, ...] = self._node.ips
        self._claim()
        if self.stands():  # what a runner before this one left, or a failed try
            await self.clear(0)
        if not self._pod.spec.host_network:
            await asyncio.to_thread(namespaces.create, self._netns, _POD_SYSCTLS)
            try:
                ips = await self._cni.add(self._attachment())
            except (CniError, OSError):
                with suppress(CniError, OSError):
                    await self.clear(0)
                raise
        self._write_etc(ips)
        await self._place.accounts.give(self._pod, self.account)
        return ips

    async def clear(self, grace: float) -> None:
        """See pod.Machine."""
        ours = self._is_ours()
        with namespaces.membership([self._netns] if ours else []) as own:

            def belongs(pid: int) -> bool:
                mark = processes.mark_of(pid, processes.CONTAINER)
                return own(pid) or mark.startswith(self._mark)

            await asyncio.to_thread(processes.end, belongs, grace)
        if not self._pod.spec.host_network:
            await self._cni.delete(self._attachment())
            if ours:
                await asyncio.to_thread(namespaces.delete, self._netns)

    def _claim(self) -> None:
        """Make the pod's name, and with it its namespace and its folder, this pod's own.

        Nodes of a lab share their names. A StatefulSet's pod that was deleted by force has a
        successor of its name on another node, which the runner that cleans up must leave alone.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_whole(self._folder / _OWNER, self._pod.metadata.uid.encode())

    def _is_ours(self) -> bool:
        """Whether no other pod has taken the name."""
        try:
            return (self._folder / _OWNER).read_text() == self._pod.metadata.uid
        except FileNotFoundError:
            return True

    @property
    def account(self) -> Path:
        """Where the files of its ServiceAccount are, if it has any."""
        return self._folder / "serviceaccount"

    def _attachment(self) -> Attachment:
        path = namespaces.path(self._netns)
        netns = str(path) if self._is_ours() and path.exists() else ""
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
        environment = command.environment_of(
            self._pod, container, ips, self._node.ips[0], self._place.environment
        )
        environment[processes.CONTAINER] = self._mark + container.name
        argv, tells = command.argv_of(container, environment, self._objects, shutil.which)
        launch = (sys.executable, "-I", "-S", _LAUNCH, str(namespaces.path(self._home)))
        account = str(self.account) if self.runs(container) and wants(container) else ""
        etc = (str(self._folder / "resolv.conf"), str(self._folder / "hosts"), account)
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
        with namespaces.membership([self._home]) as at_home:
            return found if is_it and at_home(pid) else None

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
            if self._is_ours():
                shutil.rmtree(self._folder, ignore_errors=True)
        elif report.message and report.message != self._said:
            _log.warning("pod %s: %s", self._pod.name, report.message)
        self._said = report.message if report else ""
        self._told(report)

    def log(self, container: LabContainer) -> Path:
        """Where a container's output goes."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return self._folder / f"{container.name}.log"

    def bound_logs(self) -> None:
        """Move logs that have grown too long aside; their writers append, so they go on."""
        with suppress(FileNotFoundError):  # the pod has just gone
            for log in self._folder.glob("*.log"):
                bound_log(log)


def bound_log(log: Path) -> None:
    """The end of a log that has grown too long to a file beside it, in pieces."""
    if log.stat().st_size <= LOG_BYTES:
        return
    with log.open("rb") as source, log.with_suffix(".log.1.new").open("wb") as target:
        os.fchmod(target.fileno(), 0o600)
        source.seek(-LOG_BYTES, os.SEEK_END)
        left = LOG_BYTES
        while left > 0 and (piece := source.read(min(left, _PIECE))):
            target.write(piece)
            left -= len(piece)
    Path(target.name).rename(log.with_suffix(".log.1"))
    os.truncate(log, 0)


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
