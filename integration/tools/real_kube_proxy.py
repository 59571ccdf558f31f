"""The real kube-proxy on a node of a test's cluster, and a Service to try it with.

           192.168.90.N       10.244.1.1
 plane ── net0 ── eth0 ── node ──── pod10 ── eth0  10.244.1.10 server
                               ├─── pod11 ── eth0  10.244.1.11 server
                               └─── pod20 ── eth0  10.244.1.20 client

Services: 10.96.0.50:80 and NodePort 30080 lead to both servers.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import scratch
from control_plane import ADDRESS, ControlPlane
from plane_node import plane_node
from scratch import Netns, until

from podwire_lab.programs import echo

NODE = "node1"
CLUSTER_IP, NODE_PORT = "10.96.0.50", 30080
SERVERS, CLIENT = ("10.244.1.10", "10.244.1.11"), "10.244.1.20"
_numbers = itertools.count(2)


@dataclass
class Site:
    """A node, its pods, and what runs on it."""

    plane: ControlPlane
    node: Netns
    address: str
    client: Netns
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        """From the node to the API server."""
        path = self.folder / "node.kubeconfig"
        if path.exists():
            return path
        user = json.loads(self.plane.kubeconfig.read_text())["users"][0]["user"]
        return self.plane.write_kubeconfig(path, user, f"https://{ADDRESS}:6443")

    def start(self, log: str, *command: str, path: str = "") -> subprocess.Popen[bytes]:
        """A process on the node; its errors go to a file. path: where it finds programs first."""
        enter = ["nsenter", f"--net=/run/netns/{self.node.name}"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment["PATH"] = os.pathsep.join(filter(None, (path, environment["PATH"])))
        with (self.folder / log).open("ab") as file:
            process = subprocess.Popen(
                [*enter, *command], stdout=file, stderr=file, env=environment
            )
        self.started.append(process)
        return process

    def podwire(self, *words: str, under: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """`podwire proxy` with a status file. under: a program that starts it."""
        command = [*under, sys.executable, "-m", "podwire_node", "proxy", *words]
        (self.folder / "status.json").unlink(missing_ok=True)
        status = ("--status", str(self.folder / "status.json"))
        return self.start("podwire.log", *command, *status)

    def status(self) -> dict[str, Any]:
        """What podwire says; nothing before it does."""
        path = self.folder / "status.json"
        found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
        return found

    def log(self, name: str = "podwire.log") -> str:
        """What a process said."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def kube_proxy(self, mode: str) -> subprocess.Popen[bytes]:
        """The real one, in `nftables`, `iptables-nft` or `iptables-legacy`, until it serves."""
        leave = {"maxPerCore": 0, "min": 0}
        leave |= {"tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}  # type: ignore[dict-item]
        configuration = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": mode.partition("-")[0],
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            "hostnameOverride": NODE,
            "clusterCIDR": "10.244.0.0/16",
            "conntrack": leave,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        }
        (self.folder / "kube-proxy.json").write_text(json.dumps(configuration))
        path = str(self._iptables(mode)) if "-" in mode else ""
        config = f"--config={self.folder / 'kube-proxy.json'}"
        process = self.start(
            "kube-proxy.log", str(self.plane.programs / "kube-proxy"), config, path=path
        )
        until("kube-proxy serves", self.serves)
        return process

    def serves(self) -> bool:
        """Whether the Service answers a pod."""
        url = f"http://{CLUSTER_IP}/"
        asked = ("curl", "--noproxy", "*", "-s", "-m", "1", url)
        return "pod=" in self.client.run(*asked, check=False)

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM, and wait: rules stay, as when a pod is deleted."""
        process.terminate()
        process.wait(60)

    def _iptables(self, mode: str) -> Path:
        """A folder in which `iptables` is of one kind."""
        kind = mode.partition("-")[2]
        folder = self.folder / kind
        folder.mkdir(exist_ok=True)
        for stem in ("iptables", "ip6tables"):
            for verb in ("", "-save", "-restore"):
                program = shutil.which(f"{stem}-{kind}{verb}")
                if program is None:
                    pytest.skip(f"there is no {stem}-{kind}{verb}: apt-get install iptables")
                link = folder / f"{stem}{verb}"
                if not link.exists():
                    link.symlink_to(program)
        return folder


@contextmanager
def kube_proxy_site(plane: ControlPlane, folder: Path) -> Iterator[Site]:
    """A node with two servers and a client; everything is gone afterwards."""
    with ExitStack() as stack:
        number = next(_numbers)  # the kernel takes a moment to forget the last one's link
        node = stack.enter_context(plane_node(plane, number))
        node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        # Without a way to it, the node itself would not even begin to talk to a Service.
        node.run("ip", "route", "add", "default", "via", ADDRESS)
        pods = [_pod(stack, node, address) for address in (*SERVERS, CLIENT)]
        site = Site(plane, node, f"192.168.90.{number}", pods[-1], folder)
        stack.callback(_end, site.started)
        for netns in pods[:-1]:
            _serve(stack, netns)
        for path, body in _objects():
            plane.request("POST", path, body)
            stack.callback(plane.request, "DELETE", f"{path}/{body['metadata']['name']}")
        addresses = {"addresses": [{"type": "InternalIP", "address": site.address}]}
        plane.request("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": addresses})
        yield site


def _pod(stack: ExitStack, node: Netns, address: str) -> Netns:
    """A pod with a link of its own to the node."""
    made = scratch.make()
    stack.callback(scratch.remove, made)
    device = f"pod{address.rpartition('.')[2]}"
    peer = ("type", "veth", "peer", "name", "eth0", "netns", made.name)
    node.run("ip", "link", "add", device, *peer)
    node.run("ip", "address", "add", "10.244.1.1/32", "dev", device)
    node.run("ip", "link", "set", device, "up")
    node.run("ip", "route", "add", f"{address}/32", "dev", device)
    made.run("ip", "address", "add", f"{address}/32", "dev", "eth0")
    made.run("ip", "link", "set", "eth0", "up")
    made.run("ip", "route", "add", "10.244.1.1", "dev", "eth0")
    made.run("ip", "route", "add", "default", "via", "10.244.1.1")
    return made


def _serve(stack: ExitStack, netns: Netns) -> None:
    command = ("env", f"POD_NAME={netns.name}", sys.executable, "-I", "-S", str(echo.__file__))
    server = netns.popen(*command, "--ports", "8080")
    stack.callback(server.communicate, timeout=10)
    stack.callback(server.kill)
    probe = ("curl", "--noproxy", "*", "-s", "-m", "1", "http://127.0.0.1:8080/")
    until("a server answers", lambda: "pod=" in netns.run(*probe, check=False))


def _objects() -> Sequence[tuple[str, dict[str, Any]]]:
    cidr = "10.244.1.0/24"
    node = {"metadata": {"name": NODE}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}
    port = {"name": "http", "port": 80, "targetPort": 8080, "nodePort": NODE_PORT}
    spec = {"type": "NodePort", "clusterIP": CLUSTER_IP, "ports": [port]}
    labels = {"kubernetes.io/service-name": "shop"}
    ready = {"ready": True, "serving": True, "terminating": False}
    slices = {
        "metadata": {"name": "shop-1", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [each], "conditions": ready, "nodeName": NODE} for each in SERVERS
        ],
    }
    return (
        ("/api/v1/nodes", node),
        ("/api/v1/namespaces/default/services", {"metadata": {"name": "shop"}, "spec": spec}),
        ("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slices),
    )


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(60)
