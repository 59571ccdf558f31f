"""A node that attaches pods by the real client and a real agent.

```
 peer ── uplink ── node (agent, folder of objects) ── pods
                     ▲ socket
   client (C), started on the machine, in no node's namespace
```
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scratch import Netns, until

NODE = "node1"
RANGES = ("10.244.1.0/24", "fd00:10:244:1::/64")
NODE_ADDRESSES = ("192.168.77.1", "fd00:77::1")
_SERVER = """
import socketserver, sys
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(sys.argv[1].encode())
socketserver.ThreadingTCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer(("0.0.0.0", 80), Answer)
print(flush=True)
server.serve_forever()
"""
_DIAL = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])) as peer:
    print(peer.recv(99).decode())
"""


@dataclass(frozen=True)
class Called:
    """What a call left: its exit code and its JSON, {} where there is none."""

    exit_code: int
    json: dict[str, Any]

    @property
    def code(self) -> int:
        """The specification's error code; 0 for success."""
        return int(self.json.get("code", -1)) if self.exit_code else 0

    @property
    def address(self) -> str:
        """The pod's first address."""
        return str(self.json["ips"][0]["address"]).partition("/")[0]


@dataclass
class AttachingNode:
    """folder: where everything of it is.  client: the built program."""

    netns: Netns
    peer: Netns
    folder: Path
    client: Path
    ranges: Sequence[str] = RANGES
    components: str = "cni,policy"
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objects.mkdir(parents=True)
        uplink = ("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "eth0")
        self.netns.run(*uplink, "netns", self.peer.name)
        for end, device, number in ((self.netns, "uplink", 1), (self.peer, "eth0", 2)):
            end.run("ip", "address", "add", f"192.168.77.{number}/24", "dev", device)
            end.run("ip", "address", "add", f"fd00:77::{number}/64", "dev", device, "nodad")
            end.run("ip", "link", "set", device, "up")
        self.peer.run("ip", "route", "add", "10.244.0.0/16", "via", NODE_ADDRESSES[0])
        self.put("Node", NODE, spec={"podCIDRs": list(self.ranges)}, status=_NODE_STATUS)

    @property
    def objects(self) -> Path:
        return self.folder / "objects"

    @property
    def socket(self) -> Path:
        return self.folder / "run/cni.sock"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    # -------------------------------------------------------------------------- objects

    def put(self, kind: str, name: str, version: str = "v1", **fields: object) -> None:
        """Write an object, whole; a namespaced one is of `default`."""
        metadata = {"name": name, **fields.pop("metadata", {})}  # type: ignore[dict-item] # a dict
        document = {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
        hidden = self.objects / ".new"
        hidden.write_text(json.dumps(document))
        hidden.rename(self.objects / f"{kind}.{name}.json")

    def put_pod(
        self,
        name: str,
        uid: str = "",
        phase: str = "Pending",
        addresses: Sequence[str] = (),
        deleted: str | None = None,
        **labels: str,
    ) -> None:
        """A pod of this node; the API server knows no address of it yet, unless it is given.

        deleted: its deletionTimestamp.
        """
        metadata = {"labels": labels, "uid": uid, "deletionTimestamp": deleted}
        spec = {"nodeName": NODE, "containers": [{"name": "main"}]}
        status = {"phase": phase, "podIPs": [{"ip": each} for each in addresses]}
        self.put("Pod", name, metadata=metadata, spec=spec, status=status)

    def put_policy(self, name: str, **spec: object) -> None:
        """A NetworkPolicy of `default`."""
        self.put("NetworkPolicy", name, "networking.k8s.io/v1", spec=spec)

    def deny_all_to(self, **labels: str) -> None:
        """A policy that lets nobody reach the pods with these labels."""
        self.put_policy("deny", podSelector={"matchLabels": labels}, policyTypes=["Ingress"])

    def remove(self, kind: str, name: str) -> None:
        """Take an object away."""
        (self.objects / f"{kind}.{name}.json").unlink()

    # ---------------------------------------------------------------------------- agent

    def start(self) -> subprocess.Popen[bytes]:
        """Start an agent and wait until it answers calls."""
        process = self.begin()
        until("the agent serves", lambda: self.call("STATUS").exit_code == 0)
        return process

    def begin(self) -> subprocess.Popen[bytes]:
        """Start an agent; calls wait for it."""
        command = [sys.executable, "-m", "podwire_node", "agent", "--node", NODE]
        files = ["--feed", str(self.objects), "--status", str(self.folder / "status.json")]
        cni = ["--cni-socket", str(self.socket), "--cni-state-dir", str(self.state)]
        files += ["--control-socket", str(self.folder / "run/control.sock")]
        inside = ["nsenter", f"--net=/run/netns/{self.netns.name}"]
        with (self.folder / "agent.log").open("ab") as log:
            argv = [*inside, *command, *files, *cni, "--components", self.components]
            self.agents.append(subprocess.Popen(argv, stderr=log))
        return self.agents[-1]

    def status(self) -> dict[str, Any]:
        """What the agent says of itself; {} before it says anything."""
        try:
            return dict(json.loads((self.folder / "status.json").read_text()))
        except FileNotFoundError:
            return {}

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the newest agent."""
        self.agents[-1].send_signal(number)
        return self.agents[-1].wait(20)

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    # ---------------------------------------------------------------------------- calls

    def call(
        self, command: str, pod: Netns | None = None, name: str = "", uid: str = "", **keys: object
    ) -> Called:
        """A call by the client. name: of the Pod in `default`, else nobody's container."""
        environ = {"CNI_COMMAND": command, "CNI_PATH": str(self.client.parent)}
        if pod is not None:
            environ |= {
                "CNI_CONTAINERID": pod.name,
                "CNI_NETNS": f"/run/netns/{pod.name}",
                "CNI_IFNAME": "eth0",
            }
        if name:
            environ["CNI_ARGS"] = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"
        if uid:
            environ["CNI_ARGS"] += f";K8S_POD_UID={uid}"
        config = {
            "cniVersion": "1.1.0",
            "name": "podnet",
            "type": "podwire",
            "ranges": list(self.ranges),
            "socket": str(self.socket),
            "queueDir": str(self.state / "queue"),
            **keys,
        }
        done = subprocess.run(
            [self.client],
            env=environ,
            input=json.dumps(config).encode(),
            capture_output=True,
            check=False,
            timeout=70,
        )
        return Called(done.returncode, json.loads(done.stdout) if done.stdout else {})

    def left(self) -> list[str]:
        """Links and routes of pods that are in the node's namespace."""
        links = json.loads(self.netns.run("ip", "-json", "link") or "[]")
        found = [f"link {each['ifname']}" for each in links if each["ifname"].startswith("pw")]
        for family in ("-4", "-6"):
            routes = json.loads(self.netns.run("ip", "-json", family, "route") or "[]")
            found += [f"route {each['dst']}" for each in routes if "pw" in each.get("dev", "")]
        return found

    def forced_end(self) -> None:
        """End whatever agents are left."""
        for each in self.agents:
            if each.poll() is None:
                each.kill()
            each.wait()


_NODE_STATUS = {
    "addresses": [{"type": "InternalIP", "address": address} for address in NODE_ADDRESSES]
}


@contextmanager
def answering(netns: Netns, words: str) -> Iterator[None]:
    """Port 80 of every address, now and later, answers these words."""
    server = netns.popen("/usr/bin/python3", "-I", "-S", "-c", _SERVER, words)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "\n"
        yield
    finally:
        server.kill()
        server.communicate()


def dialled(netns: Netns, address: str, port: int = 80, seconds: float = 10) -> str:
    """What port answers; "" when nobody does within that time."""
    command = ("/usr/bin/python3", "-I", "-S", "-c", _DIAL, address, str(port), str(seconds))
    return netns.run(*command, check=False).strip()
