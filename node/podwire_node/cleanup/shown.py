"""What was removed, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from podwire_node.cleanup.rows import Outcome, Row

if TYPE_CHECKING:
    from rich.table import Table

_STYLE = {Outcome.FAILED: "red", Outcome.LEFT: "yellow", Outcome.WOULD_BE: "cyan"}


def rows_table(rows: Sequence[Row]) -> Table:
    """A row a thing."""
    from rich.table import Table  # noqa: PLC0415 - the agent draws no tables
    from rich.text import Text  # noqa: PLC0415 - same

    table = Table("What", "Name", "Outcome", "Why")
    for row in rows:
        outcome = Text(row.outcome, _STYLE.get(row.outcome, "green"))
        table.add_row(row.kind, Text(row.name), outcome, Text(row.why))
    return table


def rows_json(rows: Sequence[Row], *, dry_run: bool) -> str:
    """{"dryRun": …, "rows": [{"kind": …, "name": …, "outcome": …, "why": …}]}."""
    shown = [
        {"kind": row.kind, "name": row.name, "outcome": row.outcome, "why": row.why} for row in rows
    ]
    document = {"dryRun": dry_run, "rows": shown}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
