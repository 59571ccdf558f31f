"""What was measured, as figures with bounds and as the rows beside them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pods import Batch
from rows import Row, percentile, ratios
from whole import AgentRun

from policing import connecting, rounds
from policing.filling import Filled, Kind
from policing.rounds import Load, Sizes


@dataclass(frozen=True)
class Measured:
    """Everything that was measured."""

    sizes: Sizes
    loads: dict[Load, list[Filled]]
    agent: AgentRun
    connects: dict[str, list[Batch]]


def figures(found: Measured) -> list[Row]:
    """Those with a bound, in the order of the last line."""
    few, many = (found.loads[load(found.sizes)] for load in (rounds.few, rounds.many))
    size, large = (load(found.sizes) for load in (rounds.few, rounds.many))
    rss = [max(run.rss_mb, run.rss_changed_mb) for run in many] + [found.agent.rss_mb]
    return [
        Row(f"load {_size(size)}, s", [run.load_s for run in few], "load1k_s", 3),
        Row(f"load {_size(large)}, s", [run.load_s for run in many], "load10k_s", 30),
        Row("memory there, and after the changes, MB", rss, "rss_mb", 600, worst=True),
        Row("a remote pod appears there, p50, ms", _came(many, Kind.PEER), "peer_p50_ms", 10),
        Row(
            "a local pod appears there, p50, ms",
            _came(many, Kind.REPLICA, Kind.GROUP),
            "local_p50_ms",
            10,
        ),
        Row(
            f"connect() with {size.policies:,} policies / without any",
            _ratios(found, connecting.POLICIES, connecting.WITHOUT),
            "connect_ratio",
            1.15,
        ),
    ]


def beside(found: Measured) -> list[Row]:
    """What the figures are made of, and kube-router's."""
    return [*_loads(found), *_changes(found), *_connects(found)]


def _size(load: Load) -> str:
    return f"{load.policies:,} policies, {load.pods:,} pods"


def _came(runs: Sequence[Filled], *kinds: Kind) -> list[float]:
    """The median of each run's pods of a kind; of several kinds, the worst."""
    return [max(statistics.median(run.came_ms[kind.value]) for kind in kinds) for run in runs]


def _ratios(found: Measured, one: str, other: str) -> list[float]:
    left, right = ([batch.p50 for batch in found.connects[name]] for name in (one, other))
    return ratios(left, right)


def _loads(found: Measured) -> Iterator[Row]:
    for load, runs in found.loads.items():
        yield Row(f"{load}: load, s", [run.load_s for run in runs])
        for part in runs[0].parts:
            yield Row(f"{load}: of that, {part}, s", [run.parts[part] for run in runs])
    ours, theirs = (found.loads[load(found.sizes)] for load in (rounds.few, rounds.theirs))
    loads = ([run.load_s for run in runs] for runs in (ours, theirs))
    yield Row("our load / kube-router's", ratios(*loads))
    for load in (rounds.few(found.sizes), rounds.many(found.sizes)):
        runs = found.loads[load]
        yield Row(f"{load}: memory then, MB", [run.rss_mb for run in runs])
        yield Row(f"{load}: after the changes, MB", [run.rss_changed_mb for run in runs])
        yield Row(f"{load}: the most ever, MB", [run.peak_mb for run in runs])
    whole = f"whole agent {rounds.many(found.sizes).policies:,}"
    yield Row(f"{whole}: start → in force, s", [found.agent.ready_s])
    yield Row(f"{whole}: memory then, MB", [found.agent.rss_mb])
    yield Row(f"{whole}: the most ever, MB", [found.agent.peak_mb])


def _changes(found: Measured) -> Iterator[Row]:
    for load, runs in found.loads.items():
        for kind in runs[0].came_ms:
            for words, times, percent in _TIMES:
                values = [percentile(getattr(run, times)[kind], percent) for run in runs]
                yield Row(f"{load}: {kind} {words}, ms", values)


_TIMES = (
    ("comes, p50", "came_ms", 50),
    ("comes, p99", "came_ms", 99),
    ("goes, p50", "went_ms", 50),
)


def _connects(found: Measured) -> Iterator[Row]:
    size = rounds.few(found.sizes).policies
    words = {
        connecting.TRACKED: "tracked, no rules",
        connecting.WITHOUT: "podwire, no policies",
        connecting.POLICIES: f"podwire {size:,}",
        connecting.KUBE_ROUTER: f"kube-router {size:,}",
    }
    for name, batches in found.connects.items():
        yield Row(f"connect(), {words[name]}, p50, µs", [batch.p50 for batch in batches])
    for name in (connecting.WITHOUT, connecting.POLICIES, connecting.KUBE_ROUTER):
        values = _ratios(found, name, connecting.TRACKED)
        yield Row(f"connect(), {words[name]} / no rules", values)
