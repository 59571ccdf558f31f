"""Nodes and pods as network namespaces, and the plugin as the runtime calls it.

```
 node (pwt-<pid>-<n>)                       pod (pwt-<pid>-<n>)
 ┌───────────────────────────┐              ┌──────────────────┐
 │ uplink 192.0.2.1/24       │              │                  │
 │        fd00:2::1/64  pw…──┼──────────────┼── eth0           │
 └───────────────────────────┘              └──────────────────┘
```

Every namespace has the test process' id in its name, is removed by its fixture, and what
a crash left is swept at the end of the session.
"""

import ipaddress
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podwire_cni import plugin
from podwire_cni.attachment import Attachment

PREFIX = f"pwt-{os.getpid()}-"
PACKAGE = str(Path(plugin.__file__).parents[1])
UPLINK_MTU = 1450
NODE_ADDRESSES = {4: "192.0.2.1", 6: "fd00:2::1"}
RANGES = ("10.244.1.0/24", "fd00:10:244:1::/64")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """What a call left on stdout and stderr."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def code(self) -> int:
        """The specification's error code; 0 for success."""
        return int(self.json["code"]) if self.exit_code else 0


@dataclass(frozen=True)
class Namespace:
    """A network namespace that the test may run commands in."""

    name: str

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def run(self, *command: str) -> str:
        """Run a command inside; its stdout. Raises when it fails."""
        return sh("nsenter", f"--net={self.path}", *command)

    def ip(self, *words: str) -> Any:
        """Ask `ip -json`."""
        text = self.run("ip", "-json", *words)
        return json.loads(text) if text.strip() else []

    def pings(self, address: str, *options: str, patience: int = 10) -> bool:
        """Whether the answer to one echo request comes within some seconds."""
        done = subprocess.run(
            [
                *("nsenter", f"--net={self.path}", "ping", "-n", "-c1", f"-W{patience}"),
                *(*options, address),
            ],
            capture_output=True,
            check=False,
            timeout=30,
        )
        return done.returncode == 0

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


@dataclass(frozen=True)
class Pod:
    """A container that is to be attached, or is."""

    namespace: Namespace
    container: str
    interface: str = "eth0"

    def variables(self, netns: str | None = None) -> dict[str, str]:
        return {
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": self.namespace.path if netns is None else netns,
            "CNI_IFNAME": self.interface,
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={self.container}",
        }

    @property
    def attachment(self) -> Attachment:
        return Attachment("podnet", self.container, self.interface)


@dataclass
class Node:
    """A node: its namespace, its configuration, and calls to the plugin on it."""

    namespace: Namespace
    state_dir: Path
    ranges: Sequence[str] = RANGES

    def config(self, **keys: object) -> dict[str, object]:
        base: dict[str, object] = {
            "cniVersion": "1.1.0",
            "name": "podnet",
            "type": "podwire-cni",
            "ranges": list(self.ranges),
            "stateDir": str(self.state_dir),
        }
        return base | keys

    def start(
        self,
        command: str,
        pod: Pod | None = None,
        *,
        netns: str | None = None,
        launcher: Sequence[str] = ("-m", "podwire_cni"),
        **keys: object,
    ) -> subprocess.Popen[str]:
        """Begin a call; keys change the configuration."""
        environ = {"CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin", "PYTHONPATH": PACKAGE}
        # -W error: a socket or a file that the plugin forgets to close is a failure.
        process = subprocess.Popen(
            ["nsenter", f"--net={self.namespace.path}", sys.executable, "-W", "error", *launcher],
            env=environ | (pod.variables(netns) if pod else {}) | {"PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(self.config(**keys)))
            process.stdin.close()
        except BrokenPipeError:  # it has answered without reading
            pass
        process.stdin = None
        return process

    def call(self, command: str, pod: Pod | None = None, **keys: Any) -> Answer:
        """One whole call."""
        return finish(self.start(command, pod, **keys))

    def add(self, pod: Pod, **keys: Any) -> dict[str, Any]:
        """An ADD that must succeed; its result."""
        answer = self.call("ADD", pod, **keys)
        assert answer.exit_code == 0, answer
        assert answer.stderr == ""
        return answer.json

    def traces(self) -> dict[str, list[str]]:
        """Everything podwire has on the node now; all lists are empty on a clean one."""
        links = [link["ifname"] for link in self.namespace.ip("link")]
        routes = [
            route["dst"] for family in ("-4", "-6") for route in self.namespace.ip(family, "route")
        ]
        inside = [ipaddress.ip_network(range_) for range_ in self.ranges]
        return {
            "links": [name for name in links if name.startswith("pw")],
            "routes": [dst for dst in routes if _within(dst, inside)],
            "leases": self.leases(),
        }

    def leases(self) -> list[str]:
        """The containers that hold a lease."""
        database = self.state_dir / "leases.db"
        if not database.exists():
            return []
        with closing(sqlite3.connect(database)) as connection:
            try:
                rows = connection.execute(
                    "SELECT DISTINCT container FROM leases WHERE released IS NULL ORDER BY 1"
                ).fetchall()
            except sqlite3.OperationalError:  # killed before the table was made
                return []
        return [container for (container,) in rows]


CLEAN: dict[str, list[str]] = {"links": [], "routes": [], "leases": []}


def finish(process: subprocess.Popen[str]) -> Answer:
    """Wait for a call that was started."""
    stdout, stderr = process.communicate(timeout=60)
    return Answer(process.returncode, stdout, stderr)


def addresses(result: dict[str, Any]) -> list[str]:
    """The result's addresses without their prefix lengths."""
    return [ip["address"].split("/")[0] for ip in result["ips"]]


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _within(
    destination: str, ranges: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> bool:
    if destination == "default":
        return False
    network = ipaddress.ip_network(destination)
    return any(
        network.version == range_.version and network.network_address in range_ for range_ in ranges
    )


@pytest.fixture(scope="session", autouse=True)
def _sweep() -> Iterator[None]:
    """Needs root; removes whatever namespaces of this process are left in the end."""
    tools = ("ip", "nsenter", "ping", "sysctl")
    missing = [f"the command {tool}" for tool in tools if shutil.which(tool) is None]
    if os.geteuid() != 0:
        missing.append("root: run it with sudo")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")
    yield
    for path in Path("/run/netns").glob(f"{PREFIX}*"):
        Namespace(path.name).remove()


@pytest.fixture
def make_namespace() -> Iterator[Callable[[], Namespace]]:
    made: list[Namespace] = []

    def make() -> Namespace:
        namespace = Namespace(f"{PREFIX}{next(_numbers)}")
        made.append(namespace)
        sh("ip", "netns", "add", namespace.name)
        return namespace

    yield make
    for namespace in made:
        namespace.remove()


@pytest.fixture
def make_pod(make_namespace: Callable[[], Namespace]) -> Callable[[], Pod]:
    def make() -> Pod:
        namespace = make_namespace()
        return Pod(namespace, f"c-{namespace.name}")

    return make


@pytest.fixture
def pod(make_pod: Callable[[], Pod]) -> Pod:
    return make_pod()


@pytest.fixture
def make_node(make_namespace: Callable[[], Namespace], tmp_path: Path) -> Callable[..., Node]:
    def make(ranges: Sequence[str] = RANGES) -> Node:
        namespace = make_namespace()
        ip = ("ip", "-n", namespace.name)
        sh(*ip, "link", "set", "lo", "up")
        sh(*ip, "link", "add", "uplink", "mtu", str(UPLINK_MTU), *["type", "veth", "peer", "wire"])
        sh(*ip, "link", "set", "wire", "up")
        sh(*ip, "link", "set", "uplink", "up")
        sh(*ip, "addr", "add", "192.0.2.1/24", "dev", "uplink")
        sh(*ip, "addr", "add", "fd00:2::1/64", "dev", "uplink", "nodad")
        sh(*ip, "route", "add", "default", "via", "192.0.2.254")
        return Node(namespace, tmp_path / namespace.name, ranges)

    return make


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node()
