"""`podwire leases --check`: what differs between leases, links and routes, for people and programs.

    {"stateDir": "/run/podwire/cni",
     "differences": [{"kind": "lease-without-link", "subject": "pw…", "pod": "default/web",
                      "sentence": "…", "repair": "freed by the agent after a minute"}]}

Kinds are those of podwire_node.cni.audit.findings, whose agent repairs what it says here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from rich.table import Table
from rich.text import Text

from podwire_node.cni.audit import Row, check
from podwire_node.cni.install import CONFLIST


class _Plugin(msgspec.Struct):
    ranges: list[str] = []


class _Conflist(msgspec.Struct):
    plugins: Annotated[list[_Plugin], msgspec.Meta(min_length=1)]


def read_differences(state_dir: Path, conf_dir: Path | None) -> list[Row]:
    """Compare. conf_dir: where the agent's conflist is, which says what pods' addresses are.

    Raises RepairError (podwire_node.cni.audit) when something cannot be read.
    """
    return check(state_dir, _ranges(conf_dir) if conf_dir else ())


def differences_json(state_dir: Path, rows: Sequence[Row]) -> str:
    """See the module's docstring."""
    document = {"stateDir": str(state_dir), "differences": rows}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def differences_table(rows: Sequence[Row]) -> Table:
    """A row a difference; its sentence names pod, link and addresses."""
    table = Table("Difference", "What is so", "Repaired", show_lines=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in (row.kind, row.sentence, row.repair)))
    return table


def _ranges(conf_dir: Path) -> Sequence[str]:
    """Without them nothing is a stray, and no link is nobody's: a missing file is no error."""
    try:
        content = (conf_dir / CONFLIST).read_bytes()
        return msgspec.json.decode(content, type=_Conflist).plugins[0].ranges
    except (OSError, msgspec.DecodeError):
        return ()
