"""Values of several runs, and whether they hold a bound; as tables and as the last line."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

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


def bounds_table(rows: Sequence[Row], title: str) -> Table:
    """must, measured, ok."""
    made = Table("figure", "must", "measured", "runs", "ok", title=title)
    for row in rows:
        verdict = "[green]yes" if row.ok else "[bold red]no"
        made.add_row(row.words, f"≤ {row.must:g}", text(row.value), spread(row.runs), verdict)
    to_the_right(made, 1, 2, 3)
    return made


def beside_table(rows: Sequence[Row]) -> Table:
    """The rest, with its spread."""
    made = Table("beside", "median", "least … most", "runs", title="What they are made of")
    for row in rows:
        made.add_row(row.words, text(row.value), spread(row.runs), str(len(row.runs)))
    to_the_right(made, 1, 2, 3)
    return made


def result_line(rows: Sequence[Row]) -> str:
    """`RESULT load_s=… …`: the rows that have a name."""
    return "RESULT " + " ".join(f"{row.name}={text(row.value)}" for row in rows if row.name)


def text(value: float) -> str:
    """Three digits that say something, and no `e`."""
    return f"{value:.0f}" if value >= 100 else f"{value:.{1 if value >= 10 else 3}f}"


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that this part of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round: what was measured at the same time is compared."""
    return [left / right for left, right in zip(ours, theirs, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Least and most."""
    return f"{text(min(values))} … {text(max(values))}"


def to_the_right(table: Table, *columns: int) -> None:
    """Numbers stand below each other."""
    for number in columns:
        table.columns[number].justify = "right"
