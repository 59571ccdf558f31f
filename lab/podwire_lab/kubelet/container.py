"""One container of one pod: started, watched for readiness, started again.

start ──► serving? ──► probe … probe ──► exit ──► back off ──► start …
             │ ready                       │ not ready
             ▼                             ▼
           report                        report, or the end, by restartPolicy
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from podwire_lab.report import ContainerReport
from podwire_lab.workloads import LabContainer, Probe

_RETRY_UNTIL_READY = 1.0
#: A container that ran this long has earned a fresh back-off.
_FORGIVEN_AFTER = 120.0
#: One that has failed is ready after it ran as long as its back-off was, at most so long.
_DOUBTED_FOR = 10.0


class Clock:
    """The loop's timers. Tests bring their own."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Give the loop to others for so long."""
        await asyncio.sleep(seconds)


class Running(Protocol):
    """A container's process."""

    @property
    def pid(self) -> int:
        """Its id on this machine."""
        ...

    @property
    def command(self) -> tuple[str, ...]:
        """What it was started as."""
        ...

    async def serving(self) -> None:
        """Return when it serves: when it said so, or at once for a program that says nothing."""
        ...

    async def exited(self) -> int | None:
        """Its exit code when it ends; None when nobody can tell (its parent is gone)."""
        ...


class Starter(Protocol):
    """Where containers run."""

    def start(self, container: LabContainer, ips: tuple[str, ...]) -> Running:
        """Start it. Raises OSError or ValueError."""
        ...

    def find(self, container: LabContainer) -> Running | None:
        """The process of it that runs already, started by a runner before this one."""
        ...

    async def probe(
        self, container: LabContainer, probe: Probe, running: Running, ips: tuple[str, ...]
    ) -> bool:
        """Ask a readiness probe once."""
        ...


@dataclass
class Backoff:
    """Delays that double from `first` to `longest` seconds."""

    first: float = 1.0
    longest: float = 60.0
    failures: int = 0

    def delay(self) -> float:
        """The next delay."""
        self.failures += 1
        return self.last

    @property
    def last(self) -> float:
        """The delay that was last given; 0 when there was none."""
        if self.failures == 0:
            return 0.0
        return min(self.longest, self.first * 2.0 ** min(self.failures - 1, 16))

    def forgive(self) -> None:
        """Begin again with the first delay."""
        self.failures = 0


class ContainerKeeper:
    """Keeps one container running; `report` says how it stands, `changed` is told when it does.

    restart_policy is the one that holds for this container: a sidecar's is Always, an init
    container's is OnFailure where its pod's is Always.
    """

    def __init__(
        self,
        container: LabContainer,
        restart_policy: str,
        starter: Starter,
        clock: Clock,
        changed: Callable[[str], None],
        before: ContainerReport | None = None,
    ) -> None:
        self._container = container
        self._restart_policy = restart_policy
        self._starter = starter
        self._clock = clock
        self._changed = changed
        self._backoff = Backoff()
        self._running: Running | None = None
        self._restarts = before.restarts if before else 0
        self._ready = before.ready if before else False
        self._had_process = before is not None and before.pid != 0
        self._lost = False

    @property
    def report(self) -> ContainerReport:
        """How it stands now."""
        return ContainerReport(
            name=self._container.name,
            pid=self._running.pid if self._running else 0,
            restarts=self._restarts,
            ready=self._ready and self._running is not None,
            command=self._running.command if self._running else (),
        )

    def adopt(self) -> None:
        """Take over the process that runs already.

        One that is gone has ended, with a code that nobody knows: it is not simply started,
        because what is to run once (restartPolicy Never) would run twice.
        """
        self._running = self._starter.find(self._container)
        self._lost = self._running is None and (
            self._had_process or self._restart_policy == "Never"
        )

    async def keep(self, ips: tuple[str, ...]) -> int | None:
        """Run it until it has ended for good; its last exit code."""
        while True:
            started = self._clock.now()
            code, ending = await self._run_once(ips)
            again = self._restart_policy == "Always" or (
                self._restart_policy == "OnFailure" and code != 0
            )
            if not again:
                self._changed("" if code == 0 else f"container {self._container.name} {ending}")
                return code
            await self._pause(ending, self._clock.now() - started)

    async def _run_once(self, ips: tuple[str, ...]) -> tuple[int | None, str]:
        """One run, from its start or its being taken over: its exit code, and that in words."""
        if self._lost:
            self._lost = False
            return None, "ended while no runner was there"
        try:
            if self._running is None:
                self._running = self._starter.start(self._container, ips)
                self._ready = False
            self._changed("")
            code = await self._watch(self._running, ips)
        except (OSError, ValueError) as error:
            return 127, f"does not start: {error}"
        finally:
            self._running = None
        return code, f"exited with {'an unknown code' if code is None else code}"

    async def _pause(self, ending: str, ran: float) -> None:
        if ran >= _FORGIVEN_AFTER:
            self._backoff.forgive()
        delay = self._backoff.delay()
        self._changed(
            f"container {self._container.name} {ending}; starts again after {delay:.0f} s"
        )
        await self._clock.sleep(delay)
        self._restarts += 1

    async def _watch(self, running: Running, ips: tuple[str, ...]) -> int | None:
        readiness = asyncio.create_task(self._follow_readiness(running, ips))
        try:
            return await running.exited()
        finally:
            readiness.cancel()
            await asyncio.gather(readiness, return_exceptions=True)

    async def _follow_readiness(self, running: Running, ips: tuple[str, ...]) -> None:
        await running.serving()
        if self._backoff.failures:  # who has just failed may fail again at once
            await self._clock.sleep(min(_DOUBTED_FOR, self._backoff.last))
        probe = self._container.readiness_probe
        if probe is None:
            self._set_ready(ready=True)
            return
        await self._clock.sleep(probe.initial_delay_seconds)
        row = 0  # successes in a row, or failures when below zero
        while True:
            passed = await self._starter.probe(self._container, probe, running, ips)
            row = max(row, 0) + 1 if passed else min(row, 0) - 1
            if row >= probe.success_threshold:
                self._set_ready(ready=True)
            elif row <= -probe.failure_threshold:
                self._set_ready(ready=False)
            # Until it is ready we ask often: a person is waiting for this pod.
            period = float(probe.period_seconds)
            await self._clock.sleep(period if self._ready else min(period, _RETRY_UNTIL_READY))

    def _set_ready(self, *, ready: bool) -> None:
        if ready != self._ready:
            self._ready = ready
            self._changed("")
