"""node1's agent in proxyMode ebpf or auto, as a process that can be asked, stopped and killed.

Places are those of tests/tables/flows/places.py; whoever dials from the node or from its pod c is
in a cgroup of the test's own, where the agent attaches its programs.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from flows.places import ADDRESSES
from scratch import Netns, until

from podwire_core.family import Family
from podwire_ebpf import links
from podwire_ebpf.place import Place
from podwire_ebpf.plane import open_tables
from podwire_ebpf.records import FrontendKey
from podwire_proxy import layout

V4, V6 = Family
HOME = "node1"
VIP = {V4: "10.96.0.10", V6: "fd00:10:96::10"}
_KEY = {family: FrontendKey(vip, 80, 6) for family, vip in VIP.items()}

_DIAL = """
import os, socket, sys
cgroup, source, address, port, times = sys.argv[1:]
open(f"{cgroup}/cgroup.procs", "w").write(str(os.getpid()))
import ctypes
ctypes.CDLL(None).setns(os.open(source, os.O_RDONLY), 0x40000000)
for _ in range(int(times)):
    try:
        client = socket.create_connection((address, int(port)), 10)
        client.sendall(b"hello\\n")
        print(client.recv(200).decode().split(":")[0], client.getpeername()[0])
    except OSError as error:
        print(type(error).__name__)
"""

#: An agent that looks each second whether its programs are there.
IMPATIENT = """
import runpy
from podwire_node.sockets.prover import Prover
Prover.__init__.__defaults__ = (1.0,)
runpy.run_module("podwire_node", run_name="__main__", alter_sys=True)
"""


class SocketAgent:
    """node1's agent, its folder of objects, its place, and what can be asked of it."""

    def __init__(self, netns: dict[str, Netns], folder: Path, place: Place) -> None:
        self.netns, self.folder, self.place = netns, folder, place
        self.home = netns["node"]
        self.program = ["-m", "podwire_node"]
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "objects").mkdir()
        addresses = [{"type": "InternalIP", "address": each} for each in ADDRESSES["node"].values()]
        self.put("Node", HOME, status={"addresses": addresses})

    def put(self, kind: str, name: str, labels: dict[str, str] | None = None, **rest: Any) -> None:
        version = "discovery.k8s.io/v1" if kind == "EndpointSlice" else "v1"
        metadata = {"name": name, "labels": labels or {}}
        document = {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}
        hidden = self.folder / "objects" / ".new"
        hidden.write_text(json.dumps(document))
        hidden.rename(self.folder / "objects" / f"{kind}.{name}.json")

    def service(self, **spec: Any) -> None:
        vips = list(VIP.values())
        ports = [{"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30080}]
        self.put(
            "Service",
            "web",
            spec={"clusterIPs": vips, "clusterIP": vips[0], "ports": ports, **spec},
        )

    def endpoints(self, *pods: str) -> None:
        for family in Family:
            rows = [{"addresses": [ADDRESSES[pod][family]], "nodeName": HOME} for pod in pods]
            self.put(
                "EndpointSlice",
                f"web-{family.nft}",
                {"kubernetes.io/service-name": "web"},
                addressType=str(family),
                ports=[{"name": "tcp", "port": 8080, "protocol": "TCP"}],
                endpoints=rows,
            )

    def begin(self, mode: str = "ebpf", *more: str) -> None:
        status = self.folder / "status.json"
        status.unlink(missing_ok=True)
        options = ["--node", HOME, "--feed", str(self.folder / "objects"), "--status", str(status)]
        options += ["--components", "proxy", "--metrics-bind-address", "127.0.0.1:10249"]
        options += ["--proxy-mode", mode, "--ebpf-folder", str(self.place.folder)]
        options += ["--ebpf-cgroup", str(self.place.cgroup), "--control-socket", "", *more]
        inside = ["nsenter", f"--net=/run/netns/{self.home.name}"]
        command = [*inside, sys.executable, *self.program, "agent", "-v", *options]
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def start(self, mode: str = "ebpf", *more: str) -> dict[str, Any]:
        self.begin(mode, *more)
        until("the agent is ready", lambda: self.status().get("ready", False))
        return self.status()

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "status.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def fetch(self, path: str) -> str:
        words = ["curl", "--noproxy", "*", "-sS", "-m", "5", f"http://127.0.0.1:10249{path}"]
        return self.home.run(*words)

    def metric(self, name: str) -> str:
        lines = self.fetch("/metrics").splitlines()
        return next((each.split()[-1] for each in lines if each.startswith(name)), "")

    def dial(self, source: str, address: str, port: int = 80, times: int = 1) -> list[list[str]]:
        """Who answers, and whom the client believes to talk to; or how it failed."""
        inside = f"/run/netns/{self.netns[source].name}"
        words = [str(self.place.cgroup), inside, address, str(port), str(times)]
        command = [sys.executable, "-c", _DIAL, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return [line.split() for line in done.stdout.splitlines()]

    def served(self, family: Family = V4) -> set[str]:
        """Addresses that the maps have for the Service's own address."""
        with closing(open_tables(self.place)) as tables:
            row = tables.frontends.get(_KEY[family])
            return {each.address for each in row.first} if row else set()

    def addresses(self) -> set[str]:
        """The node's own that the maps have."""
        with closing(open_tables(self.place)) as tables:
            return set(tables.addresses.read())

    def connections(self) -> int:
        """How many the programs have translated."""
        with closing(open_tables(self.place)) as tables:
            return sum(each.connections for each in tables.counters.read().values())

    def hooks(self) -> set[int]:
        """How many programs run at each hook."""
        return {len(each) for each in links.in_effect(self.place.cgroup).values()}

    def cleanup(self, folder: Path) -> list[list[str]]:
        """`podwire cleanup` of the proxy: what it removed."""
        words = ["-m", "podwire_node", "cleanup", "--components", "proxy", "--json"]
        out = self.home.run(sys.executable, *words, "--ebpf-folder", str(folder))
        rows = json.loads(out)["rows"]
        return [[row["kind"], row["name"], row["outcome"]] for row in rows]

    def forget_nftables(self) -> None:
        """Take the proxy's tables away, from an agent that does not run: sockets are alone."""
        for family in Family:
            self.home.run("nft", "delete", "table", *layout.table(family).key)

    def uplinks(self, place: str) -> list[str]:
        """The node's link to a place: where the route to it leads."""
        out = self.home.run("ip", "-j", "route", "get", ADDRESSES[place][V4])
        return [each["dev"] for each in json.loads(out)]

    def filters(self, link: str) -> str:
        """What looks at packets that come in there, as tc prints it."""
        return self.home.run("tc", "filter", "show", "dev", link, "ingress", check=False)
