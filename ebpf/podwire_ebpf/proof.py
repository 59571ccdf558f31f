"""Proof that sockets of a cgroup are served: asked of the kernel, and tried.

    the effective query   each hook runs the program that our link attaches, once
    a canary's calls      the programs note the socket's cookie in `canaries`, and refuse them

A process that is not in the cgroup has a child call, in a cgroup below it that is there for that
moment.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podwire_ebpf import canary, links
from podwire_ebpf.errors import BpfError
from podwire_ebpf.hooks import HOOKS
from podwire_ebpf.pins import LINKS
from podwire_ebpf.place import Place, remove_left
from podwire_ebpf.records import Canary
from podwire_ebpf.tables import Table

_SECONDS = 60  # a machine that is slow and busy starts a process in some seconds
_TRIES = 3
_BELOW = "podwire-canary-"
_numbers = itertools.count(1)

#: Which hooks shall see a family's canary: 1 << enum bpf_attach_type.
_SEERS = {
    "IPv4": sum(1 << hook.attach for hook in HOOKS if hook.name in {"connect4", "sendmsg4"}),
    "IPv6": sum(1 << hook.attach for hook in HOOKS if hook.name in {"connect6", "sendmsg6"}),
}


@dataclass(frozen=True)
class Proof:
    """What was found.

    hooks: whether each is in effect, once.  families: whether its canary was seen; None: the
    machine has no such sockets.  node_cookie: of the network namespace the canary called from.
    twice: hooks that run ours more than once.
    """

    hooks: Mapping[str, bool]
    families: Mapping[str, bool | None]
    node_cookie: int | None = None
    twice: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Hooks that are not in effect."""
        return tuple(name for name, there in self.hooks.items() if not there)

    @property
    def ok(self) -> bool:
        """Whether all is as it has to be."""
        return not self.missing and False not in self.families.values()

    @property
    def sentence(self) -> str:
        """What was found."""
        if self.twice:
            return f"attached more than once: {', '.join(self.twice)}"
        if self.missing:
            return f"not attached: {', '.join(self.missing)}"
        silent = [name for name, seen in self.families.items() if seen is False]
        if silent:
            return f"attached, but a canary's call was not seen: {', '.join(silent)}"
        seen = [name for name, seen in self.families.items() if seen]
        return f"{len(self.hooks)} programs attached; canaries seen of {' and '.join(seen)}"


def prove(place: Place, canaries: Table[int, Canary]) -> Proof:
    """Look and try. Raises OSError or BpfError when either cannot be done."""
    ours = links.linked(place.cgroup, place.folder / LINKS)
    running = links.in_effect(place.cgroup)
    times = {name: ids.count(ours.get(name, 0)) for name, ids in running.items()}
    # Anybody may call where canaries do, and so crowd one out of the table.
    tries = _TRIES if set(times.values()) == {1} else 1
    seen = _seen(place.cgroup, canaries, tries)
    cookies = {noted.namespace for noted in seen.values() if noted}
    return Proof(
        hooks={name: count == 1 for name, count in times.items()},
        families={name: _complete(name, seen[name]) if name in seen else None for name in _SEERS},
        node_cookie=min(cookies) if len(cookies) == 1 else None,
        twice=tuple(name for name, count in times.items() if count > 1),
    )


def _complete(family: str, noted: Canary | None) -> bool:
    wanted = _SEERS[family]
    return noted is not None and noted.hooks & wanted == wanted


def _seen(cgroup: Path, canaries: Table[int, Canary], tries: int) -> dict[str, Canary | None]:
    """What the programs noted, by family; without those the machine has no sockets of."""
    seen: dict[str, Canary | None] = {}
    for _ in range(tries):
        for family, noted in _noted(cgroup, canaries).items():
            if not _complete(family, seen.get(family)):
                seen[family] = noted
        if all(_complete(family, noted) for family, noted in seen.items()):
            break
    return seen


def _noted(cgroup: Path, canaries: Table[int, Canary]) -> dict[str, Canary | None]:
    """The same of one call each."""
    found = {family: canaries.get(cookie) for family, cookie in canary.call().items()}
    if not any(found.values()):  # the programs are gone, or this process is not in the cgroup
        found = {family: canaries.get(cookie) for family, cookie in _call_inside(cgroup).items()}
    return found


# --------------------------------------------------------------------- a child in the cgroup


def _call_inside(cgroup: Path) -> dict[str, int]:
    """The same from a child in a cgroup below this one, which it joins before it makes sockets."""
    below = cgroup / f"{_BELOW}{os.getpid()}-{next(_numbers)}"
    try:
        _sweep(cgroup)
        below.mkdir()
        try:
            return _child(below)
        finally:
            remove_left(below)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise BpfError(f"no canary could call from {cgroup}: {error}") from error


def _sweep(cgroup: Path) -> None:
    """Remove what a process left that was killed in between."""
    for left in cgroup.glob(f"{_BELOW}*"):
        pid = left.name.removeprefix(_BELOW).partition("-")[0]
        if not Path("/proc", pid).exists():
            with suppress(OSError):
                left.rmdir()


def _child(cgroup: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", canary.__name__, str(cgroup)],  # -P: nobody's current folder
        capture_output=True,
        timeout=_SECONDS,
        env={"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[1])},
        check=True,
    )
    told = json.loads(done.stdout)
    return {str(family): int(cookie) for family, cookie in told.items()}
