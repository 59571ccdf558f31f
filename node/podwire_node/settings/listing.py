"""Settings for people and for programs: what is in force, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from podwire_node.settings.config import InForce

if TYPE_CHECKING:
    from rich.table import Table


def settings_table(found: InForce) -> Table:
    """A row a setting; what an operator chose stands out."""
    from rich.table import Table  # noqa: PLC0415 - the agent draws no tables
    from rich.text import Text  # noqa: PLC0415 - same

    table = Table("Setting", "Value", "From")
    for key, (value, origin) in found.settings.items():
        style = "dim" if origin == "default" else "bold"
        table.add_row(*(Text(text, style) for text in (key, shown(value), origin)))
    return table


def settings_json(found: InForce) -> str:
    """{"settings": {key: {"value": …, "from": …}}, "mistakes": [sentence, …]}."""
    settings = {
        key: {"value": value, "from": origin} for key, (value, origin) in found.settings.items()
    }
    document = {"settings": settings, "mistakes": found.mistakes}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def shown(value: object) -> str:
    """A value as a flag would give it; "-" for nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        value = ",".join(value)
    return str(value) if value != "" else "-"
