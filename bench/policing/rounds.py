"""Which clusters fill which engine, and in what order; each in a process of its own.

What is compared takes turns: ours, then kube-router's ruleset; then again. The large cluster comes
after, which kube-router's would take minutes for.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import scratch
from rooms import room

from policing import crowd
from policing.filling import Filled

_PATIENCE_S = 600


@dataclass(frozen=True)
class Sizes:
    """How much of everything. Namespaces: of 100 pods and 10 policies each."""

    few: int = 100  # 1,000 policies, 10,000 pods
    many: int = 1_000  # 10,000 policies, 100,000 pods
    rounds: int = 3
    many_rounds: int = 2
    changes: int = 300  # of each kind
    kube_router_changes: int = 3  # each a full sync, seconds
    connect_rounds: int = 40
    connect_turns: int = 10  # of 25 connections, in a round


QUICK = Sizes(
    few=10,
    many=20,
    rounds=1,
    many_rounds=1,
    changes=6,
    kube_router_changes=1,
    connect_rounds=4,
    connect_turns=2,
)


@dataclass(frozen=True)
class Load:
    """One run of filling.py."""

    engine: str
    namespaces: int
    changes: int = 0
    with_policies: bool = True

    def __str__(self) -> str:
        return f"{self.engine} {self.policies:,}"

    @property
    def policies(self) -> int:
        """How many policies."""
        return crowd.POLICIES * self.namespaces * self.with_policies

    @property
    def pods(self) -> int:
        """How many pods."""
        return crowd.PODS * self.namespaces


def few(sizes: Sizes) -> Load:
    """Ours, at the size of the comparison."""
    return Load("podwire", sizes.few, sizes.changes)


def many(sizes: Sizes) -> Load:
    """Ours, at the large size."""
    return Load("podwire", sizes.many, sizes.changes)


def theirs(sizes: Sizes) -> Load:
    """kube-router's ruleset, at the size of the comparison."""
    return Load("kube-router", sizes.few, sizes.kube_router_changes)


def schedule(sizes: Sizes) -> Iterator[Load]:
    """Every load, in order."""
    for _ in range(sizes.rounds):
        yield from (few(sizes), theirs(sizes))
    for _ in range(sizes.many_rounds):
        yield many(sizes)


def run_loads(sizes: Sizes, told: Callable[[object], object]) -> dict[Load, list[Filled]]:
    """All of the schedule; told: called with each load before it begins."""
    done: dict[Load, list[Filled]] = {}
    for load in schedule(sizes):
        told(load)
        with room() as netns:
            done.setdefault(load, []).append(run_load(netns, load))
    return done


def run_load(netns: scratch.Netns, load: Load) -> Filled:
    """One load in this namespace, which keeps the rules. Raises CalledProcessError."""
    script = str(Path(__file__).parent / "filling.py")
    command = [sys.executable, script, load.engine, str(load.namespaces)]
    command += ["--changes", str(load.changes)]
    command += [] if load.with_policies else ["--without-policies"]
    enter = ["nsenter", f"--net=/run/netns/{netns.name}"]
    done = subprocess.run(
        [*enter, *command], stdout=subprocess.PIPE, check=True, timeout=_PATIENCE_S
    )
    return msgspec.json.decode(done.stdout, type=Filled)
