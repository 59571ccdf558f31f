"""A node with a runtime on it and our plugin, which works alone or asks an agent.

```
 peer 192.0.2.9 ── 192.0.2.1 uplink, node: pw… ── containers of the runtime
                             its runtime's files and processes are a private machine's
```
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import busybox_image
import private_machine
import pytest
from client_build import build
from cnitool import CniTool
from containerd import Containerd, containerd
from podman import Podman, podman
from private_machine import Machine, machine
from scratch import Netns, until

from . import agent
from .agent import Agent

RANGES = ["10.244.1.0/24", "fd00:10:244:1::/64"]
NODE_ADDRESSES = ("192.0.2.1", "fd00:2::1")
PEER_ADDRESSES = ("192.0.2.9", "fd00:2::9")
NETWORK = "podwire"


@dataclass
class Site:
    """A node, its peer, and the entry of our plugin in a network's configuration."""

    machine: Machine
    node: Netns
    peer: Netns
    conf_dir: Path
    state_dir: Path
    plugin: Mapping[str, object]
    served_by: Agent | None

    @property
    def agent(self) -> Agent:
        """The agent, in tests that are WITH_AGENT."""
        assert self.served_by is not None
        return self.served_by

    @property
    def alone(self) -> bool:
        """Whether the plugin works without an agent."""
        return self.served_by is None

    def configure(
        self,
        *chained: Mapping[str, object],
        version: str = "1.0.0",
        name: str = NETWORK,
        **keys: object,
    ) -> None:
        """Put a conflist before all others: our plugin, keys changing it, and what comes after.

        Ours has no capabilities unless keys say so: what is chained may have them.
        """
        plugins = [{**self.plugin, "capabilities": {}, **keys}, *chained]
        document = {"cniVersion": version, "name": name, "plugins": plugins}
        (self.conf_dir / "05-test.conflist").write_text(json.dumps(document))

    def traces(self) -> dict[str, list[str]]:
        """All that podwire has on the node for containers; CLEAN when it has none."""
        names = [link["ifname"] for link in json.loads(self.node.run("ip", "-json", "link"))]
        found = [
            json.loads(self.node.run("ip", "-json", family, "route") or "[]")
            for family in ("-4", "-6")
        ]
        inside = [ipaddress.ip_network(each) for each in RANGES]
        routes = [route["dst"] for family in found for route in family]
        return {
            "links": [name for name in names if name.startswith("pw")],
            "routes": [dst for dst in routes if _within(dst, inside)],
            "leases": self.leases(),
        }

    def leases(self) -> list[str]:
        """The containers that hold addresses."""
        path = self.state_dir / "leases.db"
        if not path.exists():
            return []
        query = "SELECT DISTINCT container FROM leases WHERE released IS NULL ORDER BY 1"
        with closing(sqlite3.connect(path)) as database:
            try:
                rows = database.execute(query).fetchall()
            except sqlite3.OperationalError:  # the file is there before its tables
                return []
        return [container for (container,) in rows]

    def until_clean(self) -> None:
        """Wait until nothing is left of any container."""
        until("nothing is left", lambda: self.traces() == CLEAN)


CLEAN: dict[str, list[str]] = {"links": [], "routes": [], "leases": []}


def _within(destination: str, ranges: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    if destination == "default" or "/" in destination:
        return False  # the agent's own routes are of whole ranges
    address = ipaddress.ip_address(destination)
    return any(address in each for each in ranges)


def pings(where: Netns, address: str) -> bool:
    """Whether an echo request is answered."""
    inside = ["nsenter", f"--net=/run/netns/{where.name}"]
    words = ["ping", "-n", "-c1", "-W2", address]
    return subprocess.run([*inside, *words], check=False, capture_output=True).returncode == 0


@contextmanager
def listening(pod: Netns, port: int = 8080) -> Iterator[None]:
    """Something in the pod takes TCP connections."""
    with pod.inside():
        server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    with server:
        yield


def connects(where: Netns, address: str, port: int) -> bool:
    """Whether a TCP connection comes to be."""
    try:
        with where.inside(), socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed client's program."""
    return build(tmp_path_factory.mktemp("client"))


#: Marks of tests that are about one of the two ways of working.
ALONE = pytest.mark.parametrize("site", ["alone"], indirect=True)
WITH_AGENT = pytest.mark.parametrize("site", ["agent"], indirect=True)


@pytest.fixture(params=["alone", "agent"])
def site(
    request: pytest.FixtureRequest, new_netns: Callable[[], Netns], tmp_path: Path
) -> Iterator[Site]:
    """A node whose plugin works alone, and one whose plugin asks the agent."""
    node, peer = new_netns(), new_netns()
    _connect(node, peer)
    conf_dir, bin_dir = tmp_path / "net.d", tmp_path / "bin"
    bin_dir.mkdir()
    with machine(node, tmp_path / "machine", conf_dir, bin_dir) as made:
        if request.param == "alone":
            plugin, state = _program(bin_dir), tmp_path / "state"
            entry: dict[str, object] = {"type": plugin, "ranges": RANGES, "stateDir": str(state)}
            site = Site(made, node, peer, conf_dir, state, entry, None)
            site.configure()
            yield site
        else:
            shutil.copy2(request.getfixturevalue("client"), bin_dir / "podwire")
            with agent.running(node, tmp_path, conf_dir, RANGES, NODE_ADDRESSES) as served:
                state, entry = served.state_dir, served.plugin()
                yield Site(made, node, peer, conf_dir, state, entry, served)


def _connect(node: Netns, peer: Netns) -> None:
    node.run("ip", "link", "add", "uplink", "type", "veth", "peer", "eth0", "netns", peer.name)
    for end, link, addresses in (
        (node, "uplink", NODE_ADDRESSES),
        (peer, "eth0", PEER_ADDRESSES),
    ):
        for address, length in zip(addresses, ("24", "64"), strict=True):
            end.run("ip", "address", "add", f"{address}/{length}", "dev", link, "nodad")
        # No link-local address: its routes would still come when a test compares routes.
        end.run("ip", "link", "set", link, "addrgenmode", "none", "up")
    node.run("ip", "route", "add", "default", "via", PEER_ADDRESSES[0])
    for range_, via in zip(RANGES, NODE_ADDRESSES, strict=True):
        peer.run("ip", "route", "add", range_, "via", via)


def _program(folder: Path) -> str:
    """podwire-cni, run by the tests' own interpreter."""
    program = folder / "podwire-cni"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -I -m podwire_cni\n")
    program.chmod(0o755)
    return program.name


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image with busybox."""
    return busybox_image.build(tmp_path_factory.mktemp("image"))


@pytest.fixture
def cnitool(site: Site) -> CniTool:
    """cnitool on the site's machine."""
    return CniTool(site.machine, NETWORK)


@pytest.fixture
def daemon(archive: Path, site: Site, tmp_path: Path) -> Iterator[Containerd]:
    """A containerd on the site's machine."""
    private_machine.needs("containerd", "ctr", "runc")
    with containerd(site.machine, tmp_path / "containerd", archive) as made:
        yield made


@pytest.fixture
def engine(archive: Path, site: Site, tmp_path: Path) -> Iterator[Podman]:
    """podman on the site's machine."""
    private_machine.needs("podman", "runc")
    with podman(site.machine, tmp_path / "podman", archive) as made:
        yield made
