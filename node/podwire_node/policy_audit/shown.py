"""An audit as a person reads it: what would be denied first, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from podwire_node.control.printable import printable
from podwire_node.policy_audit.answer import OUTSIDE, Audit, PolicyRow, Row

MAX_POLICIES = 20
MAX_SHOWN = 30  # rows of a table; --json has more


def shown(found: Audit) -> Iterator[RenderableType]:
    """What to print, in order."""
    found = printable(found)
    for policy in found.policies[:MAX_POLICIES]:
        yield _policy(policy)
    if len(found.policies) > MAX_POLICIES:
        yield Text(f"and {len(found.policies) - MAX_POLICIES} policies more", "dim")
    for note in found.notes:
        yield Text(f"note: {note}", "yellow")
    if found.connections == 0:
        yield Text(f"{found.node} has seen no connection in the last hour: nothing to try it on")
        return
    if found.denied_rows:
        yield _table("Would be denied", "red", found.denied_rows)
    if found.allowed_rows:
        yield _table("Would be allowed", "green", found.allowed_rows)
    yield _counts(found)


def _policy(row: PolicyRow) -> Text:
    pods = "1 pod" if row.selects == 1 else f"{row.selects} pods"
    return Text.assemble((f"{row.kind} {row.name}", "bold"), f" ({row.change}) selects {pods}")


def _table(title: str, style: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_style=f"bold {style}", title_justify="left", show_lines=True)
    table.add_column("Connection", overflow="fold", style=style)
    table.add_column("Why", ratio=1, overflow="fold")
    for row in rows[:MAX_SHOWN]:
        table.add_row(_connection(row), _why(row))
    if len(rows) > MAX_SHOWN:
        table.caption = f"and {len(rows) - MAX_SHOWN} rows more, which --json has"
    return table


def _connection(row: Row) -> Text:
    """Both ends; their addresses where a name does not say which one."""
    words = f"{row.source} → {row.destination}:{row.port}/{row.protocol}"
    if row.connections > 1:
        words += f"\n{row.connections} times, such as\n{row.example}"
    elif OUTSIDE in {row.source, row.destination}:
        words += f"\n{row.example}"
    return Text(words)


def _why(row: Row) -> Text:
    text = Text(row.reason)
    if row.nearest_miss and row.nearest_miss != row.reason:
        text.append(f"\nnearest: {row.nearest_miss}", "yellow")
    return text


def _counts(found: Audit) -> Text:
    """One line that holds the whole answer."""
    denied, allowed = found.newly_denied, found.newly_allowed
    return Text.assemble(
        (f"{denied} would be denied", "bold red" if denied else "dim"),
        ", ",
        (f"{allowed} would be allowed", "bold green" if allowed else "dim"),
        f", {found.still_allowed} stay allowed, {found.still_denied} stay denied; of ",
        f"{found.connections} connections that {found.node} has seen",
    )
