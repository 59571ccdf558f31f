"""The small shop as two nodes with real agents and real packets.

    web, cron ── node1 ──────── node2 ── api-1, api-2, db
                 agent  uplink  agent         both read one folder of objects

Objects are those of tests/tables/small_shop.py.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import small_shop
from scratch import Netns, until
from three_nodes import give

NODES = ("node1", "node2")
_SERVER = """
import socket, sys, threading
def serve(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.create_server((address, port), family=family)
    while True:
        server.accept()[0].close()
for pair in sys.argv[1:]:
    address, port = pair.split(",")
    threading.Thread(target=serve, args=(address, int(port)), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""
_CLIENT = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60).close()
"""


@dataclass
class Shop:
    """The stage. command(): what podwire says on a node: exit code and output."""

    folder: Path
    nodes: dict[str, Netns]
    pods: dict[str, Netns]
    processes: list[subprocess.Popen[Any]] = field(default_factory=list)
    agents: dict[str, subprocess.Popen[Any]] = field(default_factory=dict)

    @property
    def objects(self) -> Path:
        return self.folder / "objects"

    def socket(self, node: str) -> Path:
        return self.folder / f"{node}.control" / "agent.sock"

    def put(self, *documents: small_shop.Document) -> None:
        for each in documents:
            hidden = self.objects / ".new"
            hidden.write_text(json.dumps(each))
            hidden.rename(self.path(each))

    def remove(self, *documents: small_shop.Document) -> None:
        for each in documents:
            self.path(each).unlink()

    def path(self, document: small_shop.Document) -> Path:
        name = document["metadata"]
        own = f"{document['kind']}.{name.get('namespace', '')}.{name['name']}.json"
        return self.objects / own

    def start(self, node: str) -> None:
        """A node's agent, once everything is in its kernel."""
        self.socket(node).parent.mkdir(mode=0o700, exist_ok=True)
        status = self.folder / f"{node}.json"
        status.unlink(missing_ok=True)
        options = ("--node", node, "--feed", str(self.objects), "--status", str(status))
        place = ("--control-socket", str(self.socket(node)))
        argv = (sys.executable, "-m", "podwire_node", "agent", *options, *place)
        inside = ("nsenter", f"--net=/run/netns/{self.nodes[node].name}")
        with (self.folder / f"{node}.log").open("ab") as log:
            self.agents[node] = subprocess.Popen([*inside, *argv], stderr=log)
        self.settle(node)

    def settle(self, *nodes: str) -> None:
        """Wait until all objects that there are are in the kernels."""
        wanted = len(list(self.objects.glob("[!.]*")))
        for node in nodes or self.agents:
            status = self.folder / f"{node}.json"

            def known(status: Path = status) -> bool:
                if not status.exists():
                    return False
                said = json.loads(status.read_bytes())
                return bool(said["ready"] and said["in_sync"] and said["objects"] == wanted)

            until(f"{node} has all in force", known)

    def run(self, node: str, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """`podwire …` on a node."""
        done = subprocess.run(
            [sys.executable, "-m", "podwire_node", *arguments, "--socket", str(self.socket(node))],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=60,
            check=False,
            env={**os.environ, "COLUMNS": "100"},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def asking(self, node: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The same, while something else happens."""
        argv = [sys.executable, "-m", "podwire_node", *arguments]
        asked = subprocess.Popen(
            [*argv, "--socket", str(self.socket(node))], stdout=subprocess.PIPE, text=True
        )
        try:
            yield asked
        finally:
            asked.kill()
            asked.communicate()

    def json(self, node: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The same with --json."""
        code, output = self.run(node, *arguments, "--json")
        assert output.startswith("{"), output
        return code, json.loads(output)

    def reaches(self, pod: str, address: str, port: int) -> bool:
        """Whether a pod's connection is made, and not dropped by a policy of either node.

        Who is denied hears nothing at all; so the rules that drop are asked.
        """
        before = self.dropped()
        client = self.pods[pod].popen(sys.executable, "-I", "-S", "-c", _CLIENT, address, str(port))
        try:
            until("it is made, or dropped", lambda: bool(_ended(client) or self.dropped() > before))
            return _ended(client)
        finally:
            client.kill()
            client.communicate()

    def dropped(self) -> int:
        """How many packets policies have dropped, on both nodes."""
        listed = (
            node.run("nft", "list", "table", family, "podwire-policy", check=False)
            for node in self.nodes.values()
            for family in ("ip", "ip6")
        )
        found = re.findall(r"counter packets (\d+) bytes \d+ drop", "".join(listed))
        return sum(map(int, found))

    def serve(self, pod: str, *ports: int) -> None:
        pairs = [f"{small_shop.address(pod, v)},{port}" for v in (4, 6) for port in ports]
        server = self.pods[pod].popen(sys.executable, "-I", "-S", "-c", _SERVER, *pairs)
        self.processes.append(server)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n", server.communicate()

    def stop(self, node: str, number: int = signal.SIGTERM) -> None:
        agent = self.agents.pop(node)
        agent.send_signal(number)
        agent.wait(60)

    def end(self) -> None:
        for process in (*self.agents.values(), *self.processes):
            process.kill()
            process.communicate()


def _ended(client: subprocess.Popen[str]) -> bool:
    """Whether a client has done what it was for; fails if it broke."""
    assert not client.poll(), client.communicate()[1]
    return client.returncode == 0


@contextmanager
def small_shop_stage(
    new_netns: Callable[[], Netns],
    folder: Path,
    policies: Sequence[small_shop.Document] = small_shop.POLICIES,
) -> Iterator[Shop]:
    """The stage with its agents; it ends with the block, its namespaces by `new_netns`."""
    nodes = {name: new_netns() for name in NODES}
    pods = {name: new_netns() for name in small_shop.PODS}
    for netns in (*nodes.values(), *pods.values()):
        netns.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
    _join(*nodes.values())
    for name, netns in pods.items():
        _wire(nodes[small_shop.PODS[name][0]], netns, name)
    shop = Shop(folder, nodes, pods)
    shop.objects.mkdir()
    shop.put(*small_shop.documents(policies))
    try:
        for node in NODES:
            shop.start(node)
        for pod in ("shop/api-1", "shop/api-2"):
            shop.serve(pod, 8080)
        shop.serve("data/db", 5432)
        yield shop
    finally:
        shop.end()


def _join(one: Netns, two: Netns) -> None:
    one.run("ip", "link", "add", "uplink", "type", "veth", "peer", "uplink", "netns", two.name)
    for number, netns in ((1, one), (2, two)):
        netns.run("ip", "link", "set", "uplink", "up")
        give(netns, "uplink", f"192.168.77.{number}/24", f"fd00:77::{number}/64")


def _wire(node: Netns, pod: Netns, name: str) -> None:
    """A veth pair, host routes, permanent neighbours: the plugin's shape, by hand."""
    link = name.replace("/", "-")
    host_mac, pod_mac = "02:00:00:00:01:01", "02:00:00:00:02:01"
    peer = ("peer", "name", "eth0", "address", pod_mac, "netns", pod.name)
    node.run("ip", "link", "add", link, "address", host_mac, "type", "veth", *peer)
    node.run("ip", "link", "set", link, "up")
    pod.run("ip", "link", "set", "eth0", "up")
    for version, bits, gateway in ((4, 32, "169.254.1.1"), (6, 128, "fe80::1")):
        address = small_shop.address(name, version)
        give(pod, "eth0", f"{address}/{bits}")
        pod.run(
            "ip", "neigh", "add", gateway, "lladdr", host_mac, "dev", "eth0", "nud", "permanent"
        )
        pod.run("ip", "route", "add", "default", "via", gateway, "dev", "eth0", "onlink")
        node.run("ip", "route", "add", f"{address}/{bits}", "dev", link)
        node.run("ip", "neigh", "add", address, "lladdr", pod_mac, "dev", link, "nud", "permanent")
