"""What all `podwire lab` commands share: options, errors as sentences, progress, JSON."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
from rich.console import Console

from podwire_core.errors import FeedError, ObjectError, PodwireError
from podwire_lab import applied
from podwire_lab.folders import Folders
from podwire_lab.lookup import find_pod
from podwire_lab.machine import cluster, daemons, links, requirements
from podwire_lab.machine.processes import ProcessesError
from podwire_lab.overview import Lookout
from podwire_lab.show import tables
from podwire_lab.topology import Lab, LabNode, Proxy, ProxyMode, plan_lab
from podwire_lab.workloads import LabPod

_EXPECTED = (
    PodwireError,
    ProcessesError,
    requirements.Unmet,
    subprocess.SubprocessError,
    LookupError,
    OSError,
    ValueError,
    links.LinkError,
)


class Commands(click.Group):
    """Turns errors that are expected into one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _hinted(error) from error
        except FeedError as error:
            raise click.ClickException(f"{error}: is the lab being taken down?") from error
        except _EXPECTED as error:
            raise click.ClickException(str(error)) from error


def _hinted(error: click.UsageError) -> click.UsageError:
    """Who gives a word too many to a command of a whole lab most likely names the lab."""
    command = error.ctx.command if error.ctx else None
    options = {each.name for each in command.params} if command else set()
    if "unexpected extra argument" not in error.message or "name" not in options:
        return error
    return click.UsageError(f"{error.message}: a lab is named with --name NAME", error.ctx)


def valid_name(_: click.Context, __: click.Parameter, name: str) -> str:
    """The name, if a lab can have it. Raises click.BadParameter."""
    try:
        return plan_lab(name, 1).name
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


name_option = click.option(
    "--name",
    default="lab",
    envvar="PODWIRE_LAB",
    show_default=True,
    show_envvar=True,
    callback=valid_name,
    help="Which lab.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
namespace_option = click.option(
    "-n", "--namespace", help="Namespace; without it, all are searched."
)
paths_argument = click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="PATH…")
kubernetes_option = click.option(
    "--kubernetes", is_flag=True, help="Run Kubernetes' own control plane (`make kubernetes`)."
)
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def _as_zones(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    """Words between commas. Raises click.BadParameter for what is no label's value."""
    zones = tuple(filter(None, value.split(",")))
    for zone in zones:
        if not _LABEL_VALUE.fullmatch(zone):
            raise click.BadParameter(f"{zone!r} is no label's value: use letters, digits, -, _, .")
    return zones


zones_option = click.option(
    "--zones",
    default="",
    metavar="A,B…",
    callback=_as_zones,
    help="Zones that the nodes stand in, in turn.",
)
container_option = click.option("-c", "--container", help="Container; the first by default.")


def _as_proxy(_: click.Context, __: click.Parameter, value: str) -> Proxy:
    return Proxy(value)


proxy_option = click.option(
    "--proxy",
    type=click.Choice([each.value for each in Proxy]),
    default=Proxy.PODWIRE.value,
    show_default=True,
    callback=_as_proxy,
    help="Who serves Services; all but podwire need --kubernetes.",
)


def _as_proxy_mode(_: click.Context, __: click.Parameter, value: str) -> ProxyMode:
    return ProxyMode(value)


proxy_mode_option = click.option(
    "--proxy-mode",
    type=click.Choice([each.value for each in ProxyMode]),
    default=ProxyMode.NFTABLES.value,
    envvar="PODWIRE_PROXY_MODE",
    show_default=True,
    show_envvar=True,
    callback=_as_proxy_mode,
    help="How podwire serves Services: ebpf answers them at connect(), auto where it can.",
)


def load(name: str) -> Lab:
    """The lab of that name; a sentence with what to do when there is none."""
    try:
        return Folders.of(name).load()
    except PermissionError as error:
        raise click.ClickException("a lab belongs to root: run this as root (sudo)") from error
    except (FileNotFoundError, msgspec.DecodeError) as error:
        others = ", ".join(cluster.labs())
        there = f"there are {others}" if others else f"`podwire lab up --name {name}` makes it"
        raise click.ClickException(f"there is no lab {name!r}: {there}") from error


def find(name: str, pod: str, namespace: str | None) -> tuple[Lab, LabPod]:
    """A lab and one of its pods, as people name it (lookup)."""
    with Lookout(load(name)) as lookout:
        lookout.look()
        return lookout.lab, find_pod(pod, lookout.snapshot.all(LabPod), namespace)


def some(paths: Sequence[Path]) -> Sequence[Path]:
    """The paths, of which there must be one."""
    if not paths:
        raise click.UsageError("name files or folders with manifests")
    return paths


def terminal(*, stderr: bool = False) -> Console:
    """Where tables go. NO_COLOR takes away bold and dim as well, which rich would keep."""
    plain = bool(os.environ.get("NO_COLOR"))
    system: Literal["auto"] | None = None if plain else "auto"
    return Console(stderr=stderr, emoji=False, highlight=False, color_system=system)


def show(overview: Any, *, as_json: bool) -> None:
    """An overview as tables, or as JSON."""
    if as_json:
        print_json(msgspec.to_builtins(overview))
    else:
        tables.show(overview, terminal())


def print_json(value: object) -> None:
    """A value as JSON for programs and people."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def tell_errors(errors: Sequence[ObjectError]) -> int:
    """Name what cannot be used on standard error; how many of them are mistakes."""
    for error in errors:
        ignored = applied.is_ignored(error)
        colour = None if os.environ.get("NO_COLOR") else "yellow" if ignored else "red"
        click.secho(str(error), fg=colour, err=True, color=None if colour else False)
    return sum(not applied.is_ignored(error) for error in errors)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line that says what is going on, on standard error and only on a terminal."""
    console = terminal(stderr=True)
    with console.status("…") as line:
        yield line.update


def tell_unheard(running: Lab, nodes: Iterable[LabNode]) -> None:
    """Name variables of our environment that the lab overrides."""
    for each in nodes:
        for name, value in daemons.unheard(running, each).items():
            click.echo(f"{each.name}: {name} is not heard, its lab has {value}", err=True)
