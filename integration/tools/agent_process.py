"""An agent that serves Services at sockets, as a process that can be killed, and its objects.

    agent = AgentProcess(netns, place, folder)
    agent.lead(1, 2, 3)         # the Service's endpoints, as the API would say
    agent.start()               # ready: rules, maps and programs are in force
    agent.kill()                # SIGKILL: what it made goes on

10.96.0.10:80 is the one Service; endpoint N is 10.244.0.N (proxy_stage).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from proxy_stage import HERE, pod_address
from scratch import Netns, until

from podwire_ebpf.place import Place

VIP, PORT = "10.96.0.10", 8080


class AgentProcess:
    """folder: an empty one of the test's. more: of the agent's options."""

    def __init__(
        self, netns: Netns, place: Place, folder: Path, *more: str, protocol: str = "TCP"
    ) -> None:
        self._netns, self._place, self._folder, self._more = netns, place, folder, more
        self._protocol = protocol
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "objects").mkdir()
        addresses = [{"type": "InternalIP", "address": "192.168.77.1"}]
        self._put("v1", "Node", {"name": HERE}, status={"addresses": addresses})
        ports = [{"port": 80, "protocol": protocol}]
        spec = {"clusterIP": VIP, "clusterIPs": [VIP], "ports": ports}
        self._put("v1", "Service", {"name": "web"}, spec=spec)

    def lead(self, *numbers: int) -> None:
        """The Service has these endpoints from now on."""
        labels = {"kubernetes.io/service-name": "web"}
        self._put(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            {"name": "web-1", "labels": labels},
            addressType="IPv4",
            ports=[{"name": "", "port": PORT, "protocol": self._protocol}],
            endpoints=[{"addresses": [pod_address(each)]} for each in numbers],
        )

    def begin(self) -> None:
        """Start it, and do not wait."""
        (self._folder / "status.json").unlink(missing_ok=True)
        options = {
            "--node": HERE,
            "--feed": self._folder / "objects",
            "--status": self._folder / "status.json",
            "--components": "proxy",
            "--proxy-mode": "ebpf",
            "--ebpf-cgroup": self._place.cgroup,
            "--ebpf-folder": self._place.folder,
            "--control-socket": "",
        }
        words = [str(word) for pair in options.items() for word in pair]
        inside = ["nsenter", f"--net=/run/netns/{self._netns.name}"]
        command = [*inside, sys.executable, "-m", "podwire_node", "agent", *words, *self._more]
        with (self._folder / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log)

    def start(self) -> None:
        """Start it, and wait until all is in force."""
        self.begin()
        until("the agent is ready", self._is_ready)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _is_ready(self) -> bool:
        assert self._process is not None
        log = self._folder / "agent.log"
        assert self._process.poll() is None, log.read_text()
        try:
            status = json.loads((self._folder / "status.json").read_bytes())
        except FileNotFoundError:
            return False
        return bool(status["ready"])

    def _put(self, version: str, kind: str, metadata: dict[str, Any], **rest: Any) -> None:
        document = {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}
        hidden = self._folder / "objects" / ".new"
        hidden.write_text(json.dumps(document))
        hidden.rename(self._folder / "objects" / f"{kind}.json")
