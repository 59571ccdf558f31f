"""The agent with exactly the account that deploy/ gives it: enough, and nothing over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import account
import bpf_place
import cluster_policy_kind
import kernel_features
import pytest
import rendered
from account import Permission
from control_plane import ADDRESS, ControlPlane
from rendered import DEPLOY, OVERLAYS
from scratch import until

from podwire_node.reports.events import REPEAT_S

NODE = "node1"
RULES = 9  # of the overlay all
DISPENSABLE = {"servicecidrs"}
EVENTS = "/api/v1/events"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    # Servers that stream lists are never asked for one; others are, until 1.34 by default.
    lists = "--feature-gates=WatchList=false"
    with account.audited(tmp_path_factory.mktemp("plane"), lists) as made:
        cluster_policy_kind.teach(made)
        _make_objects(made)
        yield made


class Agent:
    """`podwire agent` with an overlay's settings, but for `more`, as the account."""

    def __init__(
        self, plane: ControlPlane, overlay: str, folder: Path, more: Mapping[str, str]
    ) -> None:
        self.log = folder / "agent.log"
        self._status = folder / "status.json"
        environ = {
            "NODE_NAME": NODE,
            "PODWIRE_CONFIG": str(DEPLOY / "overlays" / overlay / "config.yaml"),
            "PODWIRE_KUBECONFIG": str(account.kubeconfig(plane, folder / "kubeconfig", NODE)),
            "PODWIRE_STATUS": str(self._status),
            "PODWIRE_CNI_CONF_DIR": str(folder / "net.d"),
            "PODWIRE_CNI_STATE_DIR": str(folder / "cni"),
            # The client is C, and no one calls it here.
            "PODWIRE_CNI_PLUGIN": "podwire-cni",
            "PODWIRE_CNI_SOCKET": str(folder / "cni.sock"),
            **more,
        }
        enter = ("nsenter", f"--net=/run/netns/{plane.netns.name}")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*enter, sys.executable, "-m", "podwire_node", "agent", "--cni-bin-dir="],
                env={**os.environ, **environ},
                stderr=log,
            )

    @property
    def status(self) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            return json.loads(self._status.read_text())  # type: ignore[no-any-return]  # the agent's own
        return {}

    @property
    def said(self) -> str:
        """All that a person can see of it."""
        return self.log.read_text() + json.dumps(self.status)


@pytest.fixture
def start(plane: ControlPlane, tmp_path: Path) -> Iterator[Callable[[str], Agent]]:
    """Agents that are gone afterwards."""
    agents: list[Agent] = []
    with ExitStack() as stack:
        sockets: dict[str, str] = {}

        def begin(overlay: str) -> Agent:
            if overlay == "all-ebpf" and not sockets:
                sockets.update(_place(stack, tmp_path / "bpf"))
            agents.append(Agent(plane, overlay, tmp_path, sockets))
            return agents[-1]

        yield begin
        for agent in agents:
            agent.process.send_signal(signal.SIGTERM)
            agent.process.wait(20)


def _place(stack: ExitStack, folder: Path) -> Mapping[str, str]:
    """Settings that keep programs at sockets to a cgroup of the test's."""
    kernel_features.needs("cgroup_link")
    folder.mkdir()
    place = stack.enter_context(bpf_place.place(folder))
    return {"PODWIRE_EBPF_CGROUP": str(place.cgroup), "PODWIRE_EBPF_FOLDER": str(place.folder)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_account_is_enough_and_nothing_over(
    plane: ControlPlane, start: Callable[[str], Agent], overlay: str
) -> None:
    granted = account.grant(plane, overlay)
    _forget_what_was_said(plane)
    with _asked(plane) as asked:
        agent = start(overlay)
        until("the agent is ready", lambda: bool(agent.status.get("ready")))
        _until_it_has_said_all(plane, overlay)
        if overlay != "proxy-only":  # nothing is wrong with our Services
            _grow_old(plane)
            agent.process.send_signal(signal.SIGTERM)
            agent.process.wait(20)
            start(overlay)
            until("the event was counted up", lambda: _count(plane) == 2)
    permissions = {permission for permission, _ in asked}
    assert permissions <= granted, agent.said
    assert [row for row in asked if row[1] == 403] == []
    assert "forbidden" not in agent.said
    unused = {row for row in granted - permissions if row.verb != "get"}
    if overlay == "proxy-only":
        unused = {row for row in unused if row.resource != "events"}
    # `get` is for an event on an object of that kind, of which not every kind has a bad one.
    assert unused == set()


@pytest.mark.parametrize("rule", range(RULES))
def test_a_rule_that_is_missing_is_named(
    plane: ControlPlane, start: Callable[[str], Agent], rule: int
) -> None:
    whole = account.grant(plane, "all")
    lost = whole - account.grant(plane, "all", without=rule)
    _forget_what_was_said(plane)
    agent = start("all")
    names = {row.resource for row in lost}

    def named() -> bool:
        said = agent.said
        return "403" in said and all(name.split("/")[0] in said for name in names)

    until(f"it says that it may not touch {names}", named)
    if names.isdisjoint({"events", "nodes/status", *DISPENSABLE}):
        until("its status says so", lambda: "403" in json.dumps(agent.status))
        assert agent.status["ready"] is False
    else:  # what it cannot tell anyone keeps no packet away, nor does a kind that is dispensable
        until("the agent is ready", lambda: bool(agent.status.get("ready")))


def test_every_rule_is_missed_once() -> None:
    role = rendered.objects(rendered.kustomized("all"))["ClusterRole"]
    assert len(role["rules"]) == RULES


def _livez(plane: ControlPlane) -> str:
    """What the kubelet is told: the status of the DaemonSet's liveness probe, "000" for none."""
    made = rendered.objects(rendered.kustomized("proxy-only"))
    (container,) = made["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    probe = container["livenessProbe"]["httpGet"]
    url = f"http://{ADDRESS}:{probe['port']}{probe['path']}"
    quiet = ("-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5")
    return plane.netns.run("curl", "--noproxy", "*", *quiet, url, check=False)


def test_the_kubelet_is_answered_and_nothing_waits_for_a_port_that_kube_proxy_has(
    plane: ControlPlane, start: Callable[[str], Agent]
) -> None:
    account.grant(plane, "proxy-only")
    listen = "import socket; s = socket.create_server(('', 10256)); input()"
    other = plane.netns.popen(sys.executable, "-c", listen)
    try:
        until("the port is another's", lambda: "10256" in plane.netns.run("ss", "-Htln"))
        agent = start("proxy-only")
        until("the agent is ready", lambda: bool(agent.status.get("ready")))
        until("it says that it cannot listen", lambda: "10256" in agent.said)
    finally:
        other.kill()
        other.communicate()
    until("it listens at last", lambda: _livez(plane) == "200")


@contextmanager
def _asked(plane: ControlPlane) -> Iterator[list[tuple[Permission, int]]]:
    """What the account asks for while the block lasts, filled in when it ends."""
    before = len(account.used(plane))
    rows: list[tuple[Permission, int]] = []
    yield rows
    rows += account.used(plane)[before:]


def _make_objects(plane: ControlPlane) -> None:
    """Something of each kind; a Pod and a Node that cannot be used, and why events are written."""
    _make_node(plane, NODE, "192.168.90.1", "10.244.1.0/24")
    _make_node(plane, "node2", "192.168.90.2", "10.244.1.0/25")  # overlaps
    for pod in ("one", "two"):
        container = {"name": "c", "image": "none"}
        spec = {"nodeName": NODE, "containers": [container]}
        _make(plane, "/api/v1/namespaces/default/pods", pod, spec)
        status = {"phase": "Running", "podIP": "10.244.1.9", "podIPs": [{"ip": "10.244.1.9"}]}
        path = f"/api/v1/namespaces/default/pods/{pod}/status"
        plane.request("PATCH", path, {"status": status})
    _make(plane, "/api/v1/namespaces/default/services", "web", {"ports": [{"port": 80}]})
    policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
    _make(plane, policies, "deny", {"podSelector": {}})


def _make_node(plane: ControlPlane, name: str, address: str, pod_cidr: str) -> None:
    _make(plane, "/api/v1/nodes", name, {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]})
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    plane.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": status})


def _make(plane: ControlPlane, path: str, name: str, spec: dict[str, Any]) -> None:
    plane.request("POST", path, {"metadata": {"name": name}, "spec": spec})


def _forget_what_was_said(plane: ControlPlane) -> None:
    """No events, and a Node whose network is unavailable."""
    plane.request("DELETE", "/api/v1/namespaces/default/events")
    stamp = "2026-01-01T00:00:00Z"
    condition = {
        "type": "NetworkUnavailable",
        "status": "True",
        "reason": "Test",
        "message": "",
        "lastTransitionTime": stamp,
        "lastHeartbeatTime": stamp,
    }
    body = {"status": {"conditions": [condition]}}
    plane.request("PATCH", f"/api/v1/nodes/{NODE}/status", body)


def _until_it_has_said_all(plane: ControlPlane, overlay: str) -> None:
    if "cni" in OVERLAYS[overlay]:
        until("the condition is cleared", lambda: _unavailable(plane) == "False")
    if overlay != "proxy-only":
        until("there is an event", lambda: _count(plane) == 1)


def _unavailable(plane: ControlPlane) -> str:
    node = plane.request("GET", f"/api/v1/nodes/{NODE}")
    return str(node["status"]["conditions"][0]["status"])


def _count(plane: ControlPlane) -> int:
    """How often the event that was told most was told."""
    found = plane.request("GET", EVENTS)["items"]
    return max((event["count"] for event in found if event["reason"] == "Unusable"), default=0)


def _grow_old(plane: ControlPlane) -> None:
    """Events of long ago, so that they are worth to be told again."""
    assert REPEAT_S < 86400
    for event in plane.request("GET", EVENTS)["items"]:
        at = event["metadata"]
        path = f"/api/v1/namespaces/{at['namespace']}/events/{at['name']}"
        plane.request("PATCH", path, {"lastTimestamp": "2026-01-01T00:00:00Z"})
