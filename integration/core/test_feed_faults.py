"""An API server that fails at random, for a while: at the end all is as after a fresh start.

    administrator ── random changes ──► API server ──► faulty server ──► feed under test
                                            │                └─────────► agent under test
                                            └────────────────► fresh feed, fresh agent

PODWIRE_FAULT_SECONDS says how long (make soak: ten minutes), PODWIRE_FAULT_SEED repeats a mixture.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from control_plane import ADDRESS, ControlPlane, control_plane
from faulty_server import URL, FaultyServer, faulty_server
from feed_reader import Reader
from plane_node import plane_node
from scratch import Netns, until

from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.cluster import ClusterFeed
from podwire_core.feed.transport import Patience
from podwire_core.nft.kernel import Kernel
from podwire_policy.policies import Policies
from podwire_proxy.services import TABLES

SECONDS = float(os.environ.get("PODWIRE_FAULT_SECONDS", "30"))
SEED = int(os.environ.get("PODWIRE_FAULT_SEED", str(random.randrange(1 << 32))))
SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
NODE = "node1"

pytestmark = pytest.mark.timeout(SECONDS + 300)


@dataclass
class Administrator:
    """Changes Services and their slices at random. What is called stay-N is never deleted."""

    plane: ControlPlane
    random: random.Random
    there: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    changes: int = 0

    def start(self) -> None:
        self.plane.request("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        for number in range(20):
            self._make(f"stay-{number}")

    def change(self) -> None:
        self.changes += 1
        name = self.random.choice(sorted(self.there))
        match self.random.randrange(6):
            case 0:
                self._make(f"fleeting-{self.changes}")
            case 1 if name.startswith("fleeting"):
                self.there.discard(name)
                self.deleted.add(name)
                for path in (SLICES, SERVICES):
                    self.plane.request("DELETE", f"{path}/{name}")
            case 2:
                ports = [{"name": "http", "port": self.random.randrange(80, 90)}]
                self.plane.request("PATCH", f"{SERVICES}/{name}", {"spec": {"ports": ports}})
            case _:
                endpoints = self._endpoints()
                self.plane.request("PATCH", f"{SLICES}/{name}", {"endpoints": endpoints})

    def _make(self, name: str) -> None:
        ports = [{"name": "http", "port": 80}]
        self.plane.request("POST", SERVICES, {"metadata": {"name": name}, "spec": {"ports": ports}})
        made = {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": self._endpoints(),
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
        self.plane.request("POST", SLICES, made)
        self.there.add(name)

    def _endpoints(self) -> list[dict[str, Any]]:
        numbers = self.random.sample(range(1, 250), self.random.randrange(5))
        return [{"addresses": [f"10.244.0.{number}"]} for number in numbers]


@dataclass
class Story:
    """What happened."""

    server: FaultyServer
    administrator: Administrator
    reader: Reader
    fresh: Reader
    agent: dict[str, Any]
    fresh_agent: dict[str, Any]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    print(f"PODWIRE_FAULT_SEED={SEED}, {SECONDS:.0f} s")
    folder = tmp_path_factory.mktemp("plane")
    with (
        control_plane(folder) as plane,
        faulty_server(plane, SEED) as server,
        plane_node(plane, 2) as node,
        plane_node(plane, 3) as fresh_node,
    ):
        administrator = Administrator(plane, random.Random(SEED))
        administrator.start()
        with (
            following(plane, URL) as reader,
            agent(plane, node, URL, folder) as ready,
        ):
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                administrator.change()
                reader.read(wait=administrator.random.uniform(0, 0.1))
            server.calm.set()
            address = f"https://{ADDRESS}:6443"
            with following(plane, address) as fresh:
                fresh.until("the fresh feed has read everything", lambda: fresh.synced)
                want = fresh.snapshot.changes()
                reader.until(
                    "the feed knows what a fresh one knows",
                    lambda: reader.snapshot.changes() == want,
                    seconds=90,
                )
                until("the agent is ready", ready, seconds=90)
                with agent(plane, fresh_node, address, folder) as fresh_ready:
                    until("the fresh agent is ready", fresh_ready)
                    wanted = in_force(fresh_node)
                    with_patience(node, wanted)
                    yield Story(server, administrator, reader, fresh, in_force(node), wanted)


@contextmanager
def following(plane: ControlPlane, address: str) -> Iterator[Reader]:
    with plane.netns.inside():
        server = ApiServer.connect(plane.kubeconfig, address, Patience(silence_s=4.0))
        feed = ClusterFeed(server)
    with feed:
        yield Reader(feed)


@contextmanager
def agent(plane: ControlPlane, node: Netns, address: str, folder: Path) -> Iterator[Any]:
    """An agent process; what is yielded says whether it is ready."""
    status = folder / f"{node.name}.json"
    command = [sys.executable, "-m", "podwire_node", "agent", "--node", NODE]
    command += ["--feed", "kubernetes", "--kubeconfig", str(plane.kubeconfig)]
    command += ["--api-server", address, "--status", str(status)]
    with (folder / f"{node.name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{node.name}", *command], stderr=log
        )

    def ready() -> bool:
        assert process.poll() is None, (folder / f"{node.name}.log").read_text()[-3000:]
        return status.exists() and '"ready": true' in status.read_text()

    try:
        yield ready
        assert process.poll() is None, "it lived to the end"
    finally:
        process.kill()
        process.wait()


def in_force(node: Netns) -> dict[str, Any]:
    """The kernel's tables, slots aside: who stays keeps its slot, so they tell a history."""
    with node.inside():
        state = Kernel().read([*TABLES, *Policies(NODE).tables])
    found: dict[str, Any] = {}
    for key, value in state.items():
        if len(key) == 5 and "endpoints-" in key[3]:
            frontend = " ".join([*key[:4], key[4].rpartition(" . ")[0]])
            found[frontend] = sorted([*found.get(frontend, []), value])
        else:
            found[" ".join(key)] = value
    return found


def with_patience(node: Netns, wanted: dict[str, Any]) -> None:
    """The agent may have to wait for the end of a back-off."""
    deadline = time.monotonic() + 60
    while in_force(node) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)


def test_the_server_did_fail_and_the_cluster_did_change(story: Story) -> None:
    print(f"{story.administrator.changes} changes, faults: {dict(story.server.faults)}")
    assert {"status", "cut"} <= story.server.faults.keys()
    assert story.administrator.changes > SECONDS


def test_the_feed_ends_where_a_fresh_one_begins(story: Story) -> None:
    assert story.reader.snapshot.changes() == story.fresh.snapshot.changes()
    assert story.reader.synced


def test_nothing_that_was_not_deleted_was_ever_taken_away(story: Story) -> None:
    assert story.reader.gone() <= story.administrator.deleted


def test_the_agents_kernel_ends_where_a_fresh_agents_begins(story: Story) -> None:
    assert story.agent == story.fresh_agent
    assert any("frontends" in key for key in story.agent)
