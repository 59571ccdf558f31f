"""`podwire lab agent` and `ask`: what people want of a lab's agents."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from podwire_lab.console import load, name_option, tell_unheard
from podwire_lab.machine import cluster, daemons, namespaces
from podwire_lab.topology import Lab, LabNode

#: Commands of `podwire` that ask agents; some look at a node whose agent does not run, too.
_QUESTIONS = ("explain", "observe", "policy", "dump", "doctor")
_WITHOUT_AGENT = ("dump", "doctor")
_NO_ANSWER = 2  # of `ask`; 1 would say that something is denied


@click.command()
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
    where = _node(running, node)
    if action == "start" and (pid := daemons.agent_pid(running, where)):
        raise click.ClickException(f"the agent of {node} runs already (process {pid})")
    if action == "stop":
        stopped = daemons.stop_agent(running, where)
        click.echo(f"agent of {node} {'stopped' if stopped else 'was not running'}")
    else:
        tell_unheard(running, [where])
        pid = cluster.restart_agent(running, node)
        click.echo(f"agent of {node} started (process {pid})")


@click.command(context_settings={"ignore_unknown_options": True})
@name_option
@click.argument("nodes", metavar="NODE[,NODE…]|all")
@click.argument("question", nargs=-1, required=True, type=click.UNPROCESSED)
def ask(name: str, nodes: str, question: tuple[str, ...]) -> None:
    """Ask a node's agent, or several: explain, observe, policy audit, dump; or for one, doctor.

    These are commands of `podwire`, sent to the agents of these nodes; the exit code is passed on.
    A node knows what it dropped itself: `all` has every drop of the lab, by time. Of `explain` all
    those answer that have one of the ends, of `policy audit` all. `doctor` looks at one node, from
    inside it.

    \b
    Examples:
      podwire lab ask all observe --follow
      podwire lab ask all explain shop/frontend shop/api:80
      podwire lab ask node1,node2 policy audit deny.yaml
      podwire lab ask node1 dump ebpf frontends
      podwire lab ask node1 doctor
    """
    if question[0] not in _QUESTIONS:
        known = ", ".join(_QUESTIONS)
        raise click.UsageError(f"{question[0]!r} is nothing that agents are asked: ask {known}")
    running = load(name)
    meant = running.nodes if nodes == "all" else [_node(running, n) for n in nodes.split(",")]
    argv = [*_inside(meant, question[0]), *daemons.podwire_argv(), *question]
    settings = _looked_at_alone(running, meant, question[0])
    if not settings:
        for each in _with_agents(running, meant):
            argv += ["--socket", str(daemons.agent_socket(running, each))]
    sys.stdout.flush()
    os.execvpe(argv[0], argv, {**os.environ, **settings})  # noqa: S606 - a list, no shell


def _inside(nodes: Sequence[LabNode], question: str) -> tuple[str, ...]:
    """A command that goes on in the one node's network namespace, where that matters."""
    if question != "doctor":
        return ()
    if len(nodes) != 1:
        raise click.UsageError("doctor looks at one node: name it")
    return ("nsenter", f"--net={namespaces.path(nodes[0].netns)}", "--")


def _looked_at_alone(running: Lab, nodes: Sequence[LabNode], question: str) -> dict[str, str]:
    """The settings of a node whose agent does not run, for what looks at the node without it."""
    if question not in _WITHOUT_AGENT or len(nodes) != 1:
        return {}
    if nodes[0] not in daemons.without_agent(running):
        return {}
    socket = str(daemons.agent_socket(running, nodes[0]))
    return {**daemons.own_settings(running, nodes[0]), "PODWIRE_CONTROL_SOCKET": socket}


def _with_agents(running: Lab, nodes: Sequence[LabNode]) -> list[LabNode]:
    """Those whose agent runs; the others are told of."""
    gone = daemons.without_agent(running)
    asleep = [each.name for each in nodes if each in gone]
    for each in asleep:
        start = f"`podwire lab agent start {each} --name {running.name}`"
        click.echo(f"the agent of {each} does not run, and is not asked: {start}", err=True)
    if len(asleep) == len(nodes):
        sys.exit(_NO_ANSWER)
    return [each for each in nodes if each not in gone]


def _node(running: Lab, name: str) -> LabNode:
    try:
        return running.node(name)
    except KeyError:
        known = ", ".join(each.name for each in running.nodes)
        sentence = f"lab {running.name!r} has no node {name!r}: it has {known}"
        raise click.ClickException(sentence) from None
