"""The lab's own processes: one controller, and on each node a runner and an agent.

    fabric netns   controller      manifests + reports → objects
                   mirror          in its place, where a real API server has the objects
    node netns     runner, agent   objects → pods;  objects → rules and routes

Each is started in its namespace and session, and found again by its role (processes.ROLE).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from podwire_lab.folders import Folders
from podwire_lab.machine import cgroups, namespaces, processes
from podwire_lab.topology import Lab, LabNode, Proxy

_GRACE = 5.0
_LAST_BYTES = 64 * 1024
_PROXIES = {"http_proxy", "https_proxy", "all_proxy"}


def start_controller(lab: Lab) -> int:
    """The control plane, beside the fabric; its process id."""
    argv = (*_python("podwire_lab.control.controller"), "--lab", lab.name)
    log = Folders.of(lab.name).root / "controller.log"
    return start(argv, lab.fabric, f"{lab.name}/controller", log)


def start_mirror(lab: Lab) -> int:
    """What writes a real API server's objects where the controller would; its process id."""
    argv = (*_python("podwire_lab.kubernetes.mirror"), "--lab", lab.name)
    return start(argv, lab.fabric, f"{lab.name}/mirror", Folders.of(lab.name).root / "mirror.log")


def start_runner(lab: Lab, node: LabNode) -> int:
    """A node's runner; its process id."""
    names = ("--lab", lab.name, "--node", node.name)
    argv = (*_python("podwire_lab.kubelet.runner"), *names)
    log = Folders.of(lab.name).node(node.name) / "runner.log"
    return _start_on(lab, node, argv, "runner", log)


def start_agent(lab: Lab, node: LabNode) -> int:
    """A node's agent; its process id. What an earlier one said of itself is forgotten first."""
    agent_status(lab, node).unlink(missing_ok=True)
    argv = agent_argv(lab, node)
    return _start_on(lab, node, argv, "agent", _agent_log(lab, node))


def agent_argv(lab: Lab, node: LabNode) -> tuple[str, ...]:
    """How a node's agent is started."""
    status = str(agent_status(lab, node))
    socket = ("--control-socket", str(agent_socket(lab, node)))
    common = (*podwire_argv(), "agent", "--node", node.name, "--status", status, *socket)
    for name, value in own_settings(lab, node).items():
        common += (f"--{name.removeprefix('PODWIRE_').lower().replace('_', '-')}", value)
    folders = Folders.of(lab.name)
    if not lab.kubernetes:
        return (*common, "--feed", str(folders.objects))
    own = folders.node(node.name)
    return (
        *(*common, "--feed", "kubernetes"),
        *("--kubeconfig", str(folders.kubernetes / "agent.kubeconfig")),
        *("--cni-conf-dir", str(own / "cni-conf"), "--cni-plugin", "podwire-cni"),
        *("--cni-state-dir", str(own / "cni")),
        *(() if lab.proxy is Proxy.PODWIRE else ("--components", "cni,policy")),
    )


def own_settings(lab: Lab, node: LabNode) -> dict[str, str]:
    """What the lab decides of how Services are served, by environment variable.

    Else an agent would take the mode from our environment, and the machine's cgroup and bpffs.
    """
    found = {"PODWIRE_PROXY_MODE": lab.proxy_mode.value}
    if cgroups.has(lab):  # else nothing, or auto: the agent says why it does without
        found["PODWIRE_EBPF_CGROUP"] = str(cgroups.of(lab, node))
        found["PODWIRE_EBPF_FOLDER"] = str(cgroups.folder(lab, node))
    return found


def unheard(lab: Lab, node: LabNode) -> dict[str, str]:
    """Variables of our environment that the lab overrides, with what it has in their place."""
    own = own_settings(lab, node)
    return {name: own[name] for name in own if os.environ.get(name, own[name]) != own[name]}


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


def without_runner(lab: Lab) -> tuple[LabNode, ...]:
    """Nodes whose runner does not run."""
    roles = processes.marked(processes.ROLE)
    return tuple(node for node in lab.nodes if _role(lab, "runner", node) not in roles)


def without_agent(lab: Lab) -> tuple[LabNode, ...]:
    """Nodes whose agent does not run."""
    roles = processes.marked(processes.ROLE)
    return tuple(node for node in lab.nodes if _role(lab, "agent", node) not in roles)


def agent_status(lab: Lab, node: LabNode) -> Path:
    """The file in which the agent says how it is."""
    return Folders.of(lab.name).node(node.name) / "agent.json"


def agent_socket(lab: Lab, node: LabNode) -> Path:
    """Where the agent answers questions (`podwire lab ask`)."""
    return Folders.of(lab.name).node(node.name) / "control" / "agent.sock"


def last_words(lab: Lab, node: LabNode) -> str:
    """The last line that a node's agent logged; "" when it said nothing."""
    return last_line(_agent_log(lab, node))


def last_line(log: Path, prefer: Callable[[str], bool] = lambda _: True) -> str:
    """The last line of a log that `prefer` likes, else the very last; "" for an empty one."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_BYTES))
            lines = file.read(_LAST_BYTES).decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return next(filter(prefer, reversed(lines)), lines[-1] if lines else "")


def podwire_argv() -> tuple[str, ...]:
    """The `podwire` command beside this interpreter, else its module."""
    found = shutil.which("podwire", path=str(Path(sys.executable).parent))
    return (found,) if found else _python("podwire_node")


def _python(module: str) -> tuple[str, ...]:
    """A module run by this interpreter, which says where it crashed, should it ever."""
    return (sys.executable, "-P", "-X", "faulthandler", "-m", module)


def _agent_log(lab: Lab, node: LabNode) -> Path:
    return Folders.of(lab.name).node(node.name) / "agent.log"


def _role(lab: Lab, what: str, node: LabNode) -> str:
    return f"{lab.name}/{what}/{node.name}"


def _pid(role: str) -> int:
    return processes.marked(processes.ROLE).get(role, 0)


def _start_on(lab: Lab, node: LabNode, argv: Sequence[str], what: str, log: Path) -> int:
    """Start a program on a node; what it starts is there, too."""
    before = cgroups.enter(lab, node)
    return start(argv, node.netns, _role(lab, what, node), log, before=before)


def start(
    argv: Sequence[str], netns: str, role: str, log: Path, *, before: Sequence[str] = ()
) -> int:
    """Start a program in a namespace, marked with its role; its process id. Raises OSError.

    before: words that lead elsewhere still (cgroups.enter).
    """
    enter = ("nsenter", f"--net={namespaces.path(netns)}", "--wd=/", "--")
    words = (*before, *enter, *argv)
    return processes.spawn(words, {**environment(), processes.ROLE: role}, log)


def environment() -> dict[str, str]:
    """Ours, without proxies: none of them leads into a lab."""
    return {name: value for name, value in os.environ.items() if name.lower() not in _PROXIES}
