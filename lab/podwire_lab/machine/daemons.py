"""The lab's own processes: one controller, and on each node a runner and an agent.

    fabric netns   controller      manifests + reports → objects
    node netns     runner, agent   objects → pods;  objects → rules and routes

Each is started in its namespace and session, and found again by its role (processes.ROLE).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from podwire_lab.folders import Folders
from podwire_lab.machine import namespaces, processes
from podwire_lab.topology import Lab, LabNode

_GRACE = 5.0


def start_controller(lab: Lab) -> int:
    """The control plane, beside the fabric; its process id."""
    argv = (sys.executable, "-m", "podwire_lab.control.controller", "--lab", lab.name)
    log = Folders.of(lab.name).root / "controller.log"
    return _start(argv, lab.fabric, f"{lab.name}/controller", log)


def start_runner(lab: Lab, node: LabNode) -> int:
    """A node's runner; its process id."""
    argv = (
        sys.executable,
        "-m",
        "podwire_lab.kubelet.runner",
        "--lab",
        lab.name,
        "--node",
        node.name,
    )
    log = Folders.of(lab.name).node(node.name) / "runner.log"
    return _start(argv, node.netns, _role(lab, "runner", node), log)


def start_agent(lab: Lab, node: LabNode) -> int:
    """A node's agent; its process id. What an earlier one said of itself is forgotten first."""
    folders = Folders.of(lab.name)
    status = agent_status(lab, node)
    status.unlink(missing_ok=True)
    feed = ("--feed", str(folders.objects), "--status", str(status))
    argv = (*podwire_argv(), "agent", "--node", node.name, *feed)
    return _start(argv, node.netns, _role(lab, "agent", node), _agent_log(lab, node))


def stop_agent(lab: Lab, node: LabNode) -> int:
    """End a node's agent, which leaves its rules in force; how many processes that were."""
    stopped = processes.end(processes.with_role(_role(lab, "agent", node)), _GRACE)
    agent_status(lab, node).unlink(missing_ok=True)
    return stopped


def stop_runner(lab: Lab, node: LabNode) -> int:
    """End a node's runner; its pods stay. How many processes that were."""
    return processes.end(processes.with_role(_role(lab, "runner", node)), _GRACE)


def agent_pid(lab: Lab, node: LabNode) -> int:
    """The agent's process id; 0 when it does not run."""
    return _pid(_role(lab, "agent", node))


def runner_pid(lab: Lab, node: LabNode) -> int:
    """The runner's process id; 0 when it does not run."""
    return _pid(_role(lab, "runner", node))


def agent_status(lab: Lab, node: LabNode) -> Path:
    """The file in which the agent says how it is."""
    return Folders.of(lab.name).node(node.name) / "agent.json"


def last_words(lab: Lab, node: LabNode) -> str:
    """The last line that a node's agent logged; "" when it said nothing."""
    try:
        raw = _agent_log(lab, node).read_bytes()
    except OSError:
        return ""
    return (raw.decode(errors="replace").strip().splitlines() or [""])[-1]


def podwire_argv() -> tuple[str, ...]:
    """The `podwire` command beside this interpreter, else its module."""
    found = shutil.which("podwire", path=str(Path(sys.executable).parent))
    return (found,) if found else (sys.executable, "-m", "podwire_node")


def _agent_log(lab: Lab, node: LabNode) -> Path:
    return Folders.of(lab.name).node(node.name) / "agent.log"


def _role(lab: Lab, what: str, node: LabNode) -> str:
    return f"{lab.name}/{what}/{node.name}"


def _pid(role: str) -> int:
    return processes.marked(processes.ROLE).get(role, 0)


def _start(argv: Sequence[str], netns: str, role: str, log: Path) -> int:
    enter = ("nsenter", f"--net={namespaces.path(netns)}", "--wd=/", "--")
    return processes.spawn((*enter, *argv), {**os.environ, processes.ROLE: role}, log)
