"""A lab's overview as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from podwire_lab.isolation import PolicyRow
from podwire_lab.overview import AgentStatus, NodeRow, Overview, PodRow, ProgramRow, ServiceRow

_NOTHING = "[dim]-[/]"
_YES, _NO = "[green]yes[/]", "[red]no[/]"


def show(overview: Overview, console: Console) -> None:
    """Nodes, pods, Services, a real control plane's programs; policies and problems, if any."""
    tables = [_nodes(overview.nodes), _pods(overview.pods), _services(overview.services)]
    if overview.policies:
        tables.append(_policies(overview.policies))
    if overview.control_plane:
        tables.insert(0, _programs(overview.control_plane))
    for table in tables:
        console.print(table, crop=False)  # the terminal wraps what it has no room for
    pods = [
        f"pod {row.namespace}/{row.name}: {row.message}" for row in overview.pods if row.message
    ]
    nodes = [f"{row.name}: {row.lacks}" for row in overview.nodes if row.lacks]
    for problem in (*nodes, *pods, *overview.problems):
        console.print(f"[yellow]problem[/] {escape(problem)}", soft_wrap=True)


def _programs(rows: Iterable[ProgramRow]) -> Table:
    table = _table("Control plane", "program", "runs", "process", "memory")
    for row in rows:
        pid = str(row.pid) if row.pid else _NOTHING
        _add(table, row.name, _YES if row.pid else _NO, pid, f"{row.rss_mb:.0f} MiB")
    return table


def _nodes(rows: Sequence[NodeRow]) -> Table:
    served_by = [row.proxy.name for row in rows if row.proxy][:1]
    agents = [row.agent for row in rows]
    wanted = any(each.proxy_backend == "ebpf" or each.proxy_fallback for each in agents)
    backends = ("services",) if wanted else ()
    columns = ("node", "addresses", "pod addresses", "agent", "ready after", "memory")
    columns += (*backends, *served_by)
    table = _table("Nodes", *columns)
    for row in rows:
        agent = row.agent
        proxy = (_YES if row.proxy.ready else _NO,) if row.proxy else ()
        _add(
            table,
            row.name,
            _lines(row.ips),
            _lines(row.pod_cidrs),
            _state(agent),
            _NOTHING if agent.ready_seconds is None else f"{agent.ready_seconds:.2f} s",
            _NOTHING if agent.rss_mb is None else f"{agent.rss_mb:.0f} MiB",
            *(row.agent.proxy_backend or _NOTHING for _ in backends),
            *proxy,
        )
    return table


def _state(agent: AgentStatus) -> str:
    """Ready is said once and for all; what fails later makes an agent not in sync."""
    if not agent.ready:
        return "[red]not ready[/]"
    return "[green]ready[/]" if agent.in_sync else "[yellow]not in sync[/]"


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


def _services(rows: Sequence[ServiceRow]) -> Table:
    outer = ("outer addresses",) if any(row.outer_ips for row in rows) else ()
    columns = ("namespace", "service", "type", "addresses", *outer, "ports", "endpoints")
    table = _table("Services", *columns)
    for row in rows:
        _add(
            table,
            escape(row.namespace),
            escape(row.name),
            escape(row.type),
            _lines(row.cluster_ips),
            *(_lines(row.outer_ips) for _ in outer),
            _lines(row.ports),
            str(row.endpoints) if row.endpoints else "[red]0[/]",
        )
    return table


def _policies(rows: Iterable[PolicyRow]) -> Table:
    """In which directions policies judge, and for how many pods."""
    table = _table("Policies", "namespace", "policy", "tier", "directions", "pods")
    for row in rows:
        _add(
            table,
            escape(row.namespace) or _NOTHING,
            escape(row.name),
            row.tier or _NOTHING,
            ", ".join(row.directions) or _NOTHING,
            str(row.pods) if row.pods else "[yellow]0[/]",
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
