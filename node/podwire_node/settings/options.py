"""The agent's settings as command line options, in groups, made from the rows of SETTINGS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from podwire_node.settings.listing import shown
from podwire_node.settings.rows import SETTINGS
from podwire_node.settings.setting import Setting

Command = TypeVar("Command", bound=Callable[..., Any])

_GROUPS = {row.words: row.group for row in SETTINGS}
_OTHER = "Options"


class GroupedCommand(click.Command):
    """A command whose help lists options under the headings of their settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Command.format_options."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in _GROUPS.values()}
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row is not None:
                groups.setdefault(_GROUPS.get(param.name or "", _OTHER), []).append(row)
        for name, rows in groups.items():
            if rows:
                with formatter.section(name):
                    formatter.write_dl(rows)


def agent_options(command: Command) -> Command:
    """Give a command every setting as an option; values are checked by config.py."""
    for row in reversed(SETTINGS):
        if isinstance(row.default, bool):
            names, more = f"{row.flag}/--no-{row.flag.removeprefix('--')}", {}
        else:
            names, more = row.flag, {"metavar": row.metavar}
        decorate = click.option(names, row.words, default=None, help=_help(row), **more)  # type: ignore[arg-type]  # click's overloads know no dict
        command = decorate(command)
    file = click.option(
        "--config",
        metavar="FILE",
        help="Read settings from this YAML file; flags and PODWIRE_… variables are stronger.",
    )
    return file(command)


def _help(row: Setting) -> str:
    """What it is for and, where that is worth a word, what it is without being given."""
    value = row.default
    if value is msgspec.NODEFAULT:
        return f"{row.purpose}  [needed]"
    return f"{row.purpose}  [{shown(value)}]" if value else row.purpose
