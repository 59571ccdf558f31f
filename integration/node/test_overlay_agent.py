"""Agents as processes on three nodes: routes, overlay and masquerade without a hand of ours.

integration/tools/three_nodes.py draws the nodes; they share one folder of objects.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scratch import took, until
from three_nodes import Site, node_address, node_object, pod_address, three_nodes, transfer

from podwire_core.family import FAMILIES
from podwire_core.objects import Node
from podwire_node.routes.overlay import DEVICE, mac_of

WORLD = "192.168.8.254"


@dataclass
class Cluster:
    """The drawing's nodes, and an agent on each."""

    site: Site
    folder: Path
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def put(self, node: Node) -> None:
        document = msgspec.to_builtins(node) | {"apiVersion": "v1", "kind": "Node"}
        hidden = self.folder / ".new"
        hidden.write_text(json.dumps(document))
        hidden.rename(self.folder / f"{node.name}.json")

    def start(self, name: str, *options: str) -> None:
        status = self._status(name)
        status.unlink(missing_ok=True)
        inside = ["nsenter", f"--net=/run/netns/{self.site[name].netns.name}"]
        command = [sys.executable, "-m", "podwire_node", "agent", "--node", name]
        command += ["--feed", str(self.folder), "--status", str(status), "--components", "cni"]
        with (self.folder.parent / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([*inside, *command, *options], stderr=log)
        self.agents[name] = process
        until(f"{name}'s agent is ready", lambda: self.status(name).get("ready", False))

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        agent = self.agents.pop(name)
        agent.send_signal(number)
        agent.wait(60)

    def status(self, name: str) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads(self._status(name).read_bytes())
            return found
        return {}

    def _status(self, name: str) -> Path:
        return self.folder.parent / f"{name}.status.json"

    def shown(self, name: str, *command: str) -> str:
        return self.site[name].netns.run(*command, check=False)

    def log(self, name: str) -> str:
        return (self.folder.parent / f"{name}.log").read_text()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "objects"
    folder.mkdir()
    with three_nodes(kept=False) as site:
        made = Cluster(site, folder)
        for name in site.machines:
            made.put(node_object(name))
        try:
            for name in site.machines:
                made.start(name)
            yield made
        finally:
            for agent in made.agents.values():
                agent.kill()
                agent.wait()


def reaches_everyone(cluster: Cluster) -> bool:
    names = cluster.site.machines
    return all(cluster.site.reaches(source, target) for source in names for target in names)


def test_pods_reach_pods_and_the_world(cluster: Cluster) -> None:
    site = cluster.site
    assert all(cluster.status(name)["problems"] == [] for name in site.machines)
    assert reaches_everyone(cluster)
    for family in FAMILIES:
        assert site.transfer("one", "three", family) == pod_address("one", family)
    seen = transfer(site["one"].pod, site.router, WORLD)
    assert seen == node_address("one", FAMILIES[0])


def test_a_killed_agent_leaves_the_overlay_and_a_new_one_takes_it_over(cluster: Cluster) -> None:
    def everything() -> str:
        lists = (
            ("ip", "-d", "link", "show", DEVICE),
            ("bridge", "fdb"),
            ("ip", "route"),
            ("ip", "-6", "route"),
            ("ip", "-6", "neigh", "show", "dev", DEVICE),
        )
        return "".join(cluster.shown("one", *command) for command in lists)

    before = everything()
    cluster.stop("one", signal.SIGKILL)
    assert reaches_everyone(cluster)
    watch = cluster.site["one"].netns.popen("ip", "monitor", "link", "route", "address")
    cluster.start("one")
    assert everything() == before
    watch.kill()
    assert watch.communicate()[0] == "", "nothing was sent"


def test_what_someone_deletes_is_back_within_a_second(cluster: Cluster) -> None:
    netns, three = cluster.site["one"].netns, pod_address("three", FAMILIES[0])
    for meddling in (
        f"ip link del {DEVICE}",
        f"bridge fdb del {mac_of('192.168.8.3')} dev {DEVICE}",
        f"ip neigh del 10.244.3.1 dev {DEVICE}",
        f"ip address flush dev {DEVICE}",
    ):
        waits = []
        for _ in range(3):
            netns.run(*meddling.split())
            fact = f"it is back after: {meddling}"
            waits.append(took(fact, lambda: cluster.site.ping("one", three)[0]))
        assert min(waits) < 3, (meddling, waits)
    until("both families are", lambda: cluster.site.reaches("one", "three"))


def test_a_node_that_moves_is_followed(cluster: Cluster) -> None:
    cluster.put(node_object("three", "192.168.8.33", "fd00:8::3"))
    fdb = f"{mac_of('192.168.8.33')} dev {DEVICE} dst 192.168.8.33"
    until("its new address is known", lambda: fdb in cluster.shown("one", "bridge", "fdb"))
    until(
        "its old one is forgotten",
        lambda: mac_of("192.168.8.3") not in cluster.shown("one", "bridge", "fdb"),
    )
    (cluster.folder / "three.json").unlink()
    until("its route is gone", lambda: "10.244.3.0/24" not in cluster.shown("one", "ip", "route"))


def test_routing_direct_names_who_is_too_far(cluster: Cluster) -> None:
    cluster.stop("one")
    cluster.start("one", "--routing", "direct", "--no-masquerade")
    problems = cluster.status("one")["problems"]
    assert any("10.244.3.0/24 via 192.168.8.3" in problem for problem in problems)
    assert cluster.shown("one", "ip", "link", "show", DEVICE) == ""
    assert cluster.site.reaches("one", "two")


def test_routing_vxlan_wraps_for_all(cluster: Cluster) -> None:
    for name in cluster.site.machines:
        cluster.stop(name)
        cluster.start(name, "--routing", "vxlan", "--vxlan-port", "4789", "--vxlan-id", "7")
    assert "10.244.2.0/24 via 10.244.2.1 dev" in cluster.shown("one", "ip", "route")
    assert "vxlan id 7" in cluster.shown("one", "ip", "-d", "link", "show", DEVICE)
    assert reaches_everyone(cluster)
