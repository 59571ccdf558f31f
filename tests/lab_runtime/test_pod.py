"""A pod's life as its reports tell it, on a machine and a clock that are not there."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import pytest

from podwire_lab.kubelet.cni_client import CniError
from podwire_lab.kubelet.pod import PodKeeper
from podwire_lab.report import ContainerReport, Ended, Phase, PodReport
from podwire_lab.workloads import LONGEST_GRACE, LabContainer, LabPod, Probe

IPS = ("10.244.1.5", "fd00:10:244:1::5")


class FakeClock:
    def __init__(self) -> None:
        self.time = 0.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    def utc(self) -> str:
        return f"at {self.time:.0f}"

    async def sleep(self, seconds: float) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.time + seconds, sleeper))
        await sleeper

    async def forward(self, seconds: float) -> None:
        self.time += seconds
        for due, sleeper in self.sleepers:
            if due <= self.time and not sleeper.done():
                sleeper.set_result(None)
        await settle()


class FakeRunning:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.command = ("fake",)
        self.exit: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.told = asyncio.Event()

    async def serving(self) -> None:
        await self.told.wait()

    async def exited(self) -> int | None:
        return await asyncio.shield(self.exit)


@dataclass
class FakeMachine:
    lacks: set[str] = field(default_factory=set)
    make_errors: list[Exception] = field(default_factory=list)
    start_errors: list[Exception] = field(default_factory=list)
    probe_answers: dict[str, bool] = field(default_factory=dict)
    reports: list[PodReport | None] = field(default_factory=list)
    started: list[tuple[str, FakeRunning]] = field(default_factory=list)
    from_before: dict[str, FakeRunning] = field(default_factory=dict)
    standing: bool = False
    clears: int = 0
    patience: float = 3
    graces: list[float] = field(default_factory=list)
    network: str = ""
    network_came: asyncio.Event = field(default_factory=asyncio.Event)

    def network_problem(self) -> str:
        return self.network

    async def network_ready(self) -> None:
        await self.network_came.wait()

    def stands(self) -> bool:
        return self.standing

    async def make(self) -> tuple[str, ...]:
        await asyncio.sleep(0)
        if self.make_errors:
            raise self.make_errors.pop(0)
        self.standing = True
        return IPS

    async def clear(self, grace: float) -> None:
        await asyncio.sleep(0)
        assert 0 <= grace <= self.patience
        self.graces.append(grace)
        self.clears += 1
        self.standing = False

    def runs(self, container: LabContainer) -> bool:
        return container.name not in self.lacks

    def start(self, container: LabContainer, ips: tuple[str, ...]) -> FakeRunning:
        assert ips == IPS
        if self.start_errors:
            raise self.start_errors.pop(0)
        running = FakeRunning(100 + len(self.started))
        self.started.append((container.name, running))
        return running

    def find(self, container: LabContainer) -> FakeRunning | None:
        return self.from_before.get(container.name)

    async def probe(
        self, container: LabContainer, _probe: Probe, _running: object, _ips: tuple[str, ...]
    ) -> bool:
        return self.probe_answers[container.name]

    def tell(self, report: PodReport | None) -> None:
        self.reports.append(report)

    @property
    def last(self) -> PodReport:
        report = self.reports[-1]
        assert report is not None
        return report


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def pod(**spec: object) -> LabPod:
    row = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
        "spec": {"nodeName": "node1", "containers": [{"name": "main"}], **spec},
    }
    return msgspec.convert(row, LabPod)


def live(
    story: Callable[[PodKeeper, FakeMachine, FakeClock], Awaitable[None]],
    the_pod: LabPod,
    machine: FakeMachine | None = None,
    before: PodReport | None = None,
) -> None:
    """Run a story with a keeper whose task is there while it lasts."""

    async def run() -> None:
        world, clock = machine or FakeMachine(), FakeClock()
        keeper = PodKeeper(the_pod, world, clock, before)
        task = asyncio.create_task(keeper.keep())
        await settle()
        try:
            await story(keeper, world, clock)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())


def test_a_pod_is_pending_then_running_then_ready() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        assert machine.reports[0] == PodReport(
            "shop", "web", "u1", containers=machine.reports[0].containers, started_at="at 0"
        )
        assert (machine.last.phase, machine.last.ready) == (Phase.RUNNING, False)
        machine.started[0][1].told.set()
        await settle()
        assert (machine.last.ready, machine.last.pod_ips) == (True, IPS)
        assert machine.last.containers[0].pid == 100

    live(story, pod())


def test_a_report_is_told_only_when_it_says_something_new() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        machine.started[0][1].told.set()
        await clock.forward(1000)
        told = machine.reports
        assert all(one != other for one, other in pairwise(told))

    live(story, pod())


def test_a_refused_network_is_in_the_report_and_tried_again_with_back_off() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        assert machine.last.message == "CNI ADD: full; tries again after 1 s"
        await clock.forward(1)
        assert machine.last.message == "CNI ADD: full; tries again after 2 s"
        await clock.forward(1)
        assert machine.started == []
        await clock.forward(1)
        assert machine.last.phase is Phase.RUNNING
        machine.started[0][1].told.set()
        await settle()
        assert machine.last.message == ""

    live(story, pod(), FakeMachine(make_errors=[CniError("CNI ADD: full")] * 2))


def test_a_container_that_exits_starts_again_with_doubling_delays_up_to_a_minute() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        for restarts, delay in enumerate([1, 2, 4, 8, 16, 32, 60, 60]):
            assert len(machine.started) == restarts + 1
            machine.started[-1][1].exit.set_result(1)
            await settle()
            assert (
                machine.last.message
                == f"container main exited with 1; starts again after {delay} s"
            )
            assert machine.last.ready is False
            await clock.forward(delay - 0.5)
            assert len(machine.started) == restarts + 1
            await clock.forward(0.5)
            assert machine.last.containers[0].restarts == restarts + 1

    live(story, pod())


def test_a_container_that_failed_is_ready_only_after_it_ran_as_long_as_its_back_off() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        machine.started[-1][1].told.set()
        await settle()
        assert machine.last.ready
        for delay in (1, 2):
            machine.started[-1][1].exit.set_result(1)
            await clock.forward(0)
            assert not machine.last.ready
            await clock.forward(delay)
            machine.started[-1][1].told.set()
            await settle()
            await clock.forward(delay - 0.5)
            assert not machine.last.ready
        await clock.forward(0.5)
        assert (machine.last.ready, machine.last.message) == (True, "")

    live(story, pod())


def test_a_container_that_ran_for_long_is_forgiven() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        machine.started[-1][1].exit.set_result(1)
        await settle()
        await clock.forward(1)
        await clock.forward(500)
        machine.started[-1][1].exit.set_result(1)
        await settle()
        assert machine.last.message.endswith("starts again after 1 s")

    live(story, pod())


def test_a_command_that_cannot_start_is_named() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        assert machine.last.message == "container main does not start: no; starts again after 1 s"
        await clock.forward(1)
        assert len(machine.started) == 1

    live(story, pod(), FakeMachine(start_errors=[OSError("no")]))


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        pytest.param("Never", 0, Phase.SUCCEEDED, id="never-and-well"),
        pytest.param("Never", 3, Phase.FAILED, id="never-and-badly"),
        pytest.param("Never", None, Phase.FAILED, id="never-and-nobody-knows"),
        pytest.param("OnFailure", 0, Phase.SUCCEEDED, id="on-failure-and-well"),
        pytest.param("OnFailure", 3, Phase.RUNNING, id="on-failure-and-badly-goes-on"),
        pytest.param("Always", 0, Phase.RUNNING, id="always-goes-on"),
    ],
)
def test_restart_policy_decides_what_an_exit_means(
    policy: str, code: int | None, phase: Phase
) -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        machine.started[0][1].exit.set_result(code)
        await settle()
        assert machine.last.phase is phase
        assert machine.standing is (phase is Phase.RUNNING)

    live(story, pod(restartPolicy=policy))


def test_init_containers_run_in_order_before_the_others() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        assert [name for name, _ in machine.started] == ["first"]
        assert machine.last.phase is Phase.PENDING
        machine.started[0][1].exit.set_result(0)
        await settle()
        assert [name for name, _ in machine.started] == ["first", "third", "main"][:2]
        machine.started[1][1].exit.set_result(0)
        await settle()
        assert [name for name, _ in machine.started] == ["first", "third", "main"]

    inits = [{"name": "first"}, {"name": "second"}, {"name": "third"}]
    live(story, pod(initContainers=inits), FakeMachine(lacks={"second"}))


def test_an_init_container_that_fails_for_good_fails_the_pod() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        machine.started[0][1].exit.set_result(2)
        await settle()
        assert machine.last.phase is Phase.FAILED
        assert machine.last.message == "container first exited with 2"

    live(story, pod(initContainers=[{"name": "first"}], restartPolicy="Never"))


def test_a_sidecar_runs_beside_and_does_not_keep_a_finished_pod_alive() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        running = dict(machine.started)
        assert set(running) == {"main", "side"}
        running["main"].exit.set_result(0)
        await settle()
        assert machine.last.phase is Phase.SUCCEEDED

    side = [{"name": "side", "restartPolicy": "Always"}]
    live(story, pod(initContainers=side, restartPolicy="Never"))


def test_a_readiness_probe_decides_after_its_thresholds() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        machine.started[0][1].told.set()
        await settle()
        assert machine.last.ready is False
        machine.probe_answers["main"] = True
        await clock.forward(1)
        assert machine.last.ready is True
        machine.probe_answers["main"] = False
        await clock.forward(5)
        assert machine.last.ready is True, "one failure of two"
        await clock.forward(5)
        assert machine.last.ready is False

    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 5, "failureThreshold": 2}
    containers = [{"name": "main", "readinessProbe": probe}]
    live(story, pod(containers=containers), FakeMachine(probe_answers={"main": False}))


def test_stopping_leaves_nothing_and_says_so() -> None:
    async def story(keeper: PodKeeper, machine: FakeMachine, _: FakeClock) -> None:
        keeper.stop()
        await settle()
        assert machine.reports[-1] is None
        assert (machine.clears, machine.standing) == (1, False)

    live(story, pod())


def test_stopping_while_the_network_is_refused_ends_the_pod() -> None:
    async def story(keeper: PodKeeper, machine: FakeMachine, _: FakeClock) -> None:
        keeper.stop()
        await settle()
        assert machine.reports[-1] is None

    live(story, pod(), FakeMachine(make_errors=[CniError("full")]))


def test_a_new_runner_takes_over_what_runs_and_restarts_nothing() -> None:
    told: list[PodReport] = []

    async def first_life(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        machine.started[0][1].told.set()
        await settle()
        told.append(machine.last)

    async def second_life(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        assert machine.started == []
        assert machine.last.containers[0].pid == 77
        assert (machine.last.ready, machine.last.pod_ips) == (True, IPS)

    live(first_life, pod())

    async def run() -> None:
        machine = FakeMachine(standing=True, from_before={"main": FakeRunning(77)})
        keeper = PodKeeper(pod(), machine, FakeClock(), told[0])
        task = asyncio.create_task(keeper.keep())
        await settle()
        await second_life(keeper, machine, FakeClock())
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_half_made_pod_is_made_anew_by_a_new_runner() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        assert (machine.last.phase, machine.last.pod_ips) == (Phase.RUNNING, IPS)

    live(story, pod(), FakeMachine(standing=True), PodReport("shop", "web", "u1"))


def test_a_finished_pod_is_not_run_again_by_a_new_runner() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        assert machine.started == []

    before = PodReport("shop", "web", "u1", phase=Phase.SUCCEEDED)
    live(story, pod(restartPolicy="Never"), None, before)


@pytest.mark.parametrize(
    ("policy", "phase", "started"),
    [
        pytest.param("Always", Phase.RUNNING, 1, id="always starts again after a back-off"),
        pytest.param("Never", Phase.FAILED, 0, id="never does not run twice"),
    ],
)
def test_a_container_that_ended_while_no_runner_was_there(
    policy: str, phase: Phase, started: int
) -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        assert machine.started == []
        await clock.forward(1)
        assert (machine.last.phase, len(machine.started)) == (phase, started)
        assert machine.last.containers[0].restarts == started

    row = ContainerReport("main", pid=77, ready=True)
    before = PodReport("shop", "web", "u1", Phase.RUNNING, IPS, ready=True, containers=(row,))
    live(story, pod(restartPolicy=policy), FakeMachine(standing=True), before)


def test_a_report_tells_how_a_run_began_and_how_the_last_one_ended() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        assert machine.last.containers[0].started_at == "at 0"
        await clock.forward(5)
        machine.started[0][1].exit.set_result(3)
        await settle()
        row = machine.last.containers[0]
        assert row.last == Ended(3, "Error", "at 0", "at 5", "exited with 3")
        assert (row.waiting, row.started_at, row.over) == ("CrashLoopBackOff", "", False)
        await clock.forward(1)
        row = machine.last.containers[0]
        assert (row.waiting, row.started_at, row.last is not None) == ("", "at 6", True)

    live(story, pod())


def test_a_command_that_cannot_start_has_ended_in_the_report() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        last = machine.last.containers[0].last
        assert last is not None
        assert (last.code, last.reason) == (128, "StartError")

    live(story, pod(restartPolicy="Never"), FakeMachine(start_errors=[OSError("no")]))


def test_init_containers_are_in_the_report_and_what_the_machine_lacks_is_done() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        machine.started[0][1].exit.set_result(0)
        await settle()
        rows = machine.last.init_containers
        assert [(row.name, row.over) for row in rows] == [("first", True), ("second", True)]

    inits = [{"name": "first"}, {"name": "second"}]
    live(story, pod(initContainers=inits), FakeMachine(lacks={"second"}))


def test_a_pod_waits_for_the_network_and_begins_as_soon_as_it_is_there() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, clock: FakeClock) -> None:
        assert machine.last.message == "network not ready: no conflist"
        await clock.forward(1000)
        assert machine.started == []
        machine.network = ""
        machine.network_came.set()
        await settle()
        assert (machine.last.phase, machine.last.message) == (Phase.RUNNING, "")

    live(story, pod(), FakeMachine(network="no conflist"))


@pytest.mark.parametrize(
    ("asked", "grace"), [(None, 3.0), ("20", 20.0), ("60", 30.0), ("soon", 3.0), ("-1", 3.0)]
)
def test_a_pod_goes_quickly_unless_its_author_says_that_a_lab_shall_wait(
    asked: str | None, grace: float
) -> None:
    async def story(keeper: PodKeeper, machine: FakeMachine, _: FakeClock) -> None:
        machine.patience = 60
        keeper.stop(30.0)
        await settle()
        assert machine.graces == [grace]

    plain = pod(terminationGracePeriodSeconds=30)
    annotations = {LONGEST_GRACE: asked} if asked else None
    metadata = msgspec.structs.replace(plain.metadata, annotations=annotations)
    live(story, msgspec.structs.replace(plain, metadata=metadata))


def test_whoever_deletes_a_pod_says_how_long_it_may_take() -> None:
    async def story(keeper: PodKeeper, machine: FakeMachine, _: FakeClock) -> None:
        keeper.stop(1.0)
        await settle()
        assert machine.graces == [1.0]

    live(story, pod(terminationGracePeriodSeconds=30))


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_a_container_that_ended_for_good_is_not_run_again_by_a_new_runner(policy: str) -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        assert machine.started == []
        assert machine.last.phase is Phase.RUNNING
        assert machine.last.containers[0].over

    done = ContainerReport("main", last=Ended(0, "Completed", "at 0", "at 1"))
    rows = (done, ContainerReport("other", pid=77))
    before = PodReport("shop", "web", "u1", Phase.RUNNING, IPS, containers=rows)
    containers = [{"name": "main"}, {"name": "other"}]

    async def run() -> None:
        machine = FakeMachine(standing=True, from_before={"other": FakeRunning(77)})
        spec = pod(containers=containers, restartPolicy=policy)
        task = asyncio.create_task(PodKeeper(spec, machine, FakeClock(), before).keep())
        await settle()
        await story(PodKeeper(spec, machine, FakeClock(), before), machine, FakeClock())
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_container_that_waited_to_start_again_is_started_and_counted_by_a_new_runner() -> None:
    async def story(_: PodKeeper, machine: FakeMachine, __: FakeClock) -> None:
        assert len(machine.started) == 1
        assert machine.last.containers[0].restarts == 3

    last = Ended(1, "Error", "at 0", "at 1")
    row = ContainerReport("main", restarts=2, last=last, waiting="CrashLoopBackOff")
    before = PodReport("shop", "web", "u1", Phase.RUNNING, IPS, containers=(row,))
    live(story, pod(), FakeMachine(standing=True), before)
