"""Rows of maps as tables for people, and as JSON for programs.

    {"folder": "/sys/fs/bpf/podwire", "named": true,
     "tables": {"addresses": {"entries": 1, "left_out": 0,
                              "rows": [{"service": "", "NodePorts answer at": "192.168.7.1"}]}},
     "left_to_nftables": [{"dialled": "10.96.0.14:80/TCP", "service": "shop/old:", "reason": "…"}]}

With --raw a row has `key` and `value`, too: their bytes in hexadecimal digits. Of several agents
each has an object, which begins with `node`, `backend`, `why` and `problem`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from rich.text import Text

from podwire_node.dump.layout import fold, lines
from podwire_node.dump.names import LeftName, PlaceName
from podwire_node.dump.rows import VIEWS, Row, columns, dialled
from podwire_node.reports.logs import one_line

_GROUP = 4  # bytes between two spaces
_TITLE, _HEADER, _RAW = "bold", "dim", "dim"


class Part(NamedTuple):
    """A table's rows that are shown. entries: how many there are that fit; the rest is left out."""

    rows: Sequence[Row]
    entries: int

    @property
    def left_out(self) -> int:
        """How many fit and are not shown."""
        return self.entries - len(self.rows)


class Dump(NamedTuple):
    """What was read at an agent's node. named: the agent gave names.

    notice: what one has to know of it. problem: why nothing could be read, "" where it was.
    """

    place: PlaceName
    folder: str = ""
    named: bool = False
    parts: Mapping[str, Part] = {}
    left: Sequence[LeftName] = ()
    notice: str = ""
    problem: str = ""


# ------------------------------------------------------------------------------ for programs


def dump_json(dump: Dump, *, raw: bool, several: bool = False) -> str:
    """See the module's docstring."""
    place = dump.place
    whose = {"node": place.node, "backend": place.backend, "why": place.why}
    document = {
        **({**whose, "problem": dump.problem} if several else {}),
        "folder": dump.folder,
        "named": dump.named,
        "tables": {
            name: {
                "entries": part.entries,
                "left_out": part.left_out,
                "rows": [_json_row(name, row, raw=raw) for row in part.rows],
            }
            for name, part in dump.parts.items()
        },
        "left_to_nftables": [
            {"dialled": dialled(each.key), "service": each.service, "reason": each.reason}
            for each in dump.left
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _json_row(table: str, row: Row, *, raw: bool) -> dict[str, str]:
    found = {"service": row.service, **dict(zip(columns(table), row.cells, strict=True))}
    if raw:
        found |= {"key": row.raw_key.hex(), "value": row.raw_value.hex()}
    return found


# -------------------------------------------------------------------------------- for people


def shown(dump: Dump, *, raw: bool, room: int) -> Iterator[Text]:
    """What to print, in order, a blank line between two. room: columns of the terminal."""
    empty = [name for name, part in dump.parts.items() if not part.entries]
    for name, part in dump.parts.items():
        if part.entries or len(dump.parts) == 1:
            yield _table(name, part, raw=raw, room=room)
    if dump.left:
        yield _left_table(dump.left, room)
    if empty and len(dump.parts) > 1:
        yield Text("\n".join(fold(f"no rows: {', '.join(empty)}", room)), _HEADER)


def _table(name: str, part: Part, *, raw: bool, room: int) -> Text:
    """A map, its title says how much of it is left out. Columns without any text are not shown."""
    left_out = f", {part.left_out:,} of them left out" if part.left_out else ""
    number = f"{part.entries:,} {'entry' if part.entries == 1 else 'entries'}"
    text = Text(f"{name}: {number}{left_out}", _TITLE)
    if not part.rows:
        return text
    hidden = VIEWS[name].numbers
    cells = [[_printable(cell) for cell in row.cells] for row in part.rows]
    used = [
        each
        for each, column in enumerate(columns(name))
        if column not in hidden and any(row[each] for row in cells)
    ]
    header = [columns(name)[each] for each in used]
    head, *bodies = lines(header, [[row[each] for each in used] for row in cells], room)
    below = [_raw(name, row, room) if raw else [] for row in part.rows]
    return _put(text, head, bodies, below)


def _left_table(left: Sequence[LeftName], room: int) -> Text:
    """Frontends that nftables serves alone."""
    header = ("Dialled", "Service", "Because")
    rows = [(dialled(each.key), one_line(each.service), one_line(each.reason)) for each in left]
    head, *bodies = lines(header, rows, room)
    text = Text(f"left to nftables: {len(left):,}", _TITLE)
    return _put(text, head, bodies, [[]] * len(rows))


def _put(
    text: Text,
    head: Sequence[str],
    bodies: Sequence[Sequence[str]],
    below: Sequence[Sequence[str]],
) -> Text:
    """below: further lines of each row."""
    found = Text.assemble(text, ("\n" + "\n".join(head), _HEADER))
    for body, more in zip(bodies, below, strict=True):
        found.append("".join(f"\n{line}" for line in body))
        found.append("".join(f"\n{line}" for line in more), _RAW)
    return found


def _raw(table: str, row: Row, room: int) -> list[str]:
    """Numbers of a row that lead from map to map, and its bytes."""
    cells = zip(columns(table), row.cells, strict=True)
    numbers = {column: cell for column, cell in cells if column in VIEWS[table].numbers and cell}
    numbers |= {"Key": _hex(row.raw_key), "Value": _hex(row.raw_value)}
    widest = max(map(len, numbers))
    return [
        part
        for name, digits in numbers.items()
        for part in fold(f"  {name.lower():{widest}} {digits}", room)
    ]


def _printable(cell: str) -> str:
    return "\n".join(map(one_line, cell.split("\n")))


def _hex(data: bytes) -> str:
    return data.hex(" ", -_GROUP)  # negative: groups begin where structs do
