"""Findings as a table for people, and as JSON for programs.

{"healthy": false, "checks": [{"name": "cgroup", "health": "fail", "seen": "…", "advice": "…"}]}
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.table import Table
from rich.text import Text

from podwire_node.doctor.checks import Checked
from podwire_node.doctor.finding import Health
from podwire_node.reports.logs import one_line

_SIGNS = {
    Health.OK: ("✓", "green"),
    Health.WARN: ("!", "yellow"),
    Health.FAIL: ("✗", "bold red"),
    Health.UNUSED: ("·", "dim"),
}


def findings_json(rows: Sequence[Checked]) -> str:
    """See the module's docstring."""
    checks = [{"name": name, **finding._asdict()} for name, finding in rows]
    document = {"healthy": healthy(rows), "checks": checks}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def findings_table(rows: Sequence[Checked]) -> Table:
    """A row a check; what to do stands below what was seen."""
    table = Table("", "Check", "What is so, and what to do")
    for name, (health, seen, advice) in rows:
        sign, style = _SIGNS[health]
        text = Text(one_line(seen), "dim" if health is Health.UNUSED else "")
        if advice:
            text.append(f"\n→ {one_line(advice)}", style)
        table.add_row(Text(sign, style), name, text)
    return table


def summary(rows: Sequence[Checked]) -> str:
    """One line below it."""
    count = {health: sum(row.finding.health is health for row in rows) for health in Health}
    words = [f"{number} {health}" for health, number in count.items() if number]
    return ", ".join(words)


def healthy(rows: Sequence[Checked]) -> bool:
    """Whether nothing failed."""
    return all(row.finding.health is not Health.FAIL for row in rows)
