"""What was measured as figures with a bound, and as the tables beside them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rows import Row, percentile, ratios, text, to_the_right

from attaching.client import Client
from attaching.contenders import PODWIRE, PTP
from attaching.pairs import Pairs
from attaching.rounds import Round, Rounds, Sizes
from attaching.spawning import Ran


@dataclass(frozen=True)
class Measured:
    """Everything that was measured. both: the singles of pods with two families."""

    sizes: Sizes
    singles: Rounds
    bursts: Rounds
    both: Rounds
    client: Client
    pairs: Pairs


def figures(found: Measured) -> list[Row]:
    """Those with a bound, in the order of the last line."""
    ours, stock = found.singles[PODWIRE], found.singles[PTP]
    many, stock_many = found.bursts[PODWIRE], found.bursts[PTP]
    client, pairs = found.client, found.pairs
    size = f"{found.sizes.burst} ADDs, {found.sizes.width} at a time"
    return [
        Row("ADD, podwire / ptp", ratios(_adds(ours), _adds(stock)), "add_ratio", 0.6),
        Row("DEL, podwire / ptp", ratios(_deletes(ours), _deletes(stock)), "del_ratio", 0.6),
        Row(
            f"{size}, podwire / ptp",
            ratios([each.add_s for each in many], [each.add_s for each in stock_many]),
            "burst_ratio",
            0.6,
        ),
        Row("the client, an agent that answers at once, ms", [*client.served], "client_ms", 1.5),
        Row("the client's memory, MB", [client.rss_mb], "client_rss_mb", 2),
        Row(
            f"the agent's growth over {pairs.pairs:,} pairs, MB",
            [pairs.after_mb - pairs.before_mb],
            "agent_growth_mb",
            4,
        ),
        Row("links, routes, neighbours and leases left", [float(pairs.left)]),
    ]


def document(found: Measured) -> dict[str, object]:
    """Every call's milliseconds, by contender and round; the bursts' wall times; and the rest."""
    several = {"singles": found.singles, "bursts": found.bursts, "both_families": found.both}
    rounds = {name: _document(each) for name, each in several.items()}
    return {**rounds, "client": vars(found.client), "agent": vars(found.pairs)}


def tables(found: Measured) -> Iterator[Table | str]:
    """What stands beside the figures."""
    count = found.sizes.pods * found.sizes.rounds
    yield _latency(found.singles, f"{count} pods one by one, IPv4, ms")
    yield _bursts(
        found.bursts, f"{found.sizes.burst} pods, {found.sizes.width} at a time, IPv4, ms"
    )
    yield _latency(found.both, "IPv4 and IPv6, ms: not judged, ptp waits for duplicate detection")
    client, pairs = found.client, found.pairs
    yield (
        f"The client alone: VERSION {text(statistics.median(client.alone))} ms; "
        f"/bin/true, which only starts and ends, {text(statistics.median(client.floor))} ms."
    )
    yield (
        f"The agent: {pairs.pairs:,} pairs of ADD and DEL in {text(pairs.seconds)} s; resident "
        f"{text(pairs.before_mb)} MB before, {text(pairs.half_mb)} MB after half of them, "
        f"{text(pairs.after_mb)} MB after all."
    )


def _latency(rounds: Rounds, title: str) -> Table:
    made = _table(title, "pods", *_columns("ADD"), *_columns("DEL"))
    for name, several in rounds.items():
        adds = _times([each.add for each in several], _adds(several))
        deletes = _times([each.delete for each in several], _deletes(several))
        made.add_row(name, str(sum(len(each.add) for each in several)), *adds, *deletes)
    return made


def _columns(verb: str) -> tuple[str, str, str]:
    return f"{verb} p50", "rounds", "p99"


def _times(several: Sequence[Sequence[Ran]], medians: Sequence[float]) -> Iterator[str]:
    times = [ran.ms for each in several for ran in each]
    yield _short(percentile(times, 50))
    yield _least_and_most(medians)
    yield _short(percentile(times, 99))


def _bursts(rounds: Rounds, title: str) -> Table:
    made = _table(title, "pods", "ADDs", "rounds", "p50", "p99", "DELs", "p50", "p99")
    for name, several in rounds.items():
        adds = [each.add_s * 1000 for each in several]
        made.add_row(
            name,
            str(len(several[0].add)),
            *(_short(statistics.median(adds)), _least_and_most(adds)),
            *_percentiles([each.add for each in several]),
            _short(statistics.median(each.delete_s * 1000 for each in several)),
            *_percentiles([each.delete for each in several]),
        )
    return made


def _percentiles(several: Sequence[Sequence[Ran]]) -> Iterator[str]:
    times = [ran.ms for each in several for ran in each]
    yield from (_short(percentile(times, percent)) for percent in (50, 99))


def _table(title: str, *columns: str) -> Table:
    made = Table("", *columns, title=title, box=SIMPLE_HEAD, pad_edge=False, padding=0)
    made.columns[0].no_wrap = True
    to_the_right(made, *range(1, len(columns) + 1))
    return made


def _least_and_most(values: Sequence[float]) -> str:
    return f"{_short(min(values))} … {_short(max(values))}"


def _short(value: float) -> str:
    """Three digits: there are nine columns."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _adds(several: Sequence[Round]) -> list[float]:
    return [statistics.median(ran.ms for ran in each.add) for each in several]


def _deletes(several: Sequence[Round]) -> list[float]:
    return [statistics.median(ran.ms for ran in each.delete) for each in several]


def _document(rounds: Rounds) -> Mapping[str, object]:
    return {
        name: [
            {
                "add_ms": [ran.ms for ran in each.add],
                "del_ms": [ran.ms for ran in each.delete],
                "add_wall_s": each.add_s,
                "del_wall_s": each.delete_s,
            }
            for each in several
        ]
        for name, several in rounds.items()
    }
