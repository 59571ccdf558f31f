"""A node's agent that serves its runtime's CNI calls, fed from a folder with its Node."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scratch import Netns, until

_NODE = "node1"


class Agent:
    """It can be stopped and started again; its state stays in the folder."""

    def __init__(self, node: Netns, folder: Path, conf_dir: Path) -> None:
        self._log, self._conf_dir = folder / "agent.log", conf_dir
        self._process: subprocess.Popen[bytes] | None = None
        self.state_dir = folder / "state"
        words = ["agent", "--node", _NODE, "--feed", str(folder / "objects")]
        words += ["--cni-conf-dir", str(conf_dir), "--cni-state-dir", str(self.state_dir)]
        words += ["--cni-socket", str(folder / "run/cni.sock")]
        inside = ["nsenter", f"--net=/run/netns/{node.name}"]
        self._command = [*inside, sys.executable, "-m", "podwire_node", *words]

    def start(self) -> None:
        """Start it and wait until a runtime can find the network."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=log)
        until("the agent has installed its conflist", self._installed)

    def _installed(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        return any(self._conf_dir.glob("*.conflist"))

    def stop(self) -> None:
        """As kubelet does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def plugin(self) -> dict[str, object]:
        """Its client's entry in the conflist that it installed."""
        (conflist,) = self._conf_dir.glob("*.conflist")
        found: dict[str, object] = json.loads(conflist.read_text())["plugins"][0]
        return found


@contextmanager
def running(
    node: Netns, folder: Path, conf_dir: Path, pod_cidrs: Sequence[str], addresses: Sequence[str]
) -> Iterator[Agent]:
    """An agent in the node's network, stopped afterwards. addresses: the node's own."""
    (folder / "objects").mkdir()
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": _NODE},
        "spec": {"podCIDRs": list(pod_cidrs)},
        "status": {"addresses": [{"type": "InternalIP", "address": each} for each in addresses]},
    }
    (folder / "objects/node.json").write_text(json.dumps(document))
    agent = Agent(node, folder, conf_dir)
    try:
        agent.start()
        yield agent
    finally:
        agent.stop()
