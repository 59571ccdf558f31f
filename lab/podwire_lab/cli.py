"""`podwire lab`: a Kubernetes cluster of network namespaces on this machine.

Every error says in one sentence what to do, and exits with 1; nothing here shows a traceback.
"""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from itertools import chain
from pathlib import Path

import click
import msgspec

from podwire_lab.cli_agents import agent, ask
from podwire_lab.cli_manifests import apply, delete, kubectl
from podwire_lab.console import (
    Commands,
    container_option,
    find,
    json_option,
    kubernetes_option,
    load,
    name_option,
    namespace_option,
    paths_argument,
    print_json,
    progress,
    proxy_mode_option,
    proxy_option,
    show,
    tell_errors,
    tell_unheard,
    terminal,
    valid_name,
    zones_option,
)
from podwire_lab.folders import Folders
from podwire_lab.follow import follow as follow_log
from podwire_lab.machine import cluster
from podwire_lab.overview import Lookout, look
from podwire_lab.topology import Proxy, ProxyMode, plan_lab
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


for _command in (apply, delete, kubectl, agent, ask):
    lab.add_command(_command)


# ----------------------------------------------------------------------------- up and down


@lab.command()
@click.option(
    "--nodes", default=2, show_default=True, type=click.IntRange(1, 200), help="How many nodes."
)
@click.option(
    "--timeout", default=120.0, show_default=True, help="Seconds to wait until all is ready."
)
@kubernetes_option
@proxy_option
@proxy_mode_option
@zones_option
@name_option
@json_option
@paths_argument
def up(  # noqa: PLR0913 - an argument an option, which is click's way
    name: str,
    nodes: int,
    timeout: float,
    proxy: Proxy,
    proxy_mode: ProxyMode,
    zones: tuple[str, ...],
    paths: tuple[Path, ...],
    *,
    kubernetes: bool,
    as_json: bool,
) -> None:
    """Make a lab, apply manifests, and wait until everything is ready.

    Ctrl-C takes it down again. When it does not get ready it is left for inspection. A
    manifest that cannot be used is named and left out; the exit code is 1 then.

    \b
    Examples:
      podwire lab up                             two nodes and the cluster's DNS
      podwire lab up --nodes 3 shop.yaml more/   with manifests of files and folders
      podwire lab up --name second               a lab beside the first
      podwire lab up --nodes 4 --zones a,b       two nodes in each zone
      podwire lab up --kubernetes examples/shop  with Kubernetes' own control plane
      podwire lab up --kubernetes --proxy kube-proxy examples/shop
      podwire lab up --proxy-mode ebpf examples/shop      Services answered at connect()
    """
    planned = plan_lab(
        name, nodes, kubernetes=kubernetes, proxy=proxy, proxy_mode=proxy_mode, zones=zones
    )
    tell_unheard(planned, planned.nodes)
    with progress() as say:
        try:
            raised = cluster.up(planned, paths, timeout=timeout, say=say)
        except KeyboardInterrupt:
            raise click.ClickException("interrupted: the lab is taken down again") from None
    mistakes = tell_errors(raised.errors)
    if kubernetes:
        phases = (f"{what} {seconds:.1f} s" for what, seconds in raised.seconds.items())
        click.echo(", ".join(phases), err=True)
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
    """Show nodes, pods, Services, policies, and what is wrong.

    The exit code is 0 however the lab is: ask --json for what programs want to know.

    \b
    Examples:
      podwire lab status
      podwire lab status --json | jq '.pods[] | select(.ready | not)'
      podwire lab status --json | jq '.pods[] | {name, isolated}'
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
@kubernetes_option
@proxy_mode_option
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def demo(name: str, nodes: int, folder: Path, proxy_mode: ProxyMode, *, kubernetes: bool) -> None:
    """Show a cluster from every side: Services, policies, one packet's journey.

    FOLDER holds the shop's manifests (examples/shop). Everything is taken down at the end.
    Exits 1 when the kernel and the oracle disagree anywhere.

    \b
    Examples:
      podwire lab demo examples/shop
      podwire lab demo --kubernetes examples/shop    on Kubernetes' own control plane
      podwire lab demo --proxy-mode ebpf examples/shop
    """
    from podwire_lab.show import demo as show  # noqa: PLC0415 - needed by this command alone

    planned = plan_lab(name, nodes, kubernetes=kubernetes, proxy_mode=proxy_mode)
    if not show.run(planned, folder, terminal()):
        sys.exit(1)


@lab.command()
@name_option
@json_option
def reach(name: str, *, as_json: bool) -> None:
    """Dial every pod from every pod, and compare with what the policies say.

    The judge of the policies (the oracle) shares no code with what the agents run. Exits 1
    when the kernel and the oracle disagree anywhere. A pod is reached also where nobody
    listens: its refusal came back; what a policy denies stays without any answer.

    \b
    Examples:
      podwire lab reach
      podwire lab reach --json | jq '.differences'
    """
    from podwire_lab.show import reachability  # noqa: PLC0415 - needed by this command alone
    from podwire_lab.show.reach_table import ReachTable  # noqa: PLC0415 - same

    with progress() as say, Lookout(load(name)) as lookout:
        lookout.look()
        say("dialling")
        answers = reachability.ask(lookout.lab, lookout.snapshot)
    if as_json:
        print_json(reachability.summary(answers))
    else:
        terminal().print(ReachTable.of(lookout.snapshot, answers))
        click.echo(reachability.totals(answers))
        told = (reachability.nobody_listens(answers), reachability.explain_differences(answers))
        for sentence in chain(*told):
            click.echo(sentence)
    if answers.differences:
        sys.exit(1)


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
