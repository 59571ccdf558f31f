"""Who reaches whom as a table: rows dial, columns answer.

A column's head has a line for each word of it: namespace, name, port, protocol. Words and cells
are never broken: columns that have no room in the terminal stand in a table below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from podwire_core.objects import Protocol
from podwire_core.snapshot import Snapshot
from podwire_lab.lookup import owners_of
from podwire_lab.show.reachability import Answers, Question
from podwire_lab.workloads import LabPod

#: A workload and a port of it.
Column = tuple[str, int, Protocol]
_CORNER = "from ↓  to →"
_BORDER = 1
_LONGEST = 12  # cells that a name may take in one piece


@dataclass(frozen=True)
class ReachTable:
    """Cells count the pairs of pods and addresses that talk; rich draws it."""

    cells: Mapping[tuple[str, Column], Text]

    @classmethod
    def of(cls, snapshot: Snapshot, answers: Answers) -> ReachTable:
        """Pods of a workload are one row, and a column a port."""
        owners = {pod.name: workload(pod) for pod in snapshot.all(LabPod)}
        asked: dict[tuple[str, Column], list[Question]] = {}
        for each in sorted(answers.outcomes):
            column = (owners[each.destination], each.port, each.protocol)
            asked.setdefault((owners[each.source], column), []).append(each)
        reached = answers.reached
        return cls({where: _cell(rows, reached, answers) for where, rows in asked.items()})

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        rows = sorted({row for row, _ in self.cells})
        first = max(map(cell_len, (_CORNER, *rows))) + 2 * _BORDER
        for columns in self._pages(options.max_width - first):
            drawn = Table(padding=(0, 0))
            drawn.add_column(_CORNER, style="bold", no_wrap=True)
            for column in columns:
                drawn.add_column(Text(_head(column)), justify="center", no_wrap=True)
            for row in rows:
                drawn.add_row(Text(row), *(self._at(row, column) for column in columns))
            yield drawn

    def _pages(self, room: int) -> Iterator[Sequence[Column]]:
        """Columns that stand beside each other in so much room; at least one."""
        page: list[Column] = []
        left = room
        for column in sorted({column for _, column in self.cells}):
            width = self._width(column) + _BORDER
            if page and width > left:
                yield page
                page, left = [], room
            page.append(column)
            left -= width
        if page:
            yield page

    def _width(self, column: Column) -> int:
        cells = [text.cell_len for (_, where), text in self.cells.items() if where == column]
        return max(*cells, *map(cell_len, _head(column).split("\n")))

    def _at(self, row: str, column: Column) -> Text:
        return self.cells.get((row, column)) or Text("·", style="dim")


def _head(column: Column) -> str:
    """A line a word; a long name has one for each of its parts, which is where it may break."""
    owner, port, protocol = column
    namespace, _, name = owner.partition("/")
    words = [namespace, name]
    lines = [word if len(word) <= _LONGEST else word.replace("-", "-\n") for word in words]
    return "\n".join((*lines, str(port), protocol.value))


def workload(pod: LabPod) -> str:
    """The workload a pod belongs to, as a person calls it: namespace/name without suffixes."""
    owners = owners_of(pod)
    return f"{pod.name.namespace}/{owners[-1].name if owners else pod.name.name}"


def _cell(asked: Sequence[Question], reached: Mapping[Question, bool], answers: Answers) -> Text:
    """Green when all talk, red when none does, yellow between; a difference is shown as one."""
    count = sum(reached[each] for each in asked)
    if any(reached[each] != answers.expected[each] for each in asked):
        return Text(f"‼ {count}/{len(asked)}", style="bold white on red")
    if count == len(asked):
        return Text(f"✔ {count}/{len(asked)}", style="green")
    mark, style = ("✘", "red") if count == 0 else ("◐", "yellow")
    return Text(f"{mark} {count}/{len(asked)}", style=style)
