"""Who attaches pods: each on a node of its own, with its leases in memory.

ptp, bridge   Debian's containernetworking-plugins, with their host-local
podwire-cni   ours without an agent: Python, started for each call
podwire       the client and an agent, told to give pods networks and nothing else
podwire, all  the same with an agent that serves Services and enforces policies, too

All give an address of the same /16, a link, and a default route; none masquerades.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import scratch
from scratch import Netns

from attaching.nodes import NODE_ADDRESS, Pod, node
from attaching.spawning import Call

STOCK = Path("/usr/lib/cni")
ALONE = Path(sys.executable).with_name("podwire-cni")
CLIENT_SOURCE = Path(__file__).parents[2] / "cni-plugin/client"
IPV4 = ("10.244.0.0/16",)
BOTH = (*IPV4, "fd00:10:244::/64")
PTP, BRIDGE, PODWIRE_CNI, PODWIRE, PODWIRE_ALL = (
    "ptp",
    "bridge",
    "podwire-cni",
    "podwire",
    "podwire, all",
)
_READY_S = 30.0


@dataclass(frozen=True)
class Contender:
    """One of them, ready. agent: its process' id; 0 where there is none."""

    name: str
    program: Path
    node: Netns
    folder: Path
    agent: int = 0

    @property
    def stdin(self) -> Path:
        """The configuration, as the runtime hands it to the plugin."""
        return self.folder / "config.json"

    @property
    def leases(self) -> Path:
        """The folder of its leases."""
        return self.folder / "leases"

    def call(self, command: str, pod: Pod) -> Call:
        """A call for a pod; what it prints is kept until the pod's next one."""
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod.name,
            "CNI_NETNS": pod.netns,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(STOCK),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={pod.name}",
        }
        netns = f"/run/netns/{self.node.name}"
        return Call(netns, self.program, self.stdin, self.folder / pod.name, variables)


def build_client(folder: Path) -> Path:
    """The CNI client, from its source. Raises CalledProcessError."""
    subprocess.run(["make", "-s", "-C", str(CLIENT_SOURCE), f"BUILD={folder}"], check=True)
    return folder / "podwire"


@contextmanager
def stock(plugin: str, ranges: Sequence[str] = IPV4) -> Iterator[Contender]:
    """`ptp` or `bridge`."""
    with node() as netns:
        made = Contender(plugin, STOCK / plugin, netns, _folder(netns))
        defaults = {4: "0.0.0.0/0", 6: "::/0"}
        ipam = {
            "type": "host-local",
            "dataDir": str(made.leases),
            "ranges": [[{"subnet": each}] for each in ranges],
            "routes": [{"dst": defaults[6 if ":" in each else 4]} for each in ranges],
        }
        bridge = {"bridge": "cni0", "isGateway": True} if plugin == BRIDGE else {}
        _configure(made, {"type": plugin, "ipam": ipam, **bridge})
        yield made


@contextmanager
def alone() -> Iterator[Contender]:
    """podwire-cni, which needs no agent."""
    with node() as netns:
        made = Contender(PODWIRE_CNI, ALONE, netns, _folder(netns))
        entry = {"type": ALONE.name, "ranges": list(IPV4), "stateDir": str(made.leases)}
        _configure(made, entry)
        yield made


@contextmanager
def with_agent(
    name: str, client: Path, components: str, ranges: Sequence[str] = IPV4
) -> Iterator[Contender]:
    """The client and an agent, configured by the conflist that the agent wrote."""
    with node() as netns:
        folder = _folder(netns)
        _put_node(folder, ranges)
        with _agent(netns, folder, components) as process:
            made = Contender(name, client, netns, folder, process.pid)
            conflist = json.loads((folder / "conf/10-podwire.conflist").read_bytes())
            _configure(made, conflist["plugins"][0])
            yield made


@contextmanager
def _agent(netns: Netns, folder: Path, components: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "podwire_node", "agent", "--node", "bench"]
    command += ["--components", components, "--feed", str(folder / "feed")]
    command += ["--cni-conf-dir", str(folder / "conf"), "--cni-socket", str(folder / "cni.sock")]
    command += ["--cni-state-dir", str(folder / "leases"), "--status", str(folder / "status")]
    log = folder / "agent.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{netns.name}", *command], stdout=out, stderr=out
        )

    def ready() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the agent ended: {log.read_text()[-2000:]}")
        return (folder / "conf/10-podwire.conflist").exists()

    try:
        scratch.until("the agent is ready", ready, seconds=_READY_S)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _put_node(folder: Path, ranges: Sequence[str]) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "bench"},
        "spec": {"podCIDR": ranges[0], "podCIDRs": list(ranges)},
        "status": {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}]},
    }
    (folder / "feed").mkdir()
    (folder / "feed/node.json").write_text(json.dumps(document))


def _folder(netns: Netns) -> Path:
    folder = Path("/run", netns.name)
    folder.mkdir(mode=0o700)
    return folder


def _configure(made: Contender, entry: Mapping[str, object]) -> None:
    config = {"cniVersion": "1.0.0", "name": "bench", **entry}
    made.stdin.write_text(json.dumps(config))
