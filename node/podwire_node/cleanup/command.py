"""The `podwire cleanup` command."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podwire_core.errors import NftError
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.values import Component, components

if TYPE_CHECKING:
    from podwire_node.cleanup.rows import Row

_CONF_DIR, _BIN_DIR = "/etc/cni/net.d", "/opt/cni/bin"
_EBPF_FOLDER = AgentConfig(node="", feed="").ebpf_folder


@click.command()
@click.option(
    "--components",
    "names",
    metavar="LIST",
    default=",".join(Component),
    help="Whose share is removed: cni, proxy, policy.  [all]",
)
@click.option(
    "--kube-proxy", is_flag=True, help="Remove what a kube-proxy left, in place of podwire's own."
)
@click.option("--cni-conf-dir", metavar="DIR", default=_CONF_DIR, show_default=True)
@click.option("--cni-bin-dir", metavar="DIR", default=_BIN_DIR, show_default=True)
@click.option("--ebpf-folder", metavar="DIR", default=_EBPF_FOLDER, show_default=True)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--force", is_flag=True, help="Also while an agent runs here, which makes it anew.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cleanup(  # noqa: PLR0913 - an argument an option
    *,
    names: str,
    kube_proxy: bool,
    cni_conf_dir: str,
    cni_bin_dir: str,
    ebpf_folder: str,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Remove what podwire, or a kube-proxy, put in force in this network namespace.

    Of podwire: its programs at sockets and at uplinks, its tables, its routes, the overlay's
    link, and in the runtime's folders the conflist and the client, where they are podwire's.
    Pods' own links and kernel parameters stay. What is not there is no error; with 1 it ends when
    something could not be removed.

    Of a kube-proxy: its tables of nftables, and its chains of iptables, nft and legacy. What
    mode ipvs left beside these is named, and how to remove it.

    \b
    Examples:
      podwire cleanup --dry-run
      podwire cleanup --components proxy
      podwire cleanup --kube-proxy --json
    """
    try:
        asked = components(names)
    except ValueError:
        message = f"--components: {names!r}: use one or more of cni, proxy and policy"
        raise click.ClickException(message) from None
    if not (kube_proxy or dry_run or force):
        _refuse_while_one_runs("give --force")
    if kube_proxy and not as_json:
        _warn_while_one_runs()
    folders = (Path(cni_conf_dir), Path(cni_bin_dir), Path(ebpf_folder))
    rows = _remove(asked, folders, kube_proxy=kube_proxy, dry_run=dry_run)
    _show(rows, dry_run=dry_run, as_json=as_json)
    sys.exit(any(row.outcome == "failed" for row in rows))


def clean_up_proxy() -> int:
    """What `podwire proxy --cleanup` does: our Services, and all of a kube-proxy. An exit code."""
    _refuse_while_one_runs("use `podwire cleanup --components proxy --force`")
    nowhere = (Path(_CONF_DIR), Path(_BIN_DIR), Path(_EBPF_FOLDER))  # of a proxy, in the last
    rows = _remove((Component.PROXY,), nowhere, kube_proxy=False, dry_run=False)
    rows += _remove((), nowhere, kube_proxy=True, dry_run=False)
    _show(rows, dry_run=False, as_json=False)
    return int(any(row.outcome == "failed" for row in rows))


def _refuse_while_one_runs(otherwise: str) -> None:
    from podwire_node.cleanup.running import our_agents  # noqa: PLC0415 - --help needs none of it

    if found := our_agents():
        pids = ", ".join(map(str, found))
        raise click.ClickException(
            f"an agent runs in this network namespace (pid {pids}) and makes what is its own anew: "
            f"end it first, or {otherwise}"
        )


def _warn_while_one_runs() -> None:
    from podwire_node.cleanup.running import kube_proxies  # noqa: PLC0415 - same

    if found := kube_proxies():
        pids = ", ".join(map(str, found))
        click.echo(
            f"Warning: kube-proxy runs here (pid {pids}), and makes all of it anew", err=True
        )


def _remove(
    asked: Sequence[Component], folders: tuple[Path, Path, Path], *, kube_proxy: bool, dry_run: bool
) -> list[Row]:
    from podwire_core.nft.kernel import Kernel  # noqa: PLC0415 - same

    try:
        kernel = Kernel()
    except NftError as error:
        raise click.ClickException(str(error)) from error
    if kube_proxy:
        from podwire_node.kube_proxy.removal import remove_leftovers  # noqa: PLC0415 - same

        return remove_leftovers(kernel, dry_run=dry_run)
    from podwire_node.cleanup.ours import Folders, remove_ours  # noqa: PLC0415 - same

    return list(remove_ours(kernel, asked, Folders(*folders), dry_run=dry_run))


def _show(rows: Sequence[Row], *, dry_run: bool, as_json: bool) -> None:
    from podwire_node.cleanup.shown import rows_json, rows_table  # noqa: PLC0415 - same

    if as_json:
        click.echo(rows_json(rows, dry_run=dry_run))
        return
    from rich.console import Console  # noqa: PLC0415 - same

    if rows:
        Console().print(rows_table(rows))
    else:
        click.echo("nothing to remove")
