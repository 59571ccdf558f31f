"""What was measured as the figures that have a bound, and what stands beside them.

There is a value for each run or round. Their median has to hold the bound; of memory the worst.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import connecting
from loading import Load, Sizes, compared
from peers import Peers
from pods import Batch
from programming import Programmed
from proxies import OURS
from rows import Row, percentile, ratios


@dataclass(frozen=True)
class Measured:
    """Everything that was measured."""

    sizes: Sizes
    loads: list[Programmed]
    connects: dict[str, list[Batch]]
    peers: Peers | None

    def of(self, load: Load) -> list[Programmed]:
        """The runs of one load, in their order."""
        wanted = (load.layout, load.services, load.endpoints)
        return [run for run in self.loads if (run.layout, run.services, run.endpoints) == wanted]


def figures(found: Measured) -> list[Row]:
    """Those with a bound, in the order of the last line."""
    many, layout, fewer, grown = ([*found.of(load)] for load in compared(found.sizes))
    loads = [run.load_s for run in many]
    rss = [max(run.rss_mb, run.rss_changed_mb) for run in many]
    if found.peers:
        rss += [run.rss_mb for run in found.peers.runs if run.proxy == OURS.name]
    sizes = found.sizes
    size = f"{sizes.services:,} x {sizes.endpoints}"
    few = f"{sizes.services:,} x {sizes.few_endpoints}"
    through, direct, at_few = (
        [batch.p50 for batch in found.connects[name]]
        for name in (connecting.MANY, connecting.DIRECT, connecting.FEW)
    )
    return [
        Row(f"load {size}, s", loads, "load_s", 5),
        Row(
            f"that / kube-proxy's layout at {few}",
            ratios(loads, [run.load_s for run in layout]),
            "layout_ratio",
            0.1,
        ),
        Row(
            f"load {sizes.grown:,} x {sizes.few_endpoints} / {few}",
            ratios([run.load_s for run in grown], [run.load_s for run in fewer]),
            "growth",
            6,
        ),
        Row(f"one change at {size}, p50, ms", _percentile(many, 50), "change_p50_ms", 1),
        Row("the same, p99, ms", _percentile(many, 99), "change_p99_ms", 5),
        Row(f"memory at {size}, and after the changes, MB", rss, "rss_mb", 250, worst=True),
        Row("connect() through a Service / direct", ratios(through, direct), "connect_ratio", 1.25),
        Row(
            f"connect() at {sizes.services:,} / at {sizes.few} Services",
            ratios(through, at_few),
            "connect_scale",
            1.1,
        ),
    ]


def beside(found: Measured) -> list[Row]:
    """What the figures are made of, and kube-proxy's."""
    rows = [*_loads(found), *_changes(found), *_memory(found), *_connects(found)]
    return [*rows, *_peers(found.peers)] if found.peers else rows


def all_changes(run: Programmed) -> list[float]:
    """Milliseconds of every change, whatever its kind."""
    return [value for values in run.change_ms.values() for value in values]


def _percentile(runs: Sequence[Programmed], percent: int) -> list[float]:
    return [percentile(all_changes(run), percent) for run in runs]


def _loads(found: Measured) -> Iterator[Row]:
    for load in compared(found.sizes):
        yield Row(f"load {load}, s", [run.load_s for run in found.of(load)])


def _changes(found: Measured) -> Iterator[Row]:
    many, layout, _, _ = compared(found.sizes)
    for load in (many, layout):
        runs = found.of(load)
        for kind in runs[0].change_ms:
            medians = [statistics.median(run.change_ms[kind]) for run in runs]
            yield Row(f"{load}: an endpoint {kind}, p50, ms", medians)


def _memory(found: Measured) -> Iterator[Row]:
    load = compared(found.sizes)[0]
    runs = found.of(load)
    yield Row(f"{load}: memory after the load, MB", [run.rss_mb for run in runs])
    after = f"{load}: after {found.sizes.changes:,} changes, MB"
    yield Row(after, [run.rss_changed_mb for run in runs])
    yield Row(f"{load}: the most ever, MB", [run.peak_mb for run in runs])


def _connects(found: Measured) -> Iterator[Row]:
    size, few = found.sizes.services, found.sizes.few
    words = {
        connecting.DIRECT: "direct, no Services on the node",
        connecting.BESIDE: f"direct, {size:,} Services on the node",
        connecting.FEW: f"through one of {few:,}",
        connecting.MANY: f"through one of {size:,}",
        connecting.LAYOUT: f"through one of {size:,}, kube-proxy's layout",
    }
    for name, batches in found.connects.items():
        yield Row(f"connect() {words[name]}, p50, µs", [batch.p50 for batch in batches])


def _peers(peers: Peers) -> Iterator[Row]:
    for name in dict.fromkeys(run.proxy for run in peers.runs):
        runs = [run for run in peers.runs if run.proxy == name]
        yield Row(f"{name}, API server: start → in force, s", [run.load_s for run in runs])
        for percent in (50, 99):
            values = [percentile(run.change_ms, percent) for run in runs]
            yield Row(f"{name}: request → in force, p{percent}, ms", values)
        yield Row(f"{name}: memory, MB", [run.rss_mb for run in runs])
        yield Row(f"{name}: the most ever, MB", [run.peak_mb for run in runs])
    direct = [batch.p50 for batch in peers.connects[connecting.DIRECT]]
    for name, batches in peers.connects.items():
        if name != connecting.DIRECT:
            times = [batch.p50 for batch in batches]
            yield Row(f"{name}: connect() / direct", ratios(times, direct))
