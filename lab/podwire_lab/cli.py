"""`podwire lab`: a Kubernetes cluster of network namespaces on this machine.

Every error says in one sentence what to do, and exits with 1; nothing here shows a traceback.
"""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import click
import msgspec

from podwire_core.objects import ObjectName
from podwire_lab import applied
from podwire_lab.console import (
    Commands,
    container_option,
    find,
    json_option,
    load,
    name_option,
    namespace_option,
    paths_argument,
    print_json,
    progress,
    show,
    some,
    tell_errors,
    terminal,
    valid_name,
)
from podwire_lab.folders import Folders
from podwire_lab.follow import follow as follow_log
from podwire_lab.machine import cluster, daemons
from podwire_lab.overview import Lookout, look
from podwire_lab.topology import plan_lab
from podwire_lab.visit import visit


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """A Kubernetes cluster of network namespaces on this machine.

    Nodes and pods are network namespaces; the agents, the CNI plugin and the rules are
    those of a real cluster. Containers run programs of this machine, as root: apply only
    manifests that you would run yourself.

    \b
    Examples:
      podwire lab up examples/shop
      podwire lab exec deploy/web -- wget -qO- http://api
      podwire lab down
    """


# ----------------------------------------------------------------------------- up and down


@lab.command()
@click.option(
    "--nodes", default=2, show_default=True, type=click.IntRange(1, 200), help="How many nodes."
)
@click.option(
    "--timeout", default=120.0, show_default=True, help="Seconds to wait until all is ready."
)
@name_option
@json_option
@paths_argument
def up(name: str, nodes: int, timeout: float, paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Make a lab, apply manifests, and wait until everything is ready.

    Ctrl-C takes it down again. When it does not get ready it is left for inspection. A
    manifest that cannot be used is named and left out; the exit code is 1 then.

    \b
    Examples:
      podwire lab up                             two nodes and the cluster's DNS
      podwire lab up --nodes 3 shop.yaml more/   with manifests of files and folders
      podwire lab up --name second               a lab beside the first
    """
    with progress() as say:
        try:
            raised = cluster.up(plan_lab(name, nodes), paths, timeout=timeout, say=say)
        except KeyboardInterrupt:
            raise click.ClickException("interrupted: the lab is taken down again") from None
    mistakes = tell_errors(raised.errors)
    show(raised.overview, as_json=as_json)
    if mistakes:
        sys.exit(1)


@lab.command()
@click.option("--all", "every", is_flag=True, help="All labs of this machine.")
@name_option
@json_option
def down(name: str, *, every: bool, as_json: bool) -> None:
    """Take a lab away: processes, namespaces, files. Twice is fine.

    It works whatever state the lab is in, and touches nothing that is not the lab's.

    \b
    Examples:
      podwire lab down
      podwire lab down --all
    """
    removed = {}
    with progress() as say:
        for each in cluster.labs() if every else (name,):
            removed[each] = cluster.down(each, say)
    if as_json:
        print_json({each: msgspec.to_builtins(what) for each, what in removed.items()})
        return
    for each, what in removed.items():
        text = f"{len(what.namespaces)} namespaces, {what.processes} processes, its files"
        click.echo(f"lab {each}: removed {text}" if what else f"lab {each}: nothing was there")


@lab.command()
@name_option
@json_option
def status(name: str, *, as_json: bool) -> None:
    """Show nodes, pods, Services, and what is wrong.

    \b
    Examples:
      podwire lab status
      podwire lab status --json | jq '.pods[] | select(.ready | not)'
    """
    show(look(load(name)), as_json=as_json)


@lab.command()
@name_option
def draw(name: str) -> None:
    """Draw the lab: nodes, links, pods.

    \b
    Example:
      podwire lab draw
    """
    from podwire_lab.show.draw import draw_topology  # noqa: PLC0415 - needed by this command alone

    with Lookout(load(name)) as lookout:
        lookout.look()
        console = terminal()
        console.print(draw_topology(lookout.lab, lookout.snapshot, console.width))


@lab.command()
@click.option(
    "--nodes", default=2, show_default=True, type=click.IntRange(1, 10), help="How many nodes."
)
@click.option("--name", default="demo", show_default=True, callback=valid_name, help="Which lab.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def demo(name: str, nodes: int, folder: Path) -> None:
    """Show a cluster from every side: Services, policies, one packet's journey.

    FOLDER holds the shop's manifests (examples/shop). Everything is taken down at the end.
    Exits 1 when the kernel and the oracle disagree anywhere.

    \b
    Example:
      podwire lab demo examples/shop
    """
    from podwire_lab.show import demo as show  # noqa: PLC0415 - needed by this command alone

    if not show.run(name, nodes, folder, terminal()):
        sys.exit(1)


# -------------------------------------------------------------------------------- manifests


@lab.command()
@click.option("--wait", is_flag=True, help="Wait until everything is ready.")
@name_option
@paths_argument
def apply(name: str, paths: tuple[Path, ...], *, wait: bool) -> None:
    """Put manifests into the lab: files, folders, or - for standard input.

    A manifest that cannot be used is named with its field; the others go on.

    \b
    Examples:
      podwire lab apply shop.yaml
      podwire lab apply --wait examples/shop
      kubectl create deployment web --image=nginx --dry-run=client -o yaml | podwire lab apply -
    """
    running = load(name)
    read = applied.read(some(paths))
    if not read.manifests and not read.errors:
        where = ", ".join("standard input" if str(path) == "-" else str(path) for path in paths)
        raise click.ClickException(f"nothing to apply: there are no documents in {where}")
    for each in applied.apply(Folders.of(name), read.manifests):
        click.echo(f"applied {each}")
    mistakes = tell_errors(read.errors)
    if wait:
        with progress() as say:
            cluster.wait_until_ready(running, say=say)
    if mistakes:
        sys.exit(1)


@lab.command()
@namespace_option
@name_option
@click.argument("what", nargs=-1, required=True, metavar="PATH…|KIND/NAME…")
def delete(name: str, namespace: str | None, what: tuple[str, ...]) -> None:
    """Take manifests out of the lab, by their files or by KIND/NAME.

    A namespace takes everything with it that was applied in it.

    \b
    Examples:
      podwire lab delete shop.yaml
      podwire lab delete deploy/web svc/web -n shop
    """
    load(name)
    folders = Folders.of(name)
    for each in what:
        word, slash, tail = each.partition("/")
        kind = applied.kind_called(word) if slash and not Path(each).exists() else None
        gone: tuple[str, ...]
        if kind is not None:
            gone = applied.delete_named(folders, kind, ObjectName(namespace or "default", tail))
        else:
            read = applied.read([Path(each)])
            tell_errors(read.errors)
            gone = applied.delete(folders, read.manifests)
        for gone_name in gone:
            click.echo(f"deleted {gone_name}")
        if not gone:
            raise click.ClickException(f"nothing of {each} was applied here")


# ------------------------------------------------------------------------------------- pods


@lab.command(name="exec", context_settings={"ignore_unknown_options": True})
@namespace_option
@container_option
@name_option
@click.argument("pod")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(
    name: str, pod: str, command: tuple[str, ...], namespace: str | None, container: str | None
) -> None:
    """Run a command inside a pod; its exit code is passed on.

    POD is a name, NAMESPACE/NAME, deploy/NAME, or the beginning of a name.

    \b
    Examples:
      podwire lab exec deploy/web -- ip route
      podwire lab exec -n shop web-0 -- sh
    """
    running, found = find(name, pod, namespace)
    way = visit(running, found, container)
    sys.stdout.flush()
    argv = [*way.enter, *command]
    os.execvpe(argv[0], argv, way.environment)  # noqa: S606 - a list, no shell


@lab.command()
@namespace_option
@container_option
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written.")
@name_option
@click.argument("pod")
def logs(
    name: str, pod: str, namespace: str | None, container: str | None, *, follow: bool
) -> None:
    """Print what a pod's container wrote.

    With -f it ends when the pod is gone.

    \b
    Examples:
      podwire lab logs deploy/web
      podwire lab logs -f -n kube-system deploy/kube-dns
    """
    running, found = find(name, pod, namespace)
    names = [each.name for each in found.spec.containers or ()]
    names += [each.name for each in found.spec.init_containers or ()]
    wanted = container or names[0]
    if wanted not in names:
        known = ", ".join(names)
        raise click.ClickException(f"pod {found.name} has no container {wanted!r}: it has {known}")
    log = Folders.of(name).pod(*found.name) / f"{wanted}.log"
    if follow:
        with suppress(KeyboardInterrupt):
            follow_log(running, found, log)
        return
    if not log.exists():
        raise click.ClickException(f"pod {found.name} has written nothing: it has not started")
    with log.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)


# ------------------------------------------------------------------------------------ agents


@lab.command()
@click.argument("action", type=click.Choice(["restart", "stop", "start"]))
@name_option
@click.argument("node")
def agent(name: str, action: str, node: str) -> None:
    """Restart, stop or start a node's agent; its rules stay in force meanwhile.

    \b
    Examples:
      podwire lab agent restart node1
      podwire lab agent stop node2
    """
    running = load(name)
    try:
        where = running.node(node)
    except KeyError:
        known = ", ".join(each.name for each in running.nodes)
        raise click.ClickException(f"lab {name!r} has no node {node!r}: it has {known}") from None
    if action == "start" and (pid := daemons.agent_pid(running, where)):
        raise click.ClickException(f"the agent of {node} runs already (process {pid})")
    if action == "stop":
        stopped = daemons.stop_agent(running, where)
        click.echo(f"agent of {node} {'stopped' if stopped else 'was not running'}")
    else:
        pid = cluster.restart_agent(running, node)
        click.echo(f"agent of {node} started (process {pid})")
