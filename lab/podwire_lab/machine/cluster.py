"""A lab from nothing to ready, and back to nothing.

    up     check ─► folders ─► fabric, nodes ─► manifests ─► controller, runners, agents ─► wait
    down   end processes ─► delete namespaces ─► remove folders

The folders come first, so whatever happens after that, `down` finds what was made. `down`
needs no lab.json: namespaces are found by their prefix, processes by their namespace.
"""

from __future__ import annotations

import os
import select
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire_core.errors import ObjectError, PodwireError
from podwire_lab import applied, folders
from podwire_lab.control.manifests import Manifest
from podwire_lab.folders import Folders
from podwire_lab.machine import daemons, links, namespaces, processes, requirements
from podwire_lab.overview import Lookout, Overview
from podwire_lab.topology import Lab, netns_prefix, plan_lab

Say = Callable[[str], None]

_GRACE = 2.0
_ROUNDS = 10
_LOOK_AT_LEAST_EVERY = 0.2  # seconds; an agent's status and a process that dies wake no one


class NotUp(PodwireError):  # noqa: N818 - a state of the lab
    """The lab was not made; nothing of it is there. The text says why."""


class NotReady(PodwireError):  # noqa: N818 - a state of the lab
    """The lab is there and not ready; the text says what is missing, a line each."""


@dataclass(frozen=True)
class Raised:
    """A lab that is up: how it stands, and which manifests could not be used."""

    overview: Overview
    errors: tuple[ObjectError, ...]


@dataclass(frozen=True)
class Removed:
    """What `down` found and took away."""

    processes: int
    namespaces: tuple[str, ...]
    folder: bool

    def __bool__(self) -> bool:
        return bool(self.processes or self.namespaces or self.folder)


def _silent(_: str) -> None:
    """Say nothing."""


# ------------------------------------------------------------------------------------- up


def up(
    lab: Lab, paths: Sequence[Path] = (), *, timeout: float = 120.0, say: Say = _silent
) -> Raised:
    """Make the lab, apply manifests, and wait until every agent and every pod is ready.

    Raises requirements.Unmet and NotUp when nothing was made, NotReady when the lab was left
    for inspection. Interrupted or failed on the way up, it is taken down.
    """
    say("checking this machine")
    requirements.check()
    read = applied.read(paths)
    if unreadable := [error for error in read.errors if not error.object]:
        raise NotUp("\n".join(map(str, unreadable)))
    where = _claim(lab)
    try:
        started = _make(lab, where, read.manifests, say)
        overview = wait_until_ready(lab, started, timeout=timeout, say=say)
    except NotReady as error:
        raise NotReady("\n".join((*map(str, read.errors), str(error)))) from error
    except OSError as error:
        down(lab.name)
        raise NotUp(f"the lab cannot be made: {error}") from error
    except BaseException:
        say("taking the lab down again")
        down(lab.name)
        raise
    return Raised(overview, read.errors)


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


def _make(lab: Lab, where: Folders, manifests: Sequence[Manifest], say: Say) -> dict[str, int]:
    """Everything but waiting; the ids of the processes started, by what they are."""
    where.fill(lab)
    say(f"making {len(lab.nodes)} nodes")
    links.make_fabric(lab)
    for node in lab.nodes:
        links.make_node(lab, node)
    applied.apply(where, manifests)
    say("starting agents and runners")
    started = {"the controller": daemons.start_controller(lab)}
    for node in lab.nodes:
        started[f"the runner of {node.name}"] = daemons.start_runner(lab, node)
        started[f"the agent of {node.name}"] = daemons.start_agent(lab, node)
    return started


# --------------------------------------------------------------------------------- waiting


def wait_until_ready(
    lab: Lab,
    started: dict[str, int] | None = None,
    *,
    timeout: float = 120.0,
    say: Say = _silent,
) -> Overview:
    """Wait until every agent is ready and every pod is; how the lab stands then.

    Raises NotReady after `timeout` seconds, or as soon as one of the `started` processes ends.
    """
    deadline = time.monotonic() + timeout
    with Lookout(lab) as lookout:
        while True:
            overview = lookout.look()
            if not overview.missing and overview.pods and lookout.settled():
                return overview
            say(f"waiting: {overview.progress}")
            dead = [what for what, pid in (started or {}).items() if not processes.alive(pid)]
            left = deadline - time.monotonic()
            if dead or left <= 0:
                raise NotReady(_what_is_missing(lab, overview, dead, timeout))
            select.select([lookout], [], [], min(left, _LOOK_AT_LEAST_EVERY))


def _what_is_missing(lab: Lab, overview: Overview, dead: list[str], timeout: float) -> str:
    where = Folders.of(lab.name).root
    lines = [f"{what} has ended" for what in dead] or [f"not ready after {timeout:.0f} s"]
    lines += [*overview.missing, *overview.problems]
    for row in overview.nodes:
        if not row.agent.ready and (last := daemons.last_words(lab, lab.node(row.name))):
            lines.append(f"the agent of {row.name} said last: {last}")
    lines.append(f"the lab is left for inspection (logs in {where})")
    lines.append(f"`podwire lab down --name {lab.name}` takes it away")
    return "\n".join(lines)


def restart_agent(lab: Lab, node: str) -> int:
    """End a node's agent and start it again; the new process id. Raises KeyError, OSError."""
    daemons.stop_agent(lab, lab.node(node))
    return daemons.start_agent(lab, lab.node(node))


# ------------------------------------------------------------------------------------ down


def down(name: str, say: Say = _silent) -> Removed:
    """Take a lab away, whatever state it is in; what was there. Twice is fine.

    Raises ValueError for a name that no lab can have, processes.ProcessesError for processes
    that cannot be ended, and NotUp when asked from inside the lab.
    """
    plan_lab(name, 1)  # the name becomes a path below
    prefix = netns_prefix(name)
    if namespaces.membership(namespaces.named(prefix))(os.getpid()):
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
    shutil.rmtree(root, ignore_errors=True)
    return Removed(ended, tuple(sorted(names)), there)


def _end_processes(name: str, found: Sequence[str]) -> int:
    """Those first that would start others again.

    One that an `up` was killed while starting is on its way into its namespace: only its
    mark tells whose it is.
    """
    inside = namespaces.membership(found)

    def marked(pid: int, variable: str) -> bool:
        return processes.mark_of(pid, variable).startswith(f"{name}/")

    def daemon(pid: int) -> bool:
        return marked(pid, processes.ROLE)

    def ours(pid: int) -> bool:
        return inside(pid) or daemon(pid) or marked(pid, processes.CONTAINER)

    return processes.end(daemon, _GRACE) + processes.end(ours, _GRACE)


def labs() -> tuple[str, ...]:
    """Names of all labs of which anything is there, sorted."""
    names = {each.split(".")[1] for each in namespaces.named("pw.") if each.count(".") >= 2}
    if folders.ROOT.is_dir():
        names |= {each.name for each in folders.ROOT.iterdir() if each.is_dir()}
    return tuple(sorted(names))
