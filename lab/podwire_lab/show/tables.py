"""A lab's overview as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from podwire_lab.overview import NodeRow, Overview, PodRow, ServiceRow

_NOTHING = "[dim]-[/]"
_YES, _NO = "[green]yes[/]", "[red]no[/]"


def show(overview: Overview, console: Console) -> None:
    """Nodes, pods, Services, and problems if there are any."""
    for table in (_nodes(overview.nodes), _pods(overview.pods), _services(overview.services)):
        console.print(table, crop=False)  # the terminal wraps what it has no room for
    pods = [
        f"pod {row.namespace}/{row.name}: {row.message}" for row in overview.pods if row.message
    ]
    for problem in (*pods, *overview.problems):
        console.print(f"[yellow]problem[/] {escape(problem)}", soft_wrap=True)


def _nodes(rows: Iterable[NodeRow]) -> Table:
    table = _table("Nodes", "node", "addresses", "pod addresses", "agent", "ready after", "memory")
    for row in rows:
        agent = row.agent
        _add(
            table,
            row.name,
            _lines(row.ips),
            _lines(row.pod_cidrs),
            "[green]ready[/]" if agent.ready else "[red]not ready[/]",
            _NOTHING if agent.ready_seconds is None else f"{agent.ready_seconds:.2f} s",
            _NOTHING if agent.rss_mb is None else f"{agent.rss_mb:.0f} MiB",
        )
    return table


def _pods(rows: Iterable[PodRow]) -> Table:
    table = _table("Pods", "namespace", "pod", "node", "addresses", "phase", "ready", "restarts")
    for row in rows:
        _add(
            table,
            escape(row.namespace),
            escape(row.name),
            escape(row.node) or _NOTHING,
            _lines(row.ips),
            escape(row.phase),
            _YES if row.ready else _NO,
            str(row.restarts) if row.restarts else _NOTHING,
        )
    return table


def _services(rows: Iterable[ServiceRow]) -> Table:
    table = _table("Services", "namespace", "service", "type", "addresses", "ports", "endpoints")
    for row in rows:
        _add(
            table,
            escape(row.namespace),
            escape(row.name),
            escape(row.type),
            _lines(row.cluster_ips),
            _lines(row.ports),
            str(row.endpoints) if row.endpoints else "[red]0[/]",
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in columns:
        table.add_column(column, header_style="dim", overflow="ellipsis")
    return table


def _add(table: Table, *cells: str) -> None:
    """A row that is shown whole: where the terminal is narrow, it is headers that are cut."""
    table.add_row(*cells)
    for column, cell in zip(table.columns, cells, strict=True):
        widest = max(line.cell_len for line in Text.from_markup(cell).split("\n"))
        column.min_width = max(column.min_width or 0, widest)
        column.no_wrap = column.min_width >= len(str(column.header))


def _lines(values: Iterable[str]) -> str:
    return "\n".join(map(escape, values)) or _NOTHING
