"""A whole agent that reads a cluster from a server of ours (listing.py): its time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import scratch
from listing import Page, kubeconfig, listing
from memory import peak_mb, resident_mb

_PATIENCE_S = 300.0


@dataclass(frozen=True)
class AgentRun:
    """Seconds from its start until all is in the kernel; MB of 10^6 bytes then and ever."""

    ready_s: float
    rss_mb: float
    peak_mb: float


def run(
    node: scratch.Netns,
    name: str,
    pages: Mapping[str, Page],
    options: Sequence[str],
    folder: Path,
) -> AgentRun:
    """One agent of the Node of this name in this namespace, until it is ready; then its end."""
    with listing(node, pages) as port:
        return _measured(node, name, kubeconfig(folder, port), options, folder)


def _measured(
    node: scratch.Netns, name: str, config: Path, options: Sequence[str], folder: Path
) -> AgentRun:
    status, log = folder / "status.json", folder / "agent.log"
    command = [sys.executable, "-m", "podwire_node", "agent", "--node", name, *options]
    command += ["--feed", "kubernetes", "--kubeconfig", str(config)]
    command += ["--status", str(status), "--control-socket", str(folder / "agent.sock")]
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{node.name}", *command], stdout=out, stderr=out
        )
    try:
        scratch.until("the agent is ready", lambda: _ready(process, status, log), _PATIENCE_S)
        took = time.perf_counter() - began
        return AgentRun(took, resident_mb(process.pid), peak_mb(process.pid))
    finally:
        process.kill()
        process.wait()


def _ready(process: subprocess.Popen[bytes], status: Path, log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(log.read_text()[-2000:])
    return status.exists() and bool(json.loads(status.read_bytes())["ready"])
