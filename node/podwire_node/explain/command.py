"""The `podwire explain` command."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from podwire_node.control.options import agent_address, agent_clients

if TYPE_CHECKING:
    from podwire_node.explain.answer import Explanation

#: By Verdict; --help tells them too.
_EXIT = {"allowed": 0, "denied": 1, "partly denied": 1, "the kernel differs": 3}


class Failed(click.ClickException):
    """No answer; 1 would say that it is denied."""

    exit_code = 2


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST[:PORT]")
@click.option("--protocol", metavar="tcp|udp|sctp", default="", help="Else those of DST's ports.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@agent_address
def explain(
    *,
    source: str,
    destination: str,
    protocol: str,
    as_json: bool,
    sockets: Sequence[str],
    config: str | None,
) -> None:
    """Say whether SRC may connect to DST, and which policies and rules decide it.

    SRC is a pod, NAMESPACE/NAME (a NAME alone is one of namespace default), or an address; the
    name of a Deployment stands for one of its pods. DST is a pod, a Service or an address; PORT is
    a number or a port's name, and without one every port that DST declares is judged. Of a Service
    its endpoints are judged, because policies see packets after they were sent to one.

    The answer comes twice. The policies' text is judged for both ends, wherever they run; beside
    it stands what this node's kernel does with the first packet of such a connection: its chains,
    and its own sets, element by element. An open connection is another matter: it goes on, or is
    cut, as existingConnections says. The kernel knows the policies of its own node's pods
    alone. It asks the agent of this node, so it needs root, and an agent that runs. Of several
    agents those answer whose node has one of the ends.

    \b
    Ends with
      0  allowed
      1  denied, or some of the connections are
      2  the question or the agent has an error
      3  the policies' text and the kernel differ

    \b
    Examples:
      podwire explain shop/frontend shop/api:80
      podwire explain shop/frontend-7d9c-x2x4k shop/api --json
      podwire explain 10.244.1.5 10.96.0.10:53 --protocol udp
      podwire explain fd00:10:244:1::4 '[fd00:10:244:2::5]:8080'
    """
    from podwire_node.control.errors import ControlError  # noqa: PLC0415 - --help needs none of it
    from podwire_node.explain.answer import explanation  # noqa: PLC0415 - same
    from podwire_node.explain.question import QuestionError, parse  # noqa: PLC0415 - same

    words = {"source": source, "destination": destination, "protocol": protocol}
    try:
        parse(source, destination, protocol)  # what cannot be understood needs no agent
        agents = agent_clients(sockets, config)
        every = [explanation(each.one("explain", words)) for each in agents]
    except (QuestionError, ControlError) as error:
        raise Failed(str(error)) from error
    except click.ClickException as error:
        raise Failed(error.format_message()) from error
    answers = [each for each in every if each.judges] or every[:1]
    if as_json:
        for found in answers:
            click.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        _show(answers, several=len(every) > 1)
    sys.exit(max(_EXIT[found.verdict] for found in answers))


def _show(answers: Sequence[Explanation], *, several: bool) -> None:
    """several: agents were asked, so that each answer begins with whose it is."""
    from rich.console import Console  # noqa: PLC0415 - --json needs none of it

    from podwire_node.explain.shown import shown  # noqa: PLC0415 - same

    console = Console()
    for found in answers:
        if several:
            console.print(f"{found.node} answers", style="bold cyan")
        for each in shown(found):
            console.print(each)
