"""Pods for one node, and how long one needs to connect to another through it.

    client ── c0 ── node (tables) ── s0 ── server
    10.227.0.1      routes, no bridge      every address of 10.128.0.0/10, port 8080

The server answers for all endpoints there are, so each connection may be to another one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cluster
import scratch
from scratch import Netns

SOURCE = Path(__file__).parent / "connect.c"
_NODE_ADDRESS, _SERVER_ADDRESS = "169.254.1.1", "169.254.1.2"


@dataclass(frozen=True)
class Network:
    """Where to connect from, and to which addresses: `10.96.1.0:80`."""

    name: str
    client: Netns
    targets: Sequence[str]


@dataclass(frozen=True)
class Batch:
    """connect()'s percentiles of one batch of connections, in microseconds."""

    p50: float
    p90: float
    p99: float


def build(folder: Path) -> Path:
    """connect.c as a program. Raises CalledProcessError."""
    program = folder / "connect"
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", str(program), str(SOURCE)], check=True)
    return program


@contextmanager
def pods(node: Netns, program: Path, client_address: str = cluster.CLIENT) -> Iterator[Netns]:
    """A client on a node with a server that accepts; the client. Both are gone afterwards."""
    with wired(node, client_address) as (client, server):
        process = server.popen(str(program), "serve", str(cluster.TARGET_PORT))
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("the server did not start")
            yield client
        finally:
            process.kill()
            process.wait()


@contextmanager
def wired(node: Netns, client_address: str = cluster.CLIENT) -> Iterator[tuple[Netns, Netns]]:
    """Namespaces of a client and of a server on a node; both are gone afterwards."""
    with ExitStack() as undo:
        client, server = scratch.make(), scratch.make()
        undo.callback(scratch.remove, client)
        undo.callback(scratch.remove, server)
        _wire(node, client, "c0", f"{client_address}/32")
        _wire(node, server, "s0", f"{_SERVER_ADDRESS}/32")
        node.run("ip", "route", "add", client_address, "dev", "c0")
        node.run("ip", "route", "add", _SERVER_ADDRESS, "dev", "s0")
        node.run("ip", "route", "add", cluster.ENDPOINTS, "via", _SERVER_ADDRESS, "dev", "s0")
        node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        server.run("ip", "route", "add", "local", cluster.ENDPOINTS, "dev", "lo")
        back = ("via", _NODE_ADDRESS, "dev", "eth0", "table", "local")
        server.run("ip", "route", "add", client_address, *back)  # it may be one of them
        yield client, server


def connect_times(
    program: Path, networks: Sequence[Network], rounds: int, turns: int
) -> dict[str, list[Batch]]:
    """One batch a network and round: turns of 25 connections. Raises CalledProcessError."""
    lines = [
        " ".join([each.name, f"/run/netns/{each.client.name}", *each.targets]) for each in networks
    ]
    command = [str(program), "dial", str(rounds), str(turns)]
    done = subprocess.run(
        command, input="\n".join(lines), stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, list[Batch]] = {each.name: [] for each in networks}
    for line in done.stdout.splitlines():
        name, *nanoseconds = line.split()
        found[name].append(Batch(*(int(value) / 1000 for value in nanoseconds)))
    return found


def service_targets(services: int) -> list[str]:
    """Every Service's address and port."""
    return [f"{cluster.service_address(number)}:{cluster.PORT}" for number in range(services)]


def direct_targets(services: int) -> list[str]:
    """One endpoint of each Service."""
    ends = [cluster.endpoint_address(number, 1) for number in range(services)]
    return [f"{address}:{cluster.TARGET_PORT}" for address in ends]


def _wire(node: Netns, pod: Netns, device: str, address: str) -> None:
    """A veth pair, one end at the node; the pod's way out is the node, as podwire does it."""
    peer = ("type", "veth", "peer", "name", "eth0", "netns", pod.name)
    node.run("ip", "link", "add", device, *peer)
    node.run("ip", "address", "add", f"{_NODE_ADDRESS}/32", "dev", device)
    node.run("ip", "link", "set", device, "up")
    pod.run("ip", "address", "add", address, "dev", "eth0")
    pod.run("ip", "link", "set", "eth0", "up")
    pod.run("ip", "route", "add", _NODE_ADDRESS, "dev", "eth0")
    pod.run("ip", "route", "add", "default", "via", _NODE_ADDRESS, "dev", "eth0")
