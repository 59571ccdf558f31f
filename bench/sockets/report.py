"""What was measured, as figures with bounds, as contenders side by side, and as the rows beside."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rows import Row, percentile, text
from whole import AgentRun

from sockets import sites
from sockets.filling import Filled
from sockets.sites import Sizes
from sockets.turns import Turn, Work

_COLUMNS = ("p50 µs", "p99 µs", "/direct", "/s", "CPU µs", "/s", "/s", "Gbit/s")
_ROUNDS = 20  # a ratio of all turns is the median of as many rounds' medians


@dataclass(frozen=True)
class Measured:
    """Everything that was measured."""

    sizes: Sizes
    turns: Mapping[Work, Mapping[str, Sequence[Turn]]]
    fills: Sequence[Filled]
    agent: AgentRun


@dataclass(frozen=True)
class Standing:
    """One contender: microseconds, requests a second, Gbit/s."""

    words: str
    connect_p50_us: float
    connect_p99_us: float
    to_direct: float
    exchanges_s: float
    exchange_cpu_us: float
    datagrams_s: float
    conversation_s: float
    gbit_s: float


def figures(found: Measured) -> list[Row]:
    """Those with a bound, in the order of the last line."""
    alone = [fill for fill in found.fills if fill.engine == "ebpf"]
    changes = [percentile(_all_changes(fill), 50) for fill in alone]
    sizes = found.sizes
    size = f"{sizes.services:,} x {sizes.endpoints}"
    rss = [found.agent.rss_mb]
    to_direct = connect_ratios(found, sites.SOCKETS, sites.DIRECT)
    to_nft = connect_ratios(found, sites.SOCKETS, sites.NFT)
    return [
        Row("connect(), eBPF alone / direct without conntrack", to_direct, "connect_ratio", 1.05),
        Row("connect(), eBPF alone / nftables", to_nft, "vs_nft", 0.85),
        Row(f"load {size} after the compile, s", [fill.load_s for fill in alone], "load_s", 2),
        Row(f"one change at {size}, p50, ms", changes, "change_p50_ms", 0.3),
        Row(f"memory of a whole agent at {size}, MB", rss, "rss_mb", 200, worst=True),
    ]


def beside(found: Measured) -> list[Row]:
    """What the figures are made of, and the other comparisons."""
    return [*_ratios(found), *_fills(found), *_agent(found.agent)]


def standings(found: Measured) -> list[Standing]:
    """Every contender, in the order of sites."""
    return [_standing(found, name) for name in found.turns[Work.CONNECT]]


def standings_table(found: Measured) -> Table:
    """The contenders below each other, narrow enough for 80 columns."""
    title = "connect(); connect and ask; UDP unconnected, connected; a stream"
    table = Table(title=title, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("through", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for each in standings(found):
        words, *values = vars(each).values()
        table.add_row(words, *map(text, values))
    return table


def connect_ratios(found: Measured, one: str, other: str) -> list[float]:
    """connect()'s medians of the same turns, compared; the median of each round of turns."""
    pairs = zip(*(found.turns[Work.CONNECT][name] for name in (one, other)), strict=True)
    all_ = [_median(left) / _median(right) for left, right in pairs]
    size = max(1, len(all_) // _ROUNDS)
    return [statistics.median(all_[at : at + size]) for at in range(0, len(all_), size)]


def _median(turn: Turn) -> float:
    return statistics.median(turn.times)


def _standing(found: Measured, name: str) -> Standing:
    connects = found.turns[Work.CONNECT][name]
    times = [time / 1000 for turn in connects for time in turn.times]
    sizes = found.sizes

    def typical(work: Work, value: Callable[[Turn], float]) -> float:
        return statistics.median(value(turn) for turn in found.turns[work][name])

    def rate(work: Work, count: int) -> float:
        return typical(work, lambda turn: count / turn.wall * 1e9)

    return Standing(
        _words(found.sizes, name),
        percentile(times, 50),
        percentile(times, 99),
        statistics.median(connect_ratios(found, name, sites.DIRECT)),
        rate(Work.EXCHANGE, sizes.exchanges[1]),
        typical(Work.EXCHANGE, lambda turn: turn.cpu / sizes.exchanges[1] / 1000),
        rate(Work.DATAGRAMS, sizes.datagrams[1]),
        rate(Work.CONVERSATION, sizes.datagrams[1]),
        rate(Work.STREAM, sizes.streams[1] << 23) / 1e9,
    )


def _words(sizes: Sizes, name: str) -> str:
    few, many = f"{sizes.few:,}", f"{sizes.services:,}"
    return {
        sites.DIRECT: "direct",
        sites.TRACKED: "direct, tracked",
        sites.NFT_FEW: f"nftables, {few}",
        sites.NFT: f"nftables, {many}",
        sites.SOCKETS_FEW: f"eBPF alone, {few}",
        sites.SOCKETS: f"eBPF alone, {many}",
        sites.BOTH_FEW: f"eBPF + nft, {few}",
        sites.BOTH: f"eBPF + nft, {many}",
        sites.LAYOUT: f"kube-proxy's, {many}",
    }[name]


def _all_changes(fill: Filled) -> list[float]:
    return [value for values in fill.change_ms.values() for value in values]


def _ratios(found: Measured) -> Iterator[Row]:
    for one, other in (
        (sites.BOTH, sites.NFT),
        (sites.BOTH, sites.TRACKED),
        (sites.SOCKETS, sites.SOCKETS_FEW),
        (sites.BOTH, sites.LAYOUT),
    ):
        words = f"connect() {_words(found.sizes, one)} / {_words(found.sizes, other)}"
        yield Row(words, connect_ratios(found, one, other))


def _fills(found: Measured) -> Iterator[Row]:
    for engine, words in (("ebpf", "eBPF alone"), ("both", "eBPF + nft")):
        fills = [fill for fill in found.fills if fill.engine == engine]
        yield Row(f"{words}: compile and load of the programs, s", [f.compile_s for f in fills])
        yield Row(f"{words}: the same where all is pinned, s", [f.reopen_s for f in fills])
        yield Row(f"{words}: {fills[0].rows:,} rows in force, s", [f.load_s for f in fills])
        yield Row(f"{words}: of that, before the maps, s", [f.plan_s for f in fills])
        yield Row(f"{words}: rows written a second, in batches", [f.batch_rows_s for f in fills])
        yield Row(f"{words}: memory of its process, MB", [f.rss_mb for f in fills])
        for kind in fills[0].change_ms:
            for percent in (50, 99):
                values = [percentile(f.change_ms[kind], percent) for f in fills]
                yield Row(f"{words}: an endpoint {kind}, p{percent}, ms", values)


def _agent(run: AgentRun) -> Iterator[Row]:
    yield Row("whole agent, mode ebpf: start → in force, s", [run.ready_s])
    yield Row("whole agent, mode ebpf: the most ever, MB", [run.peak_mb])
