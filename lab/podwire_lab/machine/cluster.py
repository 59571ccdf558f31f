"""A lab from nothing to ready, and back to nothing.

    up     check ─► folders ─► fabric, nodes ─► control plane ─► runners, agents ─► wait
    down   end processes ─► delete namespaces ─► remove folders

The control plane is the small one, which takes manifests as files, or a real one, which takes
them when it serves (kubernetes.bootstrap).

The folders come first, so whatever happens after that, `down` finds what was made. `down`
needs no lab.json: namespaces are found by their prefix, processes by their namespace.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from podwire_core.errors import ObjectError, PodwireError
from podwire_lab import applied, changes, folders
from podwire_lab.control.manifests import Manifest
from podwire_lab.folders import Folders
from podwire_lab.kubernetes import bootstrap, plane
from podwire_lab.kubernetes import proxy as kube_proxy
from podwire_lab.kubernetes.applying import Sourced
from podwire_lab.kubernetes.settled import Versions
from podwire_lab.machine import cgroups, daemons, links, namespaces, processes, requirements
from podwire_lab.machine.readiness import NotReady, Say, silent, wait, wait_until_ready
from podwire_lab.overview import Lookout, Overview
from podwire_lab.topology import Lab, Proxy, netns_prefix, plan_lab

_GRACE = 2.0
_ROUNDS = 10


class NotUp(PodwireError):  # noqa: N818 - a state of the lab
    """The lab was not made; nothing of it is there. The text says why."""


class NotDown(PodwireError):  # noqa: N818 - a state of the lab
    """Something of the lab is still there; the text says what."""


@dataclass(frozen=True)
class Raised:
    """A lab that is up: how it stands, and which manifests could not be used."""

    overview: Overview
    errors: tuple[ObjectError, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Raising:
    """What is known on the way up: processes by what they are, and how long each phase took."""

    lab: Lab
    where: Folders
    say: Say
    timeout: float
    started: dict[str, int] = field(default_factory=dict)
    errors: list[ObjectError] = field(default_factory=list)
    versions: Versions = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Say what is done, and remember how long it took."""
        self.say(name)
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


@dataclass(frozen=True)
class Removed:
    """What `down` found and took away."""

    processes: int
    namespaces: tuple[str, ...]
    folder: bool

    def __bool__(self) -> bool:
        return bool(self.processes or self.namespaces or self.folder)


# ------------------------------------------------------------------------------------- up


def up(
    lab: Lab, paths: Sequence[Path] = (), *, timeout: float = 120.0, say: Say = silent
) -> Raised:
    """Make the lab, apply manifests, and wait until every agent and every pod is ready.

    Raises requirements.Unmet and NotUp when nothing was made, NotReady when the lab was left
    for inspection. Interrupted or failed on the way up, it is taken down.
    """
    say("checking this machine")
    requirements.check(lab)
    manifests, documents, errors = _read(lab, paths)
    if unreadable := [error for error in errors if not error.object]:
        raise NotUp("\n".join(map(str, unreadable)))
    raising = _Raising(lab, _claim(lab), say, timeout, errors=errors)
    try:
        _make(raising, manifests, documents)
        with raising.phase("waiting until all is ready"):
            overview = wait_until_ready(
                lab, raising.started, versions=raising.versions, timeout=timeout, say=say
            )
    except NotReady as error:
        raise NotReady("\n".join((*map(str, raising.errors), str(error)))) from error
    except OSError as error:
        down(lab.name)
        raise NotUp(f"the lab cannot be made: {error}") from error
    except BaseException:
        say("taking the lab down again")
        down(lab.name)
        raise
    return Raised(overview, tuple(raising.errors), raising.seconds)


def _read(
    lab: Lab, paths: Sequence[Path]
) -> tuple[Sequence[Manifest], Sequence[Sourced], list[ObjectError]]:
    """Manifests for the small control plane, or documents for a real one; and what is wrong."""
    if lab.kubernetes:
        documents, errors = changes.read_documents(paths)
        return (), documents, errors
    read = applied.read(paths)
    return read.manifests, (), list(read.errors)


def _claim(lab: Lab) -> Folders:
    """Make the lab's name ours: only who has made its folder may take the lab down again."""
    there = NotUp(
        f"lab {lab.name!r} is there already: `podwire lab apply PATH --name {lab.name}` adds"
        f" to it, `podwire lab down --name {lab.name}` takes it away"
    )
    if namespaces.named(lab.prefix):
        raise there
    where = Folders.of(lab.name)
    try:
        where.claim()
    except FileExistsError:
        raise there from None
    except OSError as error:
        raise NotUp(f"the lab cannot be made: {error}") from error
    return where


def _make(raising: _Raising, manifests: Sequence[Manifest], documents: Sequence[Sourced]) -> None:
    """Everything but waiting."""
    lab, where = raising.lab, raising.where
    where.fill(lab)
    with raising.phase(f"making {len(lab.nodes)} nodes"):
        cgroups.make(lab)
        links.make_fabric(lab)
        if lab.kubernetes:  # it takes seconds to begin, so it begins first
            raising.started |= bootstrap.start_servers(lab)
        for node in lab.nodes:
            links.make_node(lab, node)
        links.route_balancers(lab)
    if lab.kubernetes:
        with raising.phase("starting the control plane"):
            raising.started |= bootstrap.finish(lab, raising.started)
    else:
        applied.apply(where, manifests)
        raising.started["the controller"] = daemons.start_controller(lab)
    with raising.phase("starting agents and runners"):
        _start_nodes(raising)
    if lab.kubernetes:
        with raising.phase("waiting for nodes"):
            # Else the scheduler would put all pods on the node that is first.
            _wait_for_nodes(raising)
        with raising.phase("applying manifests"):
            done = changes.apply_documents(lab, documents)
        raising.errors += done.errors
        raising.versions = done.versions


def _start_nodes(raising: _Raising) -> None:
    lab, started = raising.lab, raising.started
    for node in lab.nodes:
        started[f"the runner of {node.name}"] = daemons.start_runner(lab, node)
        started[f"the agent of {node.name}"] = daemons.start_agent(lab, node)
        if lab.proxy is not Proxy.PODWIRE:
            started[f"the kube-proxy of {node.name}"] = kube_proxy.start(lab, node)


def _wait_for_nodes(raising: _Raising) -> None:
    """Wait until every node may take pods. Raises NotReady."""

    def lacks(_: Lookout, overview: Overview) -> Sequence[str]:
        return [f"{row.name}: {row.lacks}" for row in overview.nodes if row.lacks]

    try:
        wait(raising.lab, raising.started, lacks, raising.timeout, raising.say)
    except NotReady as error:
        again = f"`podwire lab apply PATH --name {raising.lab.name}` can still do it"
        raise NotReady(f"{error}\nno manifest is applied yet: {again}") from error


def restart_agent(lab: Lab, node: str) -> int:
    """End a node's agent and start it again; the new process id. Raises KeyError, OSError."""
    daemons.stop_agent(lab, lab.node(node))
    return daemons.start_agent(lab, lab.node(node))


# ------------------------------------------------------------------------------------ down


def down(name: str, say: Say = silent) -> Removed:
    """Take a lab away, whatever state it is in; what was there. Twice is fine.

    Raises ValueError for a name that no lab can have, processes.ProcessesError for processes
    that cannot be ended, and NotUp when asked from inside the lab.
    """
    plan_lab(name, 1)  # the name becomes a path below
    prefix = netns_prefix(name)
    with namespaces.membership(namespaces.named(prefix)) as inside:
        asked_from_inside = inside(os.getpid())
    if asked_from_inside:
        raise NotUp(f"this shell is inside lab {name!r}: leave it first, `down` would end it")
    ended, names = 0, set[str]()
    for _ in range(_ROUNDS):
        found = namespaces.named(prefix)
        say(f"ending the processes of {len(found)} namespaces")
        met = _end_processes(name, found)
        for each in found:
            namespaces.delete(each)
        ended += met
        names.update(found)
        if not found and not met:
            break
    root = Folders.of(name).root
    there = root.exists()
    kept = cgroups.remove(name)
    shutil.rmtree(root, ignore_errors=True)  # twice at once is fine: it is looked at below
    left = [*namespaces.named(prefix), *kept, *([str(root)] if root.exists() else [])]
    if left:
        raise NotDown(f"of lab {name!r} this is still there: {', '.join(left)}; try it again")
    return Removed(ended, tuple(sorted(names)), there)


def _end_processes(name: str, found: Sequence[str]) -> int:
    """Those first that would start others again.

    One that an `up` was killed while starting is on its way into its namespace: only its
    mark tells whose it is.
    """
    with namespaces.membership(found) as inside:

        def marked(pid: int, variable: str) -> bool:
            return processes.mark_of(pid, variable).startswith(f"{name}/")

        def daemon(pid: int) -> bool:
            return marked(pid, processes.ROLE)

        def ours(pid: int) -> bool:
            return inside(pid) or daemon(pid) or marked(pid, processes.CONTAINER)

        def of_plane(pid: int) -> bool:
            return processes.mark_of(pid, processes.ROLE) in plane_roles

        plane_roles = {plane.role(name, each) for each in plane.PROGRAMS}
        # A server would first wait for its clients, and what it keeps goes with the lab.
        met = processes.end(of_plane, 0.0)
        return met + processes.end(daemon, _GRACE) + processes.end(ours, _GRACE)


def labs() -> tuple[str, ...]:
    """Names of all labs of which anything is there, sorted."""
    names = {each.split(".")[1] for each in namespaces.named("pw.") if each.count(".") >= 2}
    if folders.ROOT.is_dir():
        names |= {each.name for each in folders.ROOT.iterdir() if each.is_dir()}
    return tuple(sorted(names))
