"""The options by which commands find their node's agent: --socket and --config."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from podwire_node.control.client import AgentClient
from podwire_node.settings.config import resolve

_SETTING = "controlSocket"

Command = TypeVar("Command", bound=Callable[..., Any])


def agent_address(command: Command) -> Command:
    """Give a command --socket and --config: agent_clients() takes their values."""
    config = "Read controlSocket from the agent's file."
    return _address(command, "Of several agents: several.", config)


def one_agent_address(command: Command) -> Command:
    """The same, of a command that asks one agent, and reads more of its settings."""
    return _address(command, "One alone is asked.", "Read the agent's settings from its file.")


def _address(command: Command, how_many: str, of_config: str) -> Command:
    where = f"Where the agent listens; else its controlSocket. {how_many}"
    for option in (
        click.option("--config", metavar="FILE", help=of_config),
        click.option("--socket", "sockets", multiple=True, metavar="PATH", help=where),
    ):
        command = option(command)
    return command


def agent_clients(sockets: Sequence[str], config: str | None) -> Sequence[AgentClient]:
    """The agents that are meant: by their paths, or the one of the settings (file, environment).

    Raises click's error. What else an agent's settings lack is no matter.
    """
    if sockets:
        return [AgentClient(Path(each)) for each in dict.fromkeys(sockets)]
    found = resolve({"config": config}, os.environ)
    if mistakes := found.mistakes_of({_SETTING}):
        raise click.ClickException("\n".join(mistakes))
    path = str(found.settings[_SETTING].value)
    if not path:
        raise click.ClickException("controlSocket is empty: this node's agent answers nobody")
    return [AgentClient(Path(path))]
