"""podwire and kube-proxy itself, side by side on one real API server: load, change, connect.

Each serves its own Node. They take turns: one fills its kernel, sees changes, and ends; then the
other. What both left in their kernels is what connect() goes through at the end.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import changes
import filling
import pytest
import scratch
from connecting import DIRECT, TRACKING
from control_plane import ControlPlane, control_plane, programs
from loading import Sizes
from memory import peak_mb, resident_mb
from plane_node import plane_node
from pods import Batch, Network, build, connect_times, direct_targets, pods, service_targets
from proxies import KUBE_PROXY, OURS, Proxy, change_times
from scratch import Netns


@dataclass(frozen=True)
class PeerRun:
    """One proxy from its start to its end. Seconds, milliseconds, MB of 10^6 bytes."""

    proxy: str
    load_s: float
    change_ms: list[float]
    rss_mb: float
    peak_mb: float


@dataclass(frozen=True)
class Peers:
    """All runs, in their order, and what connect() took at the end."""

    runs: list[PeerRun]
    connects: dict[str, list[Batch]]


def built() -> bool:
    """Whether there is a control plane with a kube-proxy here (`make kubernetes`)."""
    try:
        return (programs() / "kube-proxy").exists()
    except pytest.skip.Exception:
        return False


def run_peers(
    sizes: Sizes, told: Callable[[object], object], filled: Callable[[], object]
) -> Peers:
    """Everything. told: called before each step; filled: once an object in the API server."""
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="podwire-bench-")))
        told("filling an API server")
        plane = undo.enter_context(control_plane(folder))
        filling.fill(plane, sizes.services, sizes.endpoints, filled)
        nodes = {
            proxy.name: undo.enter_context(plane_node(plane, 2 + proxy.node))
            for proxy in (OURS, KUBE_PROXY)
        }
        runs: list[PeerRun] = []
        for round_ in range(sizes.peer_rounds):
            for proxy in (OURS, KUBE_PROXY):
                told(f"{proxy.name} on an API server")
                runs.append(_run(plane, nodes[proxy.name], proxy, sizes, round_))
        told("connect()")
        return Peers(runs, _connects(sizes, folder, nodes))


def _run(plane: ControlPlane, node: Netns, proxy: Proxy, sizes: Sizes, round_: int) -> PeerRun:
    node.run("nft", "flush", "ruleset")
    count = sizes.peer_changes if proxy is OURS else sizes.kube_proxy_changes
    several = changes.slice_changes(
        sizes.services, sizes.endpoints, count, seed=round_ * 2 + proxy.node
    )
    before = time.perf_counter()
    with proxy.run(plane, node) as process:
        load_s = time.perf_counter() - before
        times = change_times(plane, node, proxy, list(several))
        return PeerRun(proxy.name, load_s, times, resident_mb(process.pid), peak_mb(process.pid))


def _connects(sizes: Sizes, folder: Path, nodes: dict[str, Netns]) -> dict[str, list[Batch]]:
    program = build(folder)
    with ExitStack() as undo:
        bare = scratch.make()
        undo.callback(scratch.remove, bare)
        bare.run("nft", TRACKING)
        clients = {
            name: undo.enter_context(pods(node, program))
            for name, node in itertools.chain([(DIRECT, bare)], nodes.items())
        }
        networks = [
            Network(
                name,
                client,
                (direct_targets if name == DIRECT else service_targets)(sizes.services),
            )
            for name, client in clients.items()
        ]
        return connect_times(program, networks, sizes.connect_rounds, sizes.connect_turns)
