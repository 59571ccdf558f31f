"""Reads one agent's maps, and names what is in them.

agent ─► Names: folder, what serves sockets ─► maps of the folder ─► rows that are wanted ─► Dump
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from podwire_ebpf.place import Place
from podwire_ebpf.tables import Table
from podwire_node.control.errors import ControlError
from podwire_node.control.options import agent_clients
from podwire_node.dump.maps import entries, maps
from podwire_node.dump.names import Names, decode_names
from podwire_node.dump.rows import Moment, Row, learn, learn_sockets, rows_of
from podwire_node.dump.shown import Dump, Part
from podwire_node.dump.wanted import Wanted
from podwire_node.settings.config import resolve

_FOLDER = "ebpfFolder"
_DEFAULT_FOLDER = "/sys/fs/bpf/podwire"


def dump_of(sockets: Sequence[str], config: str | None, folder: str, wanted: Wanted) -> Dump:
    """Of the agent that listens at the one socket, or at that of the settings.

    Without an agent it has no names, and the folder is that of the settings. folder: to read in
    place of the agent's, "" for this one. What cannot be read is the Dump's problem. Raises click's
    error for settings that cannot be read.
    """
    names, silent = _named(sockets, config)
    if silent and wanted.services:
        return Dump(names.place, problem=f"--service needs the agent's names: {silent}")
    if names.place.unserved and not (folder or names.place.folder):
        return Dump(names.place, problem=f"{names.place.unserved}, so it has no maps")
    path = Path(folder or names.place.folder or _configured(config))
    return _dump(path, names, silent, wanted)


def dump_of_one(socket: str, wanted: Wanted) -> Dump:
    """Of one of several agents. Nobody but itself knows where its maps are."""
    names, silent = _named([socket], None)
    place = names.place
    if not place.folder:
        unserved = place.unserved and f"{place.unserved}, so it has no maps"
        return Dump(place, problem=silent or unserved or f"{socket}: this agent loads no programs")
    return _dump(Path(place.folder), names, silent, wanted)


def _dump(folder: Path, names: Names, silent: str, wanted: Wanted) -> Dump:
    """silent: why the agent named nothing, or not all."""
    notice = f"addresses without names: {silent}" if silent else names.place.unserved
    try:
        parts = _read(folder, wanted, names)
    except ControlError as error:
        problem = "\n".join(filter(None, (names.place.unserved, str(error))))
        return Dump(names.place, problem=problem)
    left = [each for each in names.left if wanted.leaves(each)]
    left = left if "frontends" in wanted.tables else []
    named = not silent
    return Dump(names.place, str(folder), named, parts, left, notice)


def _named(sockets: Sequence[str], config: str | None) -> tuple[Names, str]:
    """What the agent names, and why it names nothing, or not all."""
    names = Names()
    try:
        for agent in agent_clients(sockets, config):
            decode_names(agent.ask("names"), into=names)
    except ControlError as error:
        return names, str(error)
    except click.ClickException as error:
        return names, error.format_message()
    return names, ""


def _configured(config: str | None) -> str:
    """The agent's ebpfFolder. Raises click's error for a file that cannot be read."""
    found = resolve({"config": config}, os.environ)
    if mistakes := found.mistakes_of({_FOLDER}):
        raise click.ClickException("\n".join(mistakes))
    settled = found.settings.get(_FOLDER)
    return str(settled.value) if settled else _DEFAULT_FOLDER


def _read(folder: Path, wanted: Wanted, names: Names) -> dict[str, Part]:
    """Raises ControlError."""
    moment = Moment(names, time.monotonic())
    with ExitStack() as stack:
        tables = stack.enter_context(maps(Place(Path("/"), folder)))
        if len(wanted.tables) == 1 and wanted.tables[0] not in tables:
            raise ControlError(
                f"no map {wanted.tables[0]} is pinned: traffic from outside is nftables' alone"
            )
        learn(entries(tables["frontends"]), names)
        here = [name for name in wanted.tables if name in tables]
        return {name: wanted.part(_rows(name, tables[name], moment)) for name in here}


def _rows(name: str, table: Table[Any, Any], moment: Moment) -> list[Row]:
    found = list(entries(table))
    if name == "reverse":
        learn_sockets(found, moment.names)
    return rows_of(name, found, moment)
