"""Waiting until a lab is ready, or until it is known that it will not be.

Level-triggered: whenever the control plane publishes something, the whole lab is looked at.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping, Sequence

from podwire_core.errors import PodwireError
from podwire_lab.folders import Folders
from podwire_lab.kubernetes.settled import Versions
from podwire_lab.machine import daemons, processes
from podwire_lab.overview import Lookout, Overview
from podwire_lab.topology import Lab

Say = Callable[[str], None]

_LOOK_AT_LEAST_EVERY = 0.2  # seconds; an agent's status and a process that dies wake no one


class NotReady(PodwireError):  # noqa: N818 - a state of the lab
    """The lab is there and not ready; the text says what is missing, a line each."""


def silent(_: str) -> None:
    """Say nothing."""


def wait_until_ready(
    lab: Lab,
    started: Mapping[str, int] | None = None,
    *,
    versions: Versions | None = None,
    timeout: float = 120.0,
    say: Say = silent,
) -> Overview:
    """Wait until every agent is ready and every pod is; how the lab stands then.

    versions: what was just applied to a real control plane, which is waited for as well.

    Raises NotReady after `timeout` seconds, or as soon as one of the `started` processes ends.
    """

    def holds(lookout: Lookout, overview: Overview) -> Sequence[str]:
        if overview.missing or not overview.pods:
            return overview.missing or ("there are no pods yet",)
        return lookout.unsettled(versions)

    return wait(lab, started or {}, holds, timeout, say)


def wait(
    lab: Lab,
    started: Mapping[str, int],
    missing: Callable[[Lookout, Overview], Sequence[str]],
    timeout: float,
    say: Say,
) -> Overview:
    """Look again whenever something was published, until nothing is missing. Raises NotReady."""
    deadline = time.monotonic() + timeout
    with Lookout(lab) as lookout:
        while True:
            overview = lookout.look()
            still = missing(lookout, overview)
            if not still:
                return overview
            say(f"waiting: {overview.progress}")
            dead = [what for what, pid in started.items() if not processes.alive(pid)]
            left = deadline - time.monotonic()
            if dead or left <= 0:
                raise NotReady(_what_is_missing(lab, overview, still, dead, timeout))
            select.select([lookout], [], [], min(left, _LOOK_AT_LEAST_EVERY))


def _what_is_missing(
    lab: Lab, overview: Overview, still: Sequence[str], dead: list[str], timeout: float
) -> str:
    where = Folders.of(lab.name).root
    lines = [f"{what} has ended" for what in dead] or [f"not ready after {timeout:.0f} s"]
    lines += [*still, *overview.problems]
    for row in overview.nodes:
        if not row.agent.ready and (last := daemons.last_words(lab, lab.node(row.name))):
            lines.append(f"the agent of {row.name} said last: {last}")
    lines.append(f"the lab is left for inspection (logs in {where})")
    lines.append(f"`podwire lab down --name {lab.name}` takes it away")
    return "\n".join(lines)
