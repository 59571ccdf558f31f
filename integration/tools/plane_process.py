"""An agent as far as its plane goes: a process that opens one, fills it, attaches and ends.

It says each step that it comes to, and may be told to be killed there. What another version would
bring, another text of the programs or another layout of the maps, is made believe.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire_ebpf import sources, store
from podwire_ebpf.place import Place
from podwire_ebpf.plane import open_plane
from podwire_ebpf.records import Endpoint, Frontend, FrontendKey
from podwire_ebpf.rows import Change

LIST, COUNTER = 7, 3


@dataclass(frozen=True)
class Version:
    """text, layout: of this version's own; "" is the real one's."""

    text: str = ""
    layout: str = ""


@dataclass(frozen=True)
class Ran:
    """steps: those it came to.  code: negative, a signal.  told: its last words."""

    steps: Sequence[str]
    code: int
    told: str


def run(
    place: Place, frontend: tuple[str, int], endpoint: Endpoint, version: Version, kill: str = ""
) -> Ran:
    """Run one to its end, or to the step where it is killed."""
    with start(place, frontend, endpoint, version, kill) as agent:
        try:
            steps, told = agent.communicate(timeout=200)
        finally:
            agent.kill()
    return Ran(steps.splitlines(), agent.returncode, told[-2000:])


def start(
    place: Place, frontend: tuple[str, int], endpoint: Endpoint, version: Version, kill: str = ""
) -> subprocess.Popen[str]:
    """The same process, for its caller to end."""
    order = [str(place.cgroup), str(place.folder), *frontend, *endpoint, version.text]
    return subprocess.Popen(
        [sys.executable, __file__, json.dumps([*order, version.layout, kill])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(sources.__file__).parents[1])},
    )


def pretend(text: str, layout: str) -> None:
    """Be another version."""
    real_text, real_digest = sources.Module.text, sources.layout_digest
    sources.Module.text = lambda self: real_text(self) + (f"/* {text} */" if text else "")  # type: ignore[method-assign] # the seam of this test
    if layout:
        sources.layout_digest = store.layout_digest = lambda: layout  # type: ignore[attr-defined] # same
    else:
        sources.layout_digest = store.layout_digest = real_digest  # type: ignore[attr-defined] # same


def main() -> None:
    """The process."""
    cgroup, folder, vip, port, address, target, text, layout, kill = json.loads(sys.argv[1])
    pretend(text, layout)

    def step(name: str) -> None:
        print(name, flush=True)
        if name == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    plane = open_plane(Place(Path(cgroup), Path(folder)), step=step)
    served = Frontend(LIST, 1, counter=COUNTER, first=(Endpoint(address, target),))
    plane.apply(Change(frontends={FrontendKey(vip, port, 6): served}))
    step("applied")
    plane.attach()
    step("attached")


if __name__ == "__main__":
    main()
