"""A stage for Services: a lab with Kubernetes' own controllers, and pods that do as they are told.

 world (the fabric) ──┬── node1   client1   a…
                      └── node2   client2   b…

A pod is ready while its file is there, and goes on serving when it is told to leave, until its
grace is over: so a test says when a pod is unready, terminating, or gone.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from scratch import until
from shop import until_in_sync

from podwire_core.feed.api_server import ApiError
from podwire_lab.kubernetes import api
from podwire_lab.machine import namespaces
from podwire_lab.programs import echo
from podwire_lab.show import reachability
from podwire_lab.topology import Lab
from podwire_lab.workloads import LONGEST_GRACE

SPACE = "default"
SERVICES = f"/api/v1/namespaces/{SPACE}/services"
PODS = f"/api/v1/namespaces/{SPACE}/pods"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices"
#: Ports that every pod serves, over TCP and UDP alike.
PORTS = (8080, 9090)
#: New connections whose answers show that all of two pods are met: 2 · 2⁻²⁴ says otherwise.
MANY = 24

#: Seconds. With 0 the API would forget the pod, and its kubelet that it is in a hurry.
AT_ONCE = 1

_MERGE = "application/merge-patch+json"
_STUBBORN = """
import runpy, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal = lambda *_: None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_PATIENCE = {LONGEST_GRACE: "60"}
_LINE = re.compile(r"pod=\w+/(?P<pod>\S+) node=(?P<node>\S+) client=\[?(?P<client>[^\s\]]+)\]?:")


def who(outcome: str, line: str) -> str:
    """The pod that answered, or what happened in place of an answer."""
    found = _LINE.match(line)
    return found["pod"] if outcome == "answered" and found else outcome


@dataclass
class UdpClient:
    """A client with one port for ever, so that all it sends is one flow to conntrack."""

    socket: socket.socket

    def ask(self, address: str, port: int) -> str:
        """Who answers a datagram; `silent` or `refused`."""
        with suppress(OSError):  # answers that are late, and refusals of what was sent before
            while self.socket.recv(4096):
                pass
        try:
            self.socket.sendto(b"hello\n", (address, port))
            self.socket.settimeout(0.5)
            return who("answered", self.socket.recv(4096).decode())
        except TimeoutError:
            return "silent"
        except OSError as error:
            return "refused" if error.errno == errno.ECONNREFUSED else str(error)
        finally:
            self.socket.settimeout(0)


@dataclass
class Stage:
    """The lab, and what a test has made on it."""

    lab: Lab
    folder: Path
    pods: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    clients: list[UdpClient] = field(default_factory=list)

    # ------------------------------------------------------------------------- the API

    def send(self, method: str, path: str, body: object = None, kind: str = "") -> Any:
        """A request of the cluster's administrator. Raises ApiError."""
        content = kind or "application/json"
        answer = api.ask(self.lab, lambda server: server.send(method, path, body, content))
        return msgspec.json.decode(answer)

    def merge(self, path: str, body: object) -> Any:
        """Change a part of an object."""
        return self.send("PATCH", path, body, _MERGE)

    def expose(
        self, name: str, app: str = "", labels: dict[str, str] | None = None, **spec: Any
    ) -> dict[str, Any]:
        """Make a Service of the pods of an app (its own name's); its spec as it became."""
        whole: dict[str, Any] = {"selector": {"app": app or name}, "ports": [tcp()], **spec}
        body = {"metadata": {"name": name, "labels": labels or {}}, "spec": whole}
        found: dict[str, Any] = self.send("POST", SERVICES, body)["spec"]
        self.services.append(name)
        return found

    def change(self, name: str, **spec: Any) -> dict[str, Any]:
        """Change a Service's spec; as it became."""
        found: dict[str, Any] = self.merge(f"{SERVICES}/{name}", {"spec": spec})["spec"]
        return found

    def withdraw(self, name: str) -> None:
        """Delete a Service."""
        self.send("DELETE", f"{SERVICES}/{name}")
        self.services.remove(name)

    # ------------------------------------------------------------------------- pods

    def start(self, name: str, node: str, app: str, *, ready: bool = True, **spec: Any) -> None:
        """A pod on a node. Waits until it is ready, or runs, when it shall not be."""
        self.hold(name, ready=ready)
        program = [sys.executable, "-I", "-S", "-c", _STUBBORN, echo.__file__]
        container = {
            "name": "main",
            "image": "none",
            "command": [*program, "--ports", ",".join(map(str, PORTS))],
            "readinessProbe": {
                "exec": {"command": ["test", "-e", str(self._file(name))]},
                "periodSeconds": 1,
                "failureThreshold": 1,
            },
            **spec.pop("container", {}),
        }
        body = {
            "metadata": {"name": name, "labels": {"app": app}, "annotations": _PATIENCE},
            "spec": {"nodeName": node, "containers": [container], **spec},
        }
        self.send("POST", PODS, body)
        self.pods.append(name)
        if ready:
            until(f"{name} is ready", lambda: self._condition(name) == "True")
        else:
            until(f"{name} runs", lambda: self._status(name).get("phase") == "Running")

    def hold(self, name: str, *, ready: bool) -> None:
        """Say whether a pod is ready; its next probe will find out."""
        if ready:
            self._file(name).touch()
        else:
            self._file(name).unlink(missing_ok=True)

    def leave(self, name: str, grace: int = 0) -> None:
        """Tell a pod to go; with a grace it is terminating for so many seconds, and serves."""
        self.send("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": grace or AT_ONCE})
        if not grace:
            self.pods.remove(name)
            netns = namespaces.path(namespaces.pod_netns(self.lab.name, SPACE, name))
            until(f"{name} is gone", lambda: not netns.exists())

    def _file(self, name: str) -> Path:
        return self.folder / name

    def _status(self, name: str) -> dict[str, Any]:
        return dict(self.send("GET", f"{PODS}/{name}").get("status") or {})

    def _condition(self, name: str) -> str:
        rows = self._status(name).get("conditions") or ()
        return next((str(row["status"]) for row in rows if row["type"] == "Ready"), "")

    def endpoints(self, service: str) -> dict[str, dict[str, Any]]:
        """A Service's endpoints, as its slices have them, by the name of their pod."""
        selector = f"?labelSelector=kubernetes.io/service-name%3D{service}"
        items = self.send("GET", SLICES + selector)["items"]
        rows = [row for item in items for row in item.get("endpoints") or ()]
        return {row["targetRef"]["name"]: row for row in rows if "targetRef" in row}

    # ------------------------------------------------------------------------- asking

    def inside(self, pod: str) -> str:
        """A pod's network namespace."""
        return namespaces.pod_netns(self.lab.name, SPACE, pod)

    def met(
        self,
        source: str,
        address: str,
        port: int,
        protocol: str = "tcp",
        times: int = MANY,
        patience: float = 5.0,
    ) -> set[str]:
        """Whom so many new connections meet: names of pods, or what happens in their place."""
        asked = reachability.probe(source, [(protocol, address, port)] * times, patience)
        return {who(outcome, line) for outcome, line in asked}

    def seen(self, source: str, address: str, port: int) -> set[str]:
        """The client addresses that servers see."""
        asked = reachability.probe(source, [("tcp", address, port)] * 4, 5.0)
        found = [_LINE.match(line) for _, line in asked]
        return {match["client"] if match else "nobody" for match in found}

    def until_met(self, source: str, where: tuple[str, int, str], pods: set[str]) -> None:
        """Wait until new connections to (address, port, protocol) meet just these."""
        # Kernels answer one datagram a second with "nobody is there" (icmp_ratelimit).
        times = MANY if len(pods) > 1 else 1 if where[2] == "udp" else 4
        last: set[str] = set()

        def holds() -> bool:
            last.clear()
            last.update(self.met(source, *where, times=times, patience=1.0))
            return last == pods

        try:
            until(f"{source} meets {sorted(pods)} at {where}", holds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it meets {sorted(last)}") from None

    def udp(self, source: str) -> UdpClient:
        """A client in a namespace."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind(("", 0))
            made.settimeout(0)
            return made

        self.clients.append(UdpClient(namespaces.inside(source, make)))
        return self.clients[-1]

    def get(self, source: str, address: str, port: int) -> tuple[int, Any]:
        """An HTTP GET of /healthz: status, and the JSON of the body."""

        def ask() -> tuple[int, Any]:
            connection = http.client.HTTPConnection(address, port, timeout=3)
            try:
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                return answer.status, msgspec.json.decode(answer.read())
            finally:
                connection.close()

        try:
            return namespaces.inside(source, ask)
        except OSError as error:
            return 0, str(error)

    def routed(self, address: str, node: int = 0) -> None:
        """The world sends an address to a node, as a provider's network would."""
        way = ("via", self.lab.nodes[node].ips[0])
        self._world("ip", "route", "replace", f"{address}/32", *way)

    def _world(self, *command: str) -> None:
        enter = ("nsenter", f"--net={namespaces.path(self.lab.fabric)}")
        subprocess.run([*enter, *command], check=True, capture_output=True)

    # ------------------------------------------------------------------------- the end

    def clear(self) -> None:
        """Take away what a test made; a pod's end is not waited for, its name is its own."""
        for name in self.services:
            with suppress(ApiError):
                self.send("DELETE", f"{SERVICES}/{name}")
        for name in self.pods:
            with suppress(ApiError):
                self.send("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": AT_ONCE})
        for client in self.clients:
            client.socket.close()
        for made in (self.pods, self.services, self.clients):
            made.clear()


def tcp(port: int = 80, target: int = 8080, **more: Any) -> dict[str, Any]:
    """A Service's port."""
    return {"port": port, "targetPort": target, "protocol": "TCP", **more}


def udp(port: int = 80, target: int = 8080, **more: Any) -> dict[str, Any]:
    """The same for UDP."""
    return {**tcp(port, target), "protocol": "UDP", **more}


def node_port(spec: dict[str, Any], index: int = 0) -> int:
    """The NodePort of one of a Service's ports."""
    return int(spec["ports"][index]["nodePort"])


@contextmanager
def staged(lab: Lab, folder: Path) -> Iterator[Stage]:
    """The stage of a lab, with a client on each node and the two pods of the app web."""
    stage = Stage(lab, folder)
    account: Callable[[], bool] = lambda: bool(_account(stage))  # noqa: E731 - a fact in a word
    until("pods may be made", account)
    for number, node in enumerate(lab.nodes, start=1):
        stage.start(f"client{number}", node.name, "client")
    for name, node in zip(("a", "b"), lab.nodes, strict=True):
        stage.start(name, node.name, "web")
    stage.pods.clear()  # these stay
    until_in_sync(lab)
    yield stage


def _account(stage: Stage) -> Any:
    with suppress(ApiError):
        return stage.send("GET", f"/api/v1/namespaces/{SPACE}/serviceaccounts/default")
    return None
