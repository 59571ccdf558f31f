"""`podwire leases --check`: what differs between leases, links and routes, for people and programs.

    {"stateDir": "/run/podwire/cni",
     "differences": [{"kind": "lease-without-link", "subject": "pw…", "pod": "default/web",
                      "sentence": "…", "repair": "freed by the agent after a minute"}]}

Kinds are those of podwire_node.cni.audit.findings, whose agent repairs what it says here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text

from podwire_node.cni.audit import Row, check
from podwire_node.cni.files.install import installed_entry


def read_differences(state_dir: Path, conf_dir: Path | None) -> list[Row]:
    """Compare. conf_dir: where the agent's conflist is, which says what pods' addresses are.

    Raises RepairError (podwire_node.cni.audit) when something cannot be read.
    """
    # Without ranges nothing is a stray, and no link is nobody's: a missing file is no error.
    return check(state_dir, installed_entry(conf_dir).ranges if conf_dir else ())


def differences_json(state_dir: Path, rows: Sequence[Row]) -> str:
    """See the module's docstring."""
    document = {"stateDir": str(state_dir), "differences": rows}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def differences_table(rows: Sequence[Row]) -> Table:
    """A row a difference; its sentence names pod, link and addresses."""
    table = Table(show_lines=True)
    for name in ("Difference", "What is so", "Repaired"):
        table.add_column(name, overflow="fold")  # a name that is cut is none
    for row in rows:
        table.add_row(*(Text(cell) for cell in (row.kind, row.sentence, row.repair)))
    return table
