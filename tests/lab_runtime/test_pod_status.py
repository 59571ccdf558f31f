"""What the API is told of a pod, from the node's report of it."""

from typing import Any

import msgspec
import pytest

from podwire_lab.kubelet import pod_status
from podwire_lab.report import ContainerReport, Ended, Phase, PodReport
from podwire_lab.workloads import LabPod

NOW = "2026-01-01T00:00:09Z"
BEFORE = "2026-01-01T00:00:01Z"
HOST = ("192.168.100.11", "fd00::11")
IPS = ("10.244.1.5", "fd00:10:244:1::5")
WELL = Ended(0, "Completed", BEFORE, NOW, "exited with 0")
BADLY = Ended(3, "Error", BEFORE, NOW, "exited with 3")
UNSEEN = Ended(None, "ContainerStatusUnknown", BEFORE, NOW, "ended while no runner was there")


def pod(status: dict[str, Any] | None = None, **spec: Any) -> LabPod:
    row = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "generation": 2},
        "spec": {"nodeName": "node1", "containers": [{"name": "main", "image": "i"}], **spec},
        "status": status or {},
    }
    return msgspec.convert(row, LabPod)


def report(*rows: ContainerReport, phase: Phase = Phase.RUNNING, **more: Any) -> PodReport:
    return PodReport("shop", "web", "u1", phase, IPS, containers=rows, started_at=BEFORE, **more)


def composed(the_report: PodReport, the_pod: LabPod | None = None) -> dict[str, Any]:
    return pod_status.compose(the_pod or pod(), the_report, HOST, {}, NOW)


def main_state(row: ContainerReport, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    (main,) = composed(report(row, **more))["containerStatuses"]
    return main["state"], main["lastState"]


@pytest.mark.parametrize(
    ("row", "state", "detail", "last"),
    [
        pytest.param(
            ContainerReport("main"),
            "waiting",
            ("reason", "ContainerCreating"),
            None,
            id="not begun",
        ),
        pytest.param(
            ContainerReport("main", pid=7, started_at=BEFORE),
            "running",
            ("startedAt", BEFORE),
            None,
            id="runs",
        ),
        pytest.param(
            ContainerReport("main", pid=7, started_at=BEFORE, restarts=1, last=BADLY),
            "running",
            ("startedAt", BEFORE),
            3,
            id="runs again",
        ),
        pytest.param(
            ContainerReport("main", last=BADLY, waiting="CrashLoopBackOff"),
            "waiting",
            ("reason", "CrashLoopBackOff"),
            3,
            id="waits after a failure",
        ),
        pytest.param(
            ContainerReport("main", last=WELL), "terminated", ("exitCode", 0), None, id="ended well"
        ),
        pytest.param(
            ContainerReport("main", last=UNSEEN),
            "terminated",
            ("exitCode", 137),
            None,
            id="ended and nobody saw how",
        ),
    ],
)
def test_a_container_s_state(
    row: ContainerReport, state: str, detail: tuple[str, Any], last: int | None
) -> None:
    now, before = main_state(row)
    assert list(now) == [state]
    assert now[state][detail[0]] == detail[1]
    assert before.get("terminated", {}).get("exitCode") == last


def test_a_run_keeps_its_id_when_it_has_ended() -> None:
    (runs,) = composed(report(ContainerReport("main", pid=7, started_at=BEFORE)))[
        "containerStatuses"
    ]
    (ended,) = composed(report(ContainerReport("main", last=WELL)))["containerStatuses"]
    assert runs["containerID"] == ended["containerID"]
    assert ended["state"]["terminated"]["containerID"] == ended["containerID"]


@pytest.mark.parametrize(
    ("the_report", "expected"),
    [
        pytest.param(
            PodReport("shop", "web", "u1"), "False False False False", id="pending, no sandbox"
        ),
        pytest.param(
            report(ContainerReport("main"), phase=Phase.PENDING),
            "True False False False",
            id="sandbox made",
        ),
        pytest.param(
            report(ContainerReport("main", pid=7)), "True True False False", id="runs, not ready"
        ),
        pytest.param(
            report(ContainerReport("main", pid=7, ready=True), ready=True),
            "True True True True",
            id="ready",
        ),
        pytest.param(
            report(ContainerReport("main", last=WELL), phase=Phase.SUCCEEDED),
            "False True False False",
            id="succeeded",
        ),
    ],
)
def test_conditions_follow_the_pod_s_life(the_report: PodReport, expected: str) -> None:
    rows = composed(the_report)["conditions"]
    assert [row["type"] for row in rows] == [
        "PodReadyToStartContainers",
        "Initialized",
        "ContainersReady",
        "Ready",
    ]
    assert " ".join(row["status"] for row in rows) == expected


def test_a_condition_s_time_moves_only_when_its_status_does() -> None:
    before = {"Ready": ("False", BEFORE), "ContainersReady": ("True", BEFORE)}
    ready = report(ContainerReport("main", pid=7, ready=True), ready=True)
    rows = pod_status.compose(pod(), ready, HOST, before, NOW)["conditions"]
    times = {row["type"]: row["lastTransitionTime"] for row in rows}
    assert (times["Ready"], times["ContainersReady"]) == (NOW, BEFORE)


def test_a_readiness_gate_is_waited_for() -> None:
    ready = report(ContainerReport("main", pid=7, ready=True), ready=True)
    gates = [{"conditionType": "example.com/gate"}]
    closed = composed(ready, pod(readinessGates=gates))["conditions"]
    assert [row["status"] for row in closed[2:]] == ["True", "False"]
    assert "example.com/gate" in closed[3]["message"]
    holds = {"conditions": [{"type": "example.com/gate", "status": "True"}]}
    opened = composed(ready, pod(holds, readinessGates=gates))["conditions"]
    assert opened[3]["status"] == "True"


def test_sidecars_stand_among_the_init_containers_and_completed_ones_are_ready() -> None:
    inits = [{"name": "first"}, {"name": "side", "restartPolicy": "Always"}]
    rows = (ContainerReport("main", pid=7), ContainerReport("side", pid=8, ready=True))
    told = report(*rows, init_containers=(ContainerReport("first", last=WELL),))
    status = composed(told, pod(initContainers=inits))
    assert [row["name"] for row in status["containerStatuses"]] == ["main"]
    assert [(row["name"], row["ready"]) for row in status["initContainerStatuses"]] == [
        ("first", True),
        ("side", True),
    ]


def test_the_start_s_time_stays_what_the_api_says() -> None:
    status = composed(report(ContainerReport("main")), pod({"startTime": "2020-01-01T00:00:00Z"}))
    assert status["startTime"] == "2020-01-01T00:00:00Z"


def test_addresses_replace_those_of_an_earlier_sandbox() -> None:
    status = composed(report(ContainerReport("main")))
    assert status["podIPs"] == [{"$patch": "replace"}, *({"ip": ip} for ip in IPS)]
    assert status["podIP"] == IPS[0]


def as_the_api_holds(patch: Any) -> Any:
    """What the API server makes of a patch: directives and nulls are not stored."""
    if isinstance(patch, dict):
        return {key: as_the_api_holds(row) for key, row in patch.items() if row is not None}
    if isinstance(patch, list):
        return [as_the_api_holds(row) for row in patch if row != {"$patch": "replace"}]
    return patch


def test_what_the_api_says_already_is_not_told_again() -> None:
    status = composed(report(ContainerReport("main", pid=7, started_at=BEFORE)))
    held = as_the_api_holds(status)
    held["conditions"].insert(0, {"type": "PodScheduled", "status": "True"})
    held["qosClass"] = "BestEffort"
    assert pod_status.covers(held, status)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        pytest.param("phase", "Failed", id="phase"),
        pytest.param("podIPs", [{"ip": IPS[0]}], id="an address less"),
        pytest.param("conditions", [], id="no conditions"),
        pytest.param("message", "old", id="a message that is over"),
        pytest.param("containerStatuses", [], id="no containers"),
    ],
)
def test_what_the_api_says_otherwise_is_told(change: str, value: Any) -> None:
    status = composed(report(ContainerReport("main", pid=7, started_at=BEFORE)))
    assert not pod_status.covers(as_the_api_holds(status) | {change: value}, status)


def test_an_unusable_pod_waits_with_what_is_wrong() -> None:
    status = pod_status.unusable([("main", "i")], "spec.x: is odd", {}, NOW)
    assert status["containerStatuses"][0]["state"]["waiting"] == {
        "reason": "Unusable",
        "message": "spec.x: is odd",
    }
    assert status["conditions"][0]["status"] == "False"


@pytest.mark.parametrize("port", [0, 70000, -1])
def test_a_probe_s_port_is_a_port(port: int) -> None:
    for probe in ({"tcpSocket": {"port": port}}, {"httpGet": {"port": port}}):
        with pytest.raises(msgspec.ValidationError, match="port"):
            pod(containers=[{"name": "main", "readinessProbe": probe}])
