"""Settings for people and for programs: what is in force, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from podwire_node.settings.config import InForce
from podwire_node.settings.rows import SETTINGS

if TYPE_CHECKING:
    from rich.table import Table


def settings_table(found: InForce) -> Table:
    """A row a setting; what an operator chose stands out, and so does what cannot be used."""
    from rich.table import Table  # noqa: PLC0415 - the agent draws no tables
    from rich.text import Text  # noqa: PLC0415 - same

    table = Table("Setting", "Value", "From")
    for key in _keys(found):
        if key in found.wrong:
            why = f"{found.wrong[key]}: wrong, see below" if found.wrong[key] else "is needed"
            table.add_row(key, Text("—", "red"), Text(why, "red"))
            continue
        value, origin = found.settings[key]
        style = "dim" if origin == "default" else "bold"
        table.add_row(*(Text(text, style) for text in (key, shown(value), origin)))
    return table


def show(found: InForce) -> None:
    """Print a table; warnings and mistakes to standard error."""
    from rich.console import Console  # noqa: PLC0415 - the agent draws no tables

    if found.settings:  # none are known where the file cannot be read
        Console().print(settings_table(found))
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)
    for mistake in found.mistakes:
        click.echo(f"Error: {mistake}", err=True)


def settings_json(found: InForce) -> str:
    """{"settings": {key: {"value": …, "from": …}}, "mistakes": [sentence, …], "warnings": […]}.

    A setting that cannot be used has "wrong": true, no value, and where it came from.
    """
    settings: dict[str, dict[str, object]] = {}
    for key in _keys(found):
        if key in found.wrong:
            settings[key] = {"value": None, "from": found.wrong[key], "wrong": True}
        else:
            value, origin = found.settings[key]
            settings[key] = {"value": value, "from": origin}
    document = {"settings": settings, "mistakes": found.mistakes, "warnings": found.warnings}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _keys(found: InForce) -> list[str]:
    """Of all settings that anything is known of, in the order of SETTINGS."""
    return [row.key for row in SETTINGS if row.key in found.settings or row.key in found.wrong]


def shown(value: object) -> str:
    """A value as a flag would give it; "-" for nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        value = ",".join(value)
    return str(value) if value != "" else "-"
