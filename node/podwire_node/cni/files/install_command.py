"""The `podwire install` command."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import click

from podwire_node.settings.config import DEFAULT, resolve

_CONF_DIR, _BIN_DIR, _SOCKET = "/etc/cni/net.d", "/opt/cni/bin", "/run/podwire/cni.sock"
_SETTINGS = ("cniConfDir", "cniBinDir", "cniSocket", "cniStateDir", "cniPlugin", "mtu")


@click.command()
@click.option("--config", metavar="FILE", help="Read settings from the agent's YAML file.")
@click.option("--cni-conf-dir", metavar="DIR", help=f"Where runtimes look.  [{_CONF_DIR}]")
@click.option("--cni-bin-dir", metavar="DIR", help=f"Where plugins are.  [{_BIN_DIR}]")
@click.option("--cni-socket", metavar="PATH", help=f"Where the agent serves.  [{_SOCKET}]")
@click.option("--cni-state-dir", metavar="DIR", help="Where the agent keeps its leases.")
@click.option("--cni-plugin", metavar="podwire|podwire-cni", help="The conflist's plugin.")
@click.option(
    "--mtu", metavar="BYTES", help="Of pods' links, 0: by the plugin; else what is there."
)
@click.option(
    "--pod-cidrs",
    metavar="CIDRS",
    default="",
    help="This node's, such as 10.244.1.0/24,fd00:10:244:1::/64; else those that are there.",
)
@click.option(
    "--wait",
    "patience",
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    default=0.0,
    help="How long the agent may take until it serves.  [0]",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be installed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def install(
    *, pod_cidrs: str, patience: float, dry_run: bool, as_json: bool, **flags: str | None
) -> None:
    """Put the CNI client and the conflist where container runtimes look for them.

    Each file appears at once and whole, and only where it differs. The conflist comes last, and
    only when the agent says that it can serve ADD: a runtime that finds it starts pods. An agent
    with --cni-conf-dir and --cni-bin-dir does all this by itself, and keeps it so.

    The plugin podwire-cni needs no agent. It has to be in the folder of plugins already, say as a
    symbolic link: it is bound to the Python it was installed with.

    Folders come from options, PODWIRE_… variables and the agent's file, in this order. Exits with
    1 when something is not there and could not be installed.

    \b
    Examples:
      podwire install --dry-run
      podwire install --config /etc/podwire/config.yaml --wait 60
      podwire install --pod-cidrs 10.244.1.0/24,fd00:10:244:1::/64 --json
      podwire install --cni-plugin podwire-cni --pod-cidrs 10.88.0.0/16
    """
    from podwire_node.cni.files.installation import (  # noqa: PLC0415 - --help needs none of it
        Installation,
        Outcome,
        rows_json,
        rows_table,
    )

    values = _settings(flags)
    rows = list(
        Installation(
            bin_dir=Path(str(values["cniBinDir"] or _BIN_DIR)),
            conf_dir=Path(str(values["cniConfDir"] or _CONF_DIR)),
            socket=Path(str(values["cniSocket"] or _SOCKET)),
            state_dir=Path(str(values["cniStateDir"])),
            plugin=str(values["cniPlugin"]),
            pod_cidrs=tuple(filter(None, (each.strip() for each in pod_cidrs.split(",")))),
            mtu=cast("int | None", values["mtu"]),
            patience=patience,
            dry_run=dry_run,
        ).rows()
    )
    if as_json:
        click.echo(rows_json(rows, dry_run=dry_run))
    else:
        from rich.console import Console  # noqa: PLC0415 - same

        Console().print(rows_table(rows))
    sys.exit(any(row.outcome is Outcome.FAILED for row in rows))


def _settings(flags: Mapping[str, str | None]) -> Mapping[str, object]:
    """What this command needs of the agent's settings; what else an agent lacks is no matter."""
    found = resolve(flags, os.environ)
    if wrong := found.mistakes_of(_SETTINGS):
        raise click.ClickException("\n".join(wrong))
    values = {key: found.settings[key].value for key in _SETTINGS}
    if found.settings["mtu"].origin == DEFAULT:
        values["mtu"] = None  # nobody said so, and an agent may have worked it out
    return values
