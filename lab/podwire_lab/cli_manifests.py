"""`podwire lab apply`, `delete` and `kubectl`: what people ask of a lab's control plane."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from podwire_core.objects import ObjectName
from podwire_lab import applied, changes
from podwire_lab.console import (
    load,
    name_option,
    paths_argument,
    progress,
    some,
    tell_errors,
)
from podwire_lab.kubernetes.kubectl import command
from podwire_lab.machine.readiness import wait_until_ready

#: kubectl's way of naming files; here they may stand alone as well.
_file_option = click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The same as PATH, as kubectl has it.",
)


@click.command()
@_file_option
@click.option("--wait", is_flag=True, help="Wait until everything is ready.")
@name_option
@paths_argument
def apply(name: str, paths: tuple[Path, ...], files: tuple[Path, ...], *, wait: bool) -> None:
    """Put manifests into the lab: files, folders, or - for standard input.

    A manifest that cannot be used is named with its field; the others go on.

    \b
    Examples:
      podwire lab apply shop.yaml
      podwire lab apply --wait examples/shop
      kubectl create deployment web --image=nginx --dry-run=client -o yaml | podwire lab apply -
    """
    running = load(name)
    paths = (*files, *paths)
    done = changes.apply(running, some(paths))
    if not done.documents:
        where = ", ".join("standard input" if str(path) == "-" else str(path) for path in paths)
        raise click.ClickException(f"nothing to apply: there are no documents in {where}")
    for each in done.names:
        click.echo(f"applied {each}")
    mistakes = tell_errors(done.errors)
    if wait:
        with progress() as say:
            wait_until_ready(running, versions=done.versions, say=say)
    if mistakes:
        sys.exit(1)


@click.command()
@click.option(
    "-n", "--namespace", default="default", show_default=True, help="Namespace of KIND/NAME."
)
@_file_option
@name_option
@click.argument("what", nargs=-1, metavar="PATH…|KIND/NAME…")
def delete(name: str, namespace: str, files: tuple[Path, ...], what: tuple[str, ...]) -> None:
    """Take manifests out of the lab, by their files or by KIND/NAME.

    A namespace takes everything with it that was applied in it.

    \b
    Examples:
      podwire lab delete shop.yaml
      podwire lab delete deploy/web svc/web -n shop
    """
    if not files and not what:
        raise click.UsageError("name files, folders or KIND/NAME")
    running = load(name)
    for file in files:
        _tell_deleted(str(file), changes.delete(running, [file]))
    for each in what:
        word, slash, tail = each.partition("/")
        kind = applied.kind_called(word) if slash and not Path(each).exists() else None
        if kind is not None:
            done = changes.delete_named(running, kind, ObjectName(namespace, tail))
        else:
            done = changes.delete(running, [Path(each)])
        _tell_deleted(each, done)


def _tell_deleted(what: str, done: changes.Done) -> None:
    """Name what is gone; end here where there was nothing."""
    mistakes = tell_errors(done.errors)
    for gone in done.names:
        click.echo(f"deleted {gone}")
    if not done.names and mistakes:
        sys.exit(1)
    if not done.names:
        raise click.ClickException(f"nothing of {what} was applied here")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="ARGUMENT…")
def kubectl(name: str, arguments: tuple[str, ...]) -> None:
    """Run Kubernetes' own kubectl against a lab that is up with --kubernetes.

    Everything but --name, which stands first, goes to kubectl; so do standard input, the
    terminal and the exit code. It is the cluster's administrator.

    \b
    Examples:
      podwire lab kubectl get pods,services,endpointslices -A
      podwire lab kubectl --name second -n shop scale deployment api --replicas 5
      podwire lab kubectl apply -f examples/shop
    """
    running = load(name)
    if not running.kubernetes:
        raise click.ClickException(
            f"lab {name!r} has podwire's own small control plane, which kubectl cannot ask:"
            f" `podwire lab up --kubernetes` makes one that it can; here use `podwire lab status`"
        )
    argv, environment = command(running, arguments)
    sys.stdout.flush()
    os.execvpe(argv[0], argv, environment)  # noqa: S606 - a list, no shell
