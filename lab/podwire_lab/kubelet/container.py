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
from datetime import UTC, datetime
from typing import Protocol

from podwire_core.backoff import Backoff
from podwire_lab.report import ContainerReport, Ended
from podwire_lab.workloads import LabContainer, Probe

_RETRY_UNTIL_READY = 1.0
#: Seconds between tries of whatever failed: the first, and the longest.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
#: A container that ran this long has earned a fresh back-off.
_FORGIVEN_AFTER = 120.0
#: One that has failed is ready after it ran as long as its back-off was, at most so long.
_DOUBTED_FOR = 10.0


class Clock:
    """The loop's timers. Tests bring their own."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def utc(self) -> str:
        """The time of day as the API writes it: RFC 3339, whole seconds."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

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
        self._backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        self._running: Running | None = None
        was = before or ContainerReport(container.name)
        self._restarts, self._ready = was.restarts, was.ready
        self._started_at, self._last, self._waiting = was.started_at, was.last, was.waiting
        self._over = was.over
        self._had_process = was.pid != 0
        self._lost = False

    @property
    def report(self) -> ContainerReport:
        """How it stands now."""
        running = self._running
        return ContainerReport(
            name=self._container.name,
            pid=running.pid if running else 0,
            restarts=self._restarts,
            ready=self._ready and running is not None,
            command=running.command if running else (),
            started_at=self._started_at if running else "",
            last=self._last,
            waiting="" if running else self._waiting,
        )

    def adopt(self) -> None:
        """Take over the process that runs already.

        One that is gone has ended, with a code that nobody knows: it is not simply started,
        because what is to run once (restartPolicy Never) would run twice.
        """
        if self._over:
            return
        self._running = self._starter.find(self._container)
        self._lost = self._running is None and (
            self._had_process or self._restart_policy == "Never"
        )
        if self._running is None and self._waiting:
            self._restarts += 1  # its pause is over: no one waited for its end

    def skip(self) -> None:
        """Nothing to run here: it has ended well."""
        now = self._clock.utc()
        self._last = Ended(0, "Completed", now, now, "this machine does not have its command")

    async def keep(self, ips: tuple[str, ...]) -> int | None:
        """Run it until it has ended for good; its last exit code."""
        if self._over and self._last is not None:
            return self._last.code
        while True:
            started = self._clock.now()
            ended = await self._run_once(ips)
            self._last = ended
            again = self._restart_policy == "Always" or (
                self._restart_policy == "OnFailure" and ended.code != 0
            )
            said = f"container {self._container.name} {ended.message}"
            if not again:
                self._changed("" if ended.code == 0 else said)
                return ended.code
            await self._pause(said, self._clock.now() - started)

    async def _run_once(self, ips: tuple[str, ...]) -> Ended:
        """One run, from its start or its being taken over, until it ended."""
        if self._lost:
            self._lost = False
            return self._ended(None, "ended while no runner was there")
        if self._running is None:
            try:
                self._running = self._starter.start(self._container, ips)
            except (OSError, ValueError) as error:
                now = self._clock.utc()
                return Ended(128, "StartError", now, now, f"does not start: {error}")
            self._ready, self._waiting, self._started_at = False, "", self._clock.utc()
        try:
            self._changed("")
            code = await self._watch(self._running, ips)
        finally:
            self._running = None
        return self._ended(code, f"exited with {'an unknown code' if code is None else code}")

    def _ended(self, code: int | None, words: str) -> Ended:
        reasons = {None: "ContainerStatusUnknown", 0: "Completed"}
        return Ended(code, reasons.get(code, "Error"), self._started_at, self._clock.utc(), words)

    async def _pause(self, said: str, ran: float) -> None:
        if ran >= _FORGIVEN_AFTER:
            self._backoff.succeeded()
        delay = self._backoff.failed(0.0)  # so `until` is the delay itself
        self._waiting = "CrashLoopBackOff"
        self._changed(f"{said}; starts again after {delay:.0f} s")
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
        if self._backoff.until:  # who has just failed may fail again at once
            await self._clock.sleep(min(_DOUBTED_FOR, self._backoff.until))
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
