"""The `podwire dump` command."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from podwire_node.control.options import agent_address

if TYPE_CHECKING:
    from podwire_node.dump.shown import Dump
    from podwire_node.dump.wanted import Wanted

_TABLES = (
    *("frontends", "endpoints", "members", "affinity", "reverse"),
    *("peers", "addresses", "counters", "settings", "canaries", "lost"),
    *("opening", "connections", "fragments", "insiders"),  # of ebpfExternal
)
_LIMIT, _BRIEF = 1000, 20  # rows of the table that is asked for, and of each of all


@click.group()
def dump() -> None:
    """Print what is in force, in names.

    \b
    Examples:
      podwire dump ebpf
      podwire dump ebpf frontends --service shop/api --raw
    """


@dump.command()
@click.argument("table", required=False, type=click.Choice(_TABLES), metavar="[TABLE]")
@click.option(
    "--service", "services", multiple=True, metavar="NS/NAME", help="Of Services named like this."
)
@click.option(
    "--address", "addresses", multiple=True, metavar="IP", help="Entries with this address."
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    metavar="NUMBER",
    help=f"Rows of a table; 0: all.  [{_LIMIT}; {_BRIEF} of each without TABLE]",
)
@click.option(
    "--raw",
    is_flag=True,
    help="The bytes of key and value below each row, and numbers of lists and counters.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--folder", metavar="DIR", help="Where maps are pinned; else as the agent says.")
@agent_address
def ebpf(
    *,
    table: str | None,
    limit: int | None,
    raw: bool,
    as_json: bool,
    folder: str | None,
    sockets: Sequence[str],
    config: str | None,
    **filters: Sequence[str],
) -> None:
    """Print the maps of the socket programs, of all of them the first rows, or of one TABLE.

    They are frontends, endpoints, members, affinity, reverse, peers, addresses, counters, settings,
    canaries and lost; with ebpfExternal also opening, connections, fragments and insiders.

    It reads the pinned maps itself. The agent is asked for the names of Services and pods, and for
    frontends that are left to nftables, and why; without an agent there are addresses alone.
    Values of counters are sums over the processors, with --raw each processor's stands in the
    bytes. A map that changes meanwhile is not of one moment. It changes nothing, and needs root.

    Columns without any text are not shown, and without TABLE no empty tables; --json has all. Of
    several agents each has its tables, in JSON one object after the other. A `reverse` entry of a
    socket that may be TCP's as well as UDP's has both Services: a|b.

    \b
    Ends with
      0  maps were read
      1  they could not be, of one agent at least: nftables may serve its Services alone
      2  the options have an error

    \b
    Examples:
      podwire dump ebpf
      podwire dump ebpf frontends --service shop/api
      podwire dump ebpf endpoints --address 10.244.1.5 --raw
      podwire dump ebpf --json | jq '.left_to_nftables'
    """
    from podwire_node.dump.wanted import wanted  # noqa: PLC0415 - --help needs none of it

    services, addresses = ([*filters[each]] for each in ("services", "addresses"))
    most = (_LIMIT if table else _BRIEF) if limit is None else limit
    asked = wanted([table] if table else _TABLES, services, addresses, most)
    agents = list(dict.fromkeys(sockets))
    if len(agents) > 1:
        if folder:
            raise click.UsageError("--folder is one agent's: give one --socket")
        sys.exit(_show_all(agents, asked, raw=raw, as_json=as_json))
    from podwire_node.dump.reading import dump_of  # noqa: PLC0415 - same

    _show_one(dump_of(agents, config, folder or "", asked), raw=raw, as_json=as_json)


def _show_one(found: Dump, *, raw: bool, as_json: bool) -> None:
    """Raises click's error for what could not be read."""
    from podwire_node.dump.shown import dump_json  # noqa: PLC0415 - see ebpf()

    if found.problem:
        raise click.ClickException(found.problem)
    if found.notice:
        click.echo(found.notice, err=True)
    if as_json:
        click.echo(dump_json(found, raw=raw))
    else:
        _print(found, raw=raw)


def _show_all(sockets: Sequence[str], asked: Wanted, *, raw: bool, as_json: bool) -> int:
    """Each as soon as it is read; returns the exit code."""
    from podwire_node.dump.reading import dump_of_one  # noqa: PLC0415 - see ebpf()
    from podwire_node.dump.shown import dump_json  # noqa: PLC0415 - same

    failed = False
    for number, socket in enumerate(sockets):
        found = dump_of_one(socket, asked)
        failed |= bool(found.problem)
        if as_json:
            click.echo(dump_json(found, raw=raw, several=True))
            continue
        click.secho("\n" * bool(number) + (found.place.node or socket), fg="cyan", bold=True)
        if said := found.problem or found.notice:
            click.secho(said, fg="yellow")
        _print(found, raw=raw)
    return int(failed)


def _print(found: Dump, *, raw: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - --json needs none of it

    from podwire_node.dump.shown import shown  # noqa: PLC0415 - same

    console = Console(highlight=False)
    for number, each in enumerate(shown(found, raw=raw, room=console.width)):
        console.print(*[""] * bool(number), each, sep="\n", soft_wrap=True)
