"""The options by which commands find their node's agent: --socket and --config."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from podwire_node.control.client import AgentClient
from podwire_node.settings.config import resolve

_SETTING = "controlSocket"

Command = TypeVar("Command", bound=Callable[..., Any])


def agent_address(command: Command) -> Command:
    """Give a command --socket and --config: agent_client() takes their values."""
    for option in (
        click.option("--config", metavar="FILE", help="Read controlSocket from the agent's file."),
        click.option(
            "--socket", metavar="PATH", help="Where the agent listens; else its controlSocket."
        ),
    ):
        command = option(command)
    return command


def agent_client(socket: str | None, config: str | None) -> AgentClient:
    """The agent that is meant: by its path, or by its settings (file, environment, default).

    Raises click's error. What else an agent's settings lack is no matter.
    """
    if socket:
        return AgentClient(Path(socket))
    found = resolve({"config": config}, os.environ)
    if mistakes := found.mistakes_of({_SETTING}):
        raise click.ClickException("\n".join(mistakes))
    path = str(found.settings[_SETTING].value)
    if not path:
        raise click.ClickException("controlSocket is empty: this node's agent answers nobody")
    return AgentClient(Path(path))
