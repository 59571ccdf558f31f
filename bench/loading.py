"""Which clusters are put into which layout, and in what order; each in a process of its own.

What is compared takes turns: our load, the layout's, ours at 2 endpoints, ours grown; then again.
The rest of the sizes is for the curves, once.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import scratch
from programming import Programmed
from rooms import room

_PATIENCE_S = 300


@dataclass(frozen=True)
class Sizes:
    """How much of everything. Endpoints are those of each Service."""

    services: int = 10_000
    endpoints: int = 10
    few_endpoints: int = 2  # what kube-proxy's layout and growth are measured with
    grown: int = 50_000
    few: int = 10  # Services, when connect() is compared with many
    rounds: int = 3
    changes: int = 10_000  # enough that memory which is not let go would be seen
    layout_changes: int = 30  # each takes kube-proxy's layout 100 times as long
    curve: tuple[int, ...] = (1_000, 2_000, 5_000, 20_000)
    layout_curve: tuple[int, ...] = (1_000, 2_000, 5_000)
    connect_rounds: int = 40
    connect_turns: int = 10  # of 25 connections, in a round
    peer_rounds: int = 2  # whole proxies against a real API server
    peer_changes: int = 150  # of ours; of kube-proxy's, which take seconds each:
    kube_proxy_changes: int = 9


QUICK = Sizes(
    services=300,
    grown=600,
    rounds=1,
    changes=30,
    layout_changes=6,
    curve=(100,),
    layout_curve=(100,),
    connect_rounds=4,
    connect_turns=2,
    peer_rounds=1,
    peer_changes=6,
    kube_proxy_changes=6,
)


@dataclass(frozen=True)
class Load:
    """One run of programming.py."""

    layout: str
    services: int
    endpoints: int
    changes: int = 0

    def __str__(self) -> str:
        return f"{self.layout} {self.services:,} x {self.endpoints}"


def compared(sizes: Sizes) -> list[Load]:
    """What figures are made of, in the order of one round."""
    few = sizes.few_endpoints
    return [
        Load("podwire", sizes.services, sizes.endpoints, sizes.changes),
        Load("kube-proxy", sizes.services, few, sizes.layout_changes),
        Load("podwire", sizes.services, few),
        Load("podwire", sizes.grown, few, sizes.layout_changes),
    ]


def schedule(sizes: Sizes) -> Iterator[Load]:
    """Every load, in order."""
    for _ in range(sizes.rounds):
        yield from compared(sizes)
    for layout, curve in (("podwire", sizes.curve), ("kube-proxy", sizes.layout_curve)):
        for services in curve:
            yield Load(layout, services, sizes.few_endpoints, sizes.layout_changes)


def run_loads(sizes: Sizes, told: Callable[[object], object]) -> list[Programmed]:
    """All of the schedule; told: called with each load before it begins."""
    done: list[Programmed] = []
    for load in schedule(sizes):
        told(load)
        with room() as netns:
            done.append(run_load(netns, load))
    return done


def run_load(netns: scratch.Netns, load: Load) -> Programmed:
    """One load in this namespace, which keeps the tables. Raises CalledProcessError."""
    script = str(Path(__file__).parent / "programming.py")
    size = (str(load.services), str(load.endpoints), "--changes", str(load.changes))
    command = [sys.executable, script, load.layout, *size]
    enter = ["nsenter", f"--net=/run/netns/{netns.name}"]
    done = subprocess.run(
        [*enter, *command], stdout=subprocess.PIPE, check=True, timeout=_PATIENCE_S
    )
    return msgspec.json.decode(done.stdout, type=Programmed)
