"""A node registers, says how it is, and keeps its lease, whatever the server answers."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire_core.feed.api_server import ApiError
from podwire_lab.kubelet import node_object
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.networks import InstalledNetwork
from podwire_lab.kubelet.node_keeper import NodeKeeper
from podwire_lab.kubelet.node_object import HostFacts
from podwire_lab.kubelet.requests import Requests
from podwire_lab.topology import plan_lab

NODE = plan_lab("lab", 1).nodes[0]
HOST = HostFacts(2, 4096, 8192, "6.1.0", "Debian", "boot", "amd64")
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
NOW, BEFORE = "2026-01-01T00:00:09Z", "2026-01-01T00:00:01Z"


def ready(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["type"] == "Ready")


def test_a_node_is_ready_when_its_network_is() -> None:
    row = ready(node_object.conditions("", {}, NOW))
    assert (row["status"], row["reason"]) == ("True", "KubeletReady")
    row = ready(node_object.conditions("nothing installed", {}, NOW))
    assert (row["status"], row["reason"]) == ("False", "KubeletNotReady")
    assert "NetworkPluginNotReady message:nothing installed" in row["message"]


def test_a_heartbeat_moves_no_transition() -> None:
    row = ready(node_object.conditions("", {"Ready": ("True", BEFORE)}, NOW))
    assert (row["lastHeartbeatTime"], row["lastTransitionTime"]) == (NOW, BEFORE)
    row = ready(node_object.conditions("", {"Ready": ("False", BEFORE)}, NOW))
    assert row["lastTransitionTime"] == NOW


def test_what_belongs_to_the_network_is_left_to_it() -> None:
    kinds = {row["type"] for row in node_object.conditions("", {}, NOW)}
    assert kinds == {"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"}


def test_a_node_s_addresses_are_of_both_families() -> None:
    rows = node_object.status(NODE, HOST, "", {}, NOW)["addresses"]
    assert rows[0] == {"$patch": "replace"}
    assert [row["address"] for row in rows[1:]] == [*NODE.ips, NODE.name]


class Server:
    """An API server of one Node and its lease."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}
        self.leases: dict[str, Any] = {}
        self.asked: list[str] = []
        self.failures: list[ApiError] = []

    def send(self, method: str, path: str, body: Any = None, kind: str = "") -> bytes:
        assert kind
        self.asked.append(f"{method} {path}")
        if self.failures:
            raise self.failures.pop(0)
        there = self.leases if path.startswith(LEASES) else self.nodes
        if method == "POST":
            if there:
                raise ApiError(409, "is there")
            there |= {**body, "metadata": {**body["metadata"], "uid": "u1"}}
        elif not there:
            raise ApiError(404, "is not there")
        else:
            there |= {key: row for key, row in body.items() if key != "metadata"}
        return msgspec.json.encode(there)


class Steps(Clock):
    """Time stands still until a test lets it go on."""

    def __init__(self) -> None:
        self.waits: list[tuple[float, asyncio.Event]] = []

    def utc(self) -> str:
        return NOW

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        self.waits.append((seconds, event))
        await event.wait()

    def over(self, at_most: float) -> None:
        for seconds, event in self.waits:
            if seconds <= at_most:
                event.set()


async def until(holds: Any) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("never came true")


def keep(folder: Path, server: Server, story: Any) -> None:
    async def run() -> None:
        network, clock = InstalledNetwork(folder), Steps()
        task = asyncio.create_task(NodeKeeper(Requests(server), NODE, network, clock).keep())
        try:
            await story(clock)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            network.close()

    asyncio.run(run())


def test_a_node_registers_and_becomes_ready_when_a_network_is_installed(tmp_path: Path) -> None:
    server = Server()

    async def story(_: Steps) -> None:
        await until(lambda: server.leases)
        assert ready(server.nodes["status"]["conditions"])["status"] == "False"
        (tmp_path / "10-x.conflist").write_text('{"name": "x", "plugins": [{"type": "x"}]}')
        await until(lambda: ready(server.nodes["status"]["conditions"])["status"] == "True")

    keep(tmp_path, server, story)
    assert server.nodes["metadata"]["labels"]["kubernetes.io/hostname"] == NODE.name
    assert server.leases["spec"]["renewTime"] == "2026-01-01T00:00:09.000000Z"


def test_a_node_that_is_there_is_taken_over_with_its_times(tmp_path: Path) -> None:
    server = Server()
    row = {"type": "Ready", "status": "False", "lastTransitionTime": BEFORE}
    server.nodes = {"metadata": {"uid": "u0"}, "status": {"conditions": [row]}}

    async def story(_: Steps) -> None:
        await until(lambda: server.leases)
        await until(lambda: "nodeInfo" in server.nodes["status"])

    keep(tmp_path, server, story)
    assert ready(server.nodes["status"]["conditions"])["lastTransitionTime"] == BEFORE
    assert server.leases["metadata"]["ownerReferences"][0]["uid"] == "u0"


def test_a_lease_is_renewed_and_comes_back_with_its_node(tmp_path: Path) -> None:
    server = Server()

    async def story(clock: Steps) -> None:
        await until(lambda: server.leases)
        server.nodes, server.leases = {}, {}
        clock.over(10)
        await until(lambda: server.leases and server.nodes)

    keep(tmp_path, server, story)


def test_a_server_that_is_away_is_asked_again(tmp_path: Path) -> None:
    server = Server()
    server.failures = [ApiError(0, "away"), ApiError(403, "not yet")]

    async def story(clock: Steps) -> None:
        for tries in (1, 2):
            await until(lambda tries=tries: len(clock.waits) == tries)
            clock.over(10)
        await until(lambda: server.leases)

    keep(tmp_path, server, story)
