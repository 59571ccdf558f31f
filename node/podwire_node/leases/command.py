"""The `podwire leases` command."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podwire_node.settings.config import resolve

if TYPE_CHECKING:
    from podwire_node.leases.listing import Listing

_SETTING = "cniStateDir"


@click.command()
@click.option("--network", metavar="NAME", help="Only this CNI network's pods.")
@click.option("--state-dir", metavar="DIR", help="Where leases are; else the agent's cniStateDir.")
@click.option("--config", metavar="FILE", help="Read cniStateDir from the agent's YAML file.")
@click.option("--check", is_flag=True, help="Compare leases, links and routes; 1 if they differ.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def leases(
    *, network: str | None, state_dir: str | None, config: str | None, check: bool, as_json: bool
) -> None:
    """Show who has which address and which port of this node.

    A row a pod: its addresses, its container, the node's ports that lead to it, and for how long.
    Below it, the addresses that were given back last and rest before the next pod has them; they
    rest for all networks, so --network leaves them out. It reads the database of CNI calls, so it
    works while no agent runs. It needs root.

    With --check it says instead what differs between leases, links and routes of this network
    namespace, and what an agent does about it: it looks once a minute, puts back what a second
    look confirms, and frees what a second look a minute later does. It changes nothing itself, and
    ends with 1 when something differs.

    \b
    Examples:
      podwire leases
      podwire leases --network podnet --json
      podwire leases --config /etc/podwire/config.yaml
      podwire leases --check
    """
    if check and network:
        raise click.UsageError("--check compares all networks; leave --network out")
    folder = Path(state_dir) if state_dir else _configured(config)
    _require_readable(folder, named=bool(state_dir))
    if check:
        _check(folder, config, as_json=as_json)
        return
    listing = _read(folder, network)
    if as_json:
        from podwire_node.leases.document import listing_json  # noqa: PLC0415 - --help needs none of it

        click.echo(listing_json(listing))
    else:
        _show(listing, network)


def _configured(config: str | None) -> Path:
    """The agent's folder; what else an agent's settings lack is no matter."""
    found = resolve({"config": config}, os.environ)
    if mistakes := found.mistakes_of({_SETTING}):
        raise click.ClickException("\n".join(mistakes))
    return Path(str(found.settings[_SETTING].value))


def _require_readable(folder: Path, *, named: bool) -> None:
    """An agent's folder is made by its first call; one that somebody names has to be there."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError as error:
        if named:
            raise click.ClickException(f"{folder}: there is no such folder") from error
    except OSError as error:
        rights = "" if os.geteuid() == 0 else "; it needs root"
        raise click.ClickException(f"{folder}: {error.strerror}{rights}") from error


def _check(folder: Path, config: str | None, *, as_json: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - --help needs none of it

    from podwire_node.cni.audit import RepairError  # noqa: PLC0415 - same
    from podwire_node.leases.differences import (  # noqa: PLC0415 - same
        differences_json,
        differences_table,
        read_differences,
    )

    found = resolve({"config": config}, os.environ).settings.get("cniConfDir")
    conf_dir = str(found.value) if found else ""
    try:
        rows = read_differences(folder, Path(conf_dir) if conf_dir else None)
    except RepairError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(differences_json(folder, rows))
    elif rows:
        Console().print(differences_table(rows))
    else:
        click.echo(f"leases in {folder}, links and routes agree")
    if rows:
        raise SystemExit(1)


def _read(folder: Path, network: str | None) -> Listing:
    from podwire_cni.errors import CniError  # noqa: PLC0415 - --help needs none of it
    from podwire_node.leases.listing import read_listing  # noqa: PLC0415 - same

    try:
        return read_listing(folder, network)
    except CniError as error:
        details = f": {error.details}" if error.details else ""
        raise click.ClickException(f"{error.message}{details}") from error


def _show(listing: Listing, network: str | None) -> None:
    from rich.console import Console  # noqa: PLC0415 - same

    from podwire_node.leases.tables import (  # noqa: PLC0415 - same
        leases_table,
        nothing,
        resting_table,
        summary,
    )

    if not listing.leases and not listing.resting:
        click.echo(nothing(listing, network))
        return
    console = Console()
    if listing.leases:
        console.print(leases_table(listing))
    if resting := resting_table(listing):
        console.print(resting)
    click.echo(summary(listing))
