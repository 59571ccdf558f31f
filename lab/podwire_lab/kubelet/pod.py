"""One pod of this node, from its first sight until nothing of it is left.

    Pending ─► network ─► sandbox (netns, CNI ADD) ─► init containers ─► Running ─► the end
       any of these, when the pod is to go ─► end processes ─► CNI DEL ─► no report

What fails is said in the report and tried again with back-off; no pod holds up another.
Everything it does to the world goes through `Machine`, and time through `Clock`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from podwire_core.backoff import Backoff
from podwire_lab.kubelet.cni_client import CniError
from podwire_lab.kubelet.container import (
    FIRST_WAIT,
    LONGEST_WAIT,
    Clock,
    ContainerKeeper,
    Starter,
)
from podwire_lab.machine.processes import ProcessesError
from podwire_lab.report import ContainerReport, Phase, PodReport
from podwire_lab.workloads import LabContainer, LabPod

T = TypeVar("T")

_FINISHED = (Phase.SUCCEEDED, Phase.FAILED)


class Machine(Starter, Protocol):
    """What one pod needs of its node."""

    def network_problem(self) -> str:
        """Why no pod can be wired now; "" when one can, or when this one need not be."""
        ...

    async def network_ready(self) -> None:
        """Return when there is no such problem any more."""
        ...

    def stands(self) -> bool:
        """Whether its network namespace is there."""
        ...

    async def make(self) -> tuple[str, ...]:
        """Namespace and network, anew; its addresses. Raises CniError, OSError, ProcessesError."""
        ...

    async def clear(self, grace: float) -> None:
        """Processes, network and namespace away; twice is fine. Raises as `make` does."""
        ...

    def runs(self, container: LabContainer) -> bool:
        """Whether an init container means something here: the host has its command."""
        ...

    def tell(self, report: PodReport | None) -> None:
        """Publish; None when nothing of the pod is left."""
        ...


class PodKeeper:
    """Run `keep` as a task; `stop` makes it end the pod and return.

    `before` is the report of the runner before this one: what runs is taken over.
    """

    def __init__(
        self, pod: LabPod, machine: Machine, clock: Clock, before: PodReport | None = None
    ) -> None:
        self.pod = pod
        self._machine = machine
        self._clock = clock
        self._stop = asyncio.Event()
        self._grace = float(pod.spec.termination_grace_period_seconds)
        self._phase = before.phase if before else Phase.PENDING
        self._ips = before.pod_ips if before else ()
        self._message = before.message if before else ""
        self._started_at = before.started_at if before else ""
        rows = (*before.containers, *before.init_containers) if before else ()
        known = {row.name: row for row in rows}
        self._mains = [self._keeper(each, known) for each in pod.spec.containers or ()]
        self._sidecars = [
            self._keeper(each, known, "Always")
            for each in pod.spec.init_containers or ()
            if each.restart_policy == "Always"
        ]
        self._inits = self._init_keepers(known)
        self._told: PodReport | None = None

    @property
    def report(self) -> PodReport:
        """How the pod stands now."""
        containers = tuple(each.report for each in (*self._mains, *self._sidecars))
        return PodReport(
            namespace=self.pod.name.namespace,
            name=self.pod.name.name,
            uid=self.pod.metadata.uid,
            phase=self._phase,
            pod_ips=self._ips,
            ready=self._phase is Phase.RUNNING and all(each.ready for each in containers),
            containers=containers,
            message=self._message,
            started_at=self._started_at,
            init_containers=tuple(each.report for _, each in self._inits),
        )

    def stop(self, grace: float | None = None) -> None:
        """The pod is to go; `grace` seconds, when whoever deletes it said how many."""
        if grace is not None:
            self._grace = min(self._grace, grace)
        self._stop.set()

    async def keep(self) -> None:
        """See the pod through; returns when nothing of it is left."""
        if not self._stop.is_set():
            await self._live_until_stopped()
        await self._insist(self._clear)
        self._machine.tell(None)

    async def _live_until_stopped(self) -> None:
        life = asyncio.create_task(self._live())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
            if life.done() and (error := life.exception()) is not None:
                self._say(f"the runner failed: {error!r}")
            await stop
        finally:
            life.cancel()
            stop.cancel()
            await asyncio.gather(life, stop, return_exceptions=True)

    async def _live(self) -> None:
        if self._phase in _FINISHED:
            await self._insist(self._clear)
            return
        if self._phase is Phase.RUNNING and self._machine.stands():
            for each in (*self._mains, *self._sidecars):
                each.adopt()
        elif not await self._begin():
            await self._finish(Phase.FAILED)
            return
        codes = await self._run()
        await self._finish(Phase.SUCCEEDED if set(codes) == {0} else Phase.FAILED)

    async def _begin(self) -> bool:
        """The sandbox, then the init containers; false when one of them failed for good."""
        self._phase, self._ips = Phase.PENDING, ()
        self._started_at = self._started_at or self._clock.utc()
        while problem := self._machine.network_problem():
            self._say(f"network not ready: {problem}")
            await self._machine.network_ready()
        self._say("")  # a report stands before the namespace, so that none is forgotten
        self._ips = await self._insist(self._machine.make)
        self._say("")
        self._inits = self._init_keepers({})  # in a new sandbox they run again
        for container, keeper in self._inits:
            if not self._machine.runs(container):
                keeper.skip()
            elif await keeper.keep(self._ips) != 0:
                return False
        return True

    async def _run(self) -> list[int | None]:
        """Exit codes of the containers, when all have ended for good."""
        self._phase = Phase.RUNNING
        async with asyncio.TaskGroup() as group:
            sidecars = [group.create_task(each.keep(self._ips)) for each in self._sidecars]
            codes = await asyncio.gather(*(each.keep(self._ips) for each in self._mains))
            for sidecar in sidecars:
                sidecar.cancel()
        return codes

    async def _finish(self, phase: Phase) -> None:
        self._phase = phase
        self._publish()
        await self._insist(self._clear)

    async def _clear(self) -> None:
        await self._machine.clear(min(self._grace, float(self.pod.longest_grace)))

    async def _insist(self, act: Callable[[], Awaitable[T]]) -> T:
        """Try until it works; what went wrong is in the report meanwhile."""
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        while True:
            try:
                return await act()
            except (CniError, OSError, ProcessesError) as error:
                delay = backoff.failed(0.0)
                self._say(f"{error}; tries again after {delay:.0f} s")
                await self._clock.sleep(delay)

    def _init_keepers(
        self, known: dict[str, ContainerReport]
    ) -> list[tuple[LabContainer, ContainerKeeper]]:
        """Those that run first and end, in order; a sidecar is none of them."""
        policy = "Never" if self.pod.spec.restart_policy == "Never" else "OnFailure"
        return [
            (each, self._keeper(each, known, policy))
            for each in self.pod.spec.init_containers or ()
            if each.restart_policy != "Always"
        ]

    def _keeper(
        self,
        container: LabContainer,
        known: dict[str, ContainerReport],
        policy: str | None = None,
    ) -> ContainerKeeper:
        return ContainerKeeper(
            container,
            policy or self.pod.spec.restart_policy,
            self._machine,
            self._clock,
            self._container_changed,
            known.get(container.name),
        )

    def _container_changed(self, message: str) -> None:
        if message or all(each.report.ready for each in (*self._mains, *self._sidecars)):
            self._message = message  # old trouble is over when all is well
        self._publish()

    def _say(self, message: str) -> None:
        self._message = message
        self._publish()

    def _publish(self) -> None:
        if (report := self.report) != self._told:
            self._told = report
            self._machine.tell(report)
