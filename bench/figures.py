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
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """A value for each run. `name` is that of the last line, empty beside the figures.

    worst: the worst run has to hold the bound, and not the median.
    """

    words: str
    runs: list[float]
    name: str = ""
    must: float = 0.0
    worst: bool = False

    @property
    def value(self) -> float:
        """What is reported."""
        return max(self.runs) if self.worst else statistics.median(self.runs)

    @property
    def ok(self) -> bool:
        """Whether the bound is held."""
        return self.value <= self.must


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
            _ratios(loads, [run.load_s for run in layout]),
            "layout_ratio",
            0.1,
        ),
        Row(
            f"load {sizes.grown:,} x {sizes.few_endpoints} / {few}",
            _ratios([run.load_s for run in grown], [run.load_s for run in fewer]),
            "growth",
            6,
        ),
        Row(f"one change at {size}, p50, ms", _percentile(many, 50), "change_p50_ms", 1),
        Row("the same, p99, ms", _percentile(many, 99), "change_p99_ms", 5),
        Row(f"memory at {size}, and after the changes, MB", rss, "rss_mb", 250, worst=True),
        Row(
            "connect() through a Service / direct", _ratios(through, direct), "connect_ratio", 1.25
        ),
        Row(
            f"connect() at {sizes.services:,} / at {sizes.few} Services",
            _ratios(through, at_few),
            "connect_scale",
            1.1,
        ),
    ]


def beside(found: Measured) -> list[Row]:
    """What the figures are made of, and kube-proxy's."""
    rows = [*_loads(found), *_changes(found), *_memory(found), *_connects(found)]
    return [*rows, *_peers(found.peers)] if found.peers else rows


def bounds_table(rows: Sequence[Row]) -> Table:
    """must, measured, ok."""
    made = Table("figure", "must", "measured", "runs", "ok", title="Services")
    for row in rows:
        verdict = "[green]yes" if row.ok else "[bold red]no"
        made.add_row(row.words, f"≤ {row.must:g}", text(row.value), _spread(row.runs), verdict)
    _to_the_right(made, 1, 2, 3)
    return made


def beside_table(rows: Sequence[Row]) -> Table:
    """The rest, with its spread."""
    made = Table("beside", "median", "least … most", "runs", title="What they are made of")
    for row in rows:
        made.add_row(row.words, text(row.value), _spread(row.runs), str(len(row.runs)))
    _to_the_right(made, 1, 2, 3)
    return made


def result_line(rows: Sequence[Row]) -> str:
    """`RESULT load_s=… …`."""
    return "RESULT " + " ".join(f"{row.name}={text(row.value)}" for row in rows)


def text(value: float) -> str:
    """Three digits that say something, and no `e`."""
    return f"{value:.0f}" if value >= 100 else f"{value:.{1 if value >= 10 else 3}f}"


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that this part of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def all_changes(run: Programmed) -> list[float]:
    """Milliseconds of every change, whatever its kind."""
    return [value for values in run.change_ms.values() for value in values]


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round: what was measured at the same time is compared."""
    return [left / right for left, right in zip(ours, theirs, strict=True)]


def _percentile(runs: Sequence[Programmed], percent: int) -> list[float]:
    return [percentile(all_changes(run), percent) for run in runs]


def _spread(values: Sequence[float]) -> str:
    return f"{text(min(values))} … {text(max(values))}"


def _to_the_right(table: Table, *columns: int) -> None:
    for number in columns:
        table.columns[number].justify = "right"


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
            ratios = _ratios([batch.p50 for batch in batches], direct)
            yield Row(f"{name}: connect() / direct", ratios)
