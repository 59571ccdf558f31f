"""The contenders: a node each, with a client and a server, and its Services in force or not.

DIRECT       the same endpoints' own addresses; no netfilter at all, so nothing is tracked
TRACKED      the same on a node that tracks connections, and has no Services
NFT_FEW      through one of few Services, our nftables tables
NFT          through one of many, each connection to another one
SOCKETS_FEW  through one of few, by sockets alone: no tables beside them
SOCKETS      through one of many, so
BOTH_FEW     through one of few, by sockets, beside our complete tables: as an agent does it
BOTH         through one of many, so
LAYOUT       through one of many, kube-proxy's nftables layout

    client ── node ── server         only the client's process is in the contender's cgroup
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import scratch
from connecting import TRACKING
from pods import service_targets, wired

from sockets import places
from sockets.filling import Filled
from sockets.objects import endpoints, resolver_endpoints, resolvers
from sockets.turns import Contender

DIRECT, TRACKED = "direct", "tracked"
NFT_FEW, NFT, LAYOUT = "nftables-few", "nftables", "kube-proxy"
SOCKETS_FEW, SOCKETS, BOTH_FEW, BOTH = "sockets-few", "sockets", "both-few", "both"
_PATIENCE_S = 600.0


@dataclass(frozen=True)
class Sizes:
    """How much of everything. Endpoints are those of each Service; turns and counts of dial.c."""

    services: int = 10_000
    endpoints: int = 10
    few: int = 10
    layout_endpoints: int = 2  # as in bench/services.py: its load takes minutes at 10
    changes: int = 3_000
    fills: int = 3  # of the maps: processes that load and change
    connects: tuple[int, int] = (600, 25)
    exchanges: tuple[int, int] = (150, 25)
    datagrams: tuple[int, int] = (150, 100)
    streams: tuple[int, int] = (30, 64)


QUICK = Sizes(
    services=200,
    changes=6,
    fills=1,
    connects=(10, 10),
    exchanges=(5, 10),
    datagrams=(5, 20),
    streams=(2, 4),
)


@dataclass(frozen=True)
class Load:
    """One run of filling.py."""

    engine: str
    services: int
    endpoints: int
    changes: int = 0

    def __str__(self) -> str:
        return f"{self.engine} {self.services:,} x {self.endpoints}"


def loads(sizes: Sizes) -> dict[str, Load | None]:
    """What each contender's node has."""
    return {
        DIRECT: None,
        TRACKED: None,
        NFT_FEW: Load("nftables", sizes.few, sizes.endpoints),
        NFT: Load("nftables", sizes.services, sizes.endpoints),
        SOCKETS_FEW: Load("ebpf", sizes.few, sizes.endpoints),
        SOCKETS: Load("ebpf", sizes.services, sizes.endpoints),
        BOTH_FEW: Load("both", sizes.few, sizes.endpoints),
        BOTH: Load("both", sizes.services, sizes.endpoints),
        LAYOUT: Load("kube-proxy", sizes.services, sizes.layout_endpoints),
    }


def contenders(
    sizes: Sizes, folder: Path, told: Callable[[object], object], undo: ExitStack
) -> Iterator[Contender]:
    """All of them, ready; undo: takes them apart."""
    for name, load in loads(sizes).items():
        told(f"{name}: {load or 'a node without Services'}")
        node = scratch.make()
        undo.callback(scratch.remove, node)
        place = None
        if load and load.engine in {"ebpf", "both"}:
            mount = undo.enter_context(places.bpffs(folder))
            place = undo.enter_context(places.cgroup()), mount / "podwire"
        if load:
            fill(node, load, place)
        elif name == TRACKED:
            node.run("nft", TRACKING)
        client, server = undo.enter_context(wired(node))
        yield Contender(name, client, server, *_targets(sizes, load), place[0] if place else None)


def _targets(sizes: Sizes, load: Load | None) -> tuple[list[str], list[str]]:
    """TCP's and UDP's."""
    if load is None:
        return endpoints(sizes.services, sizes.endpoints), resolver_endpoints(sizes.services)
    return service_targets(load.services), resolvers(load.services)


def fill(node: scratch.Netns, load: Load, place: tuple[Path, Path] | None) -> Filled:
    """One load, in this namespace and at this cgroup and folder. Raises CalledProcessError."""
    command = [sys.executable, str(Path(__file__).with_name("filling.py")), load.engine]
    command += [str(load.services), str(load.endpoints), "--changes", str(load.changes)]
    if place:
        command += ["--cgroup", str(place[0]), "--folder", str(place[1])]
    enter = ["nsenter", f"--net=/run/netns/{node.name}"]
    done = subprocess.run(
        [*enter, *command], stdout=subprocess.PIPE, check=True, timeout=_PATIENCE_S
    )
    return msgspec.json.decode(done.stdout, type=Filled)


def run_fills(sizes: Sizes, folder: Path, told: Callable[[object], object]) -> list[Filled]:
    """The maps loaded and changed, several times: without tables, and once beside them."""
    loads = [Load("ebpf", sizes.services, sizes.endpoints, sizes.changes)] * sizes.fills
    loads.append(Load("both", sizes.services, sizes.endpoints, max(3, sizes.changes // 10)))
    done: list[Filled] = []
    for load in loads:
        told(f"loads and changes: {load}")
        with ExitStack() as undo:
            node = scratch.make()
            undo.callback(scratch.remove, node)
            mount = undo.enter_context(places.bpffs(folder))
            done.append(fill(node, load, (undo.enter_context(places.cgroup()), mount / "podwire")))
    return done
