"""The `podwire observe` command."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from podwire_node.control.errors import ControlError
from podwire_node.control.options import agent_address, agent_clients
from podwire_node.observe.choice import TYPES, VERDICTS, choose, with_namespace
from podwire_node.observe.several import told

if TYPE_CHECKING:
    from podwire_node.control.client import AgentClient

_PROTOCOLS = ("tcp", "udp", "sctp", "icmp")
_TEXTS = ("types", "verdicts", "pods", "services")
_LAST = 20
_MOST = 4096  # ring.SIZE, which --help need not load
_INTERRUPTED = 130
_WIDE = 10_000  # columns of what is no terminal


@click.command()
@click.option(
    "--type",
    "-t",
    "types",
    multiple=True,
    type=click.Choice(TYPES, case_sensitive=False),
    metavar="TYPE",
    help="drop: by policies; trace-sock: Services at sockets, with proxyMode ebpf.  [drop; with "
    "--verdict, every type that has it; with --service, trace-sock]",
)
@click.option(
    "--verdict",
    "verdicts",
    multiple=True,
    type=click.Choice(VERDICTS, case_sensitive=False),
    metavar="VERDICT",
    help="dropped: by policies, or refused at sockets; translated: at sockets.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@click.option(
    "--last",
    type=click.IntRange(0, _MOST),
    metavar="NUMBER",
    help=f"So many of the past.  [{_LAST}; 0 with --follow]",
)
@click.option(
    "--pod", "pods", multiple=True, metavar="[NS/]NAME", help="From or to pods named like this."
)
@click.option(
    "--service", "services", multiple=True, metavar="[NS/]NAME", help="To Services named like this."
)
@click.option(
    "--namespace", "-n", "namespaces", multiple=True, metavar="NS", help="From or to its pods."
)
@click.option("--port", "ports", multiple=True, type=click.IntRange(1, 65535), metavar="PORT")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice(_PROTOCOLS, case_sensitive=False),
    metavar="PROTOCOL",
    help="tcp, udp, sctp or icmp.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, as Hubble's flows.")
@agent_address
def observe(
    *,
    follow: bool,
    last: int | None,
    as_json: bool,
    sockets: Sequence[str],
    config: str | None,
    **lists: Sequence[object],
) -> None:
    """Show packets that policies dropped on this node, and why; or how Services were answered.

    A record names both pods, the policies that isolate the one that is protected, or the rule
    that denies, and the rule that came closest to allowing it. It asks the node's agent, which
    keeps the last 4,096. Each group of pods with the same policies logs at most 10 packets a
    second; counters in the nftables table podwire-policy have them all. It needs root.

    With --type trace-sock it shows what the socket programs did (proxyMode ebpf): who dialled which
    Service, and the endpoint it was sent to; a call that was refused, because a Service has no
    endpoint, is DROPPED. Programs tell of it only while somebody follows, so use --follow.

    A node knows what it dropped: what its pods may not send, and what they may not receive. With
    --socket for each of several agents, their drops come as one, by time.

    Filters that are given twice mean one or the other; of different ones all have to fit. NAME
    may be the beginning of a pod's or Service's name; without NS it is one of namespace default.

    \b
    Ends with
      0  it was answered, also when there are no drops
      1  there is no agent, or it has an error
      2  the options have an error

    \b
    Examples:
      podwire observe
      podwire observe --verdict dropped --follow
      podwire observe --type trace-sock --follow --service shop/api
      podwire observe --pod shop/db --port 5432 --last 100
      podwire observe -f -n shop --protocol tcp --json | jq -r .reason
    """
    texts = {field: list(map(str, lists[field])) for field in _TEXTS}
    choice = choose(texts["types"], texts["verdicts"], texts["services"])
    fields = {
        **lists,
        "types": choice.types,
        "whichever": choice.whichever,
        "verdicts": [each.upper() for each in texts["verdicts"]],
        "follow": follow,
        "last": (0 if follow else _LAST) if last is None else last,
        "pods": [with_namespace(each) for each in texts["pods"]],
        "services": [with_namespace(each) for each in texts["services"]],
    }
    agents = agent_clients(sockets, config)
    try:
        shown = _show(agents, fields, as_json=as_json)
    except ControlError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    if not shown and not as_json:
        names = {"--pod": texts["pods"], "--service": texts["services"]}
        click.echo(choice.nothing(len(agents), names), err=True)


def _show(agents: Sequence[AgentClient], fields: Mapping[str, object], *, as_json: bool) -> int:
    """Print what comes; how many that were."""
    show = _print_json if as_json else _printer(with_node=len(agents) > 1)
    return sum(map(show, told(agents, fields)))


def _print_json(answer: Mapping[str, object]) -> int:
    import msgspec  # noqa: PLC0415 - --help needs none of it

    click.echo(msgspec.json.encode(answer))
    return 1


def _printer(*, with_node: bool) -> Callable[[Mapping[str, object]], int]:
    """Prints for people: a line a sentence, which only a terminal folds."""
    from rich.console import Console  # noqa: PLC0415 - same
    from rich.padding import Padding  # noqa: PLC0415 - same

    from podwire_core import typed  # noqa: PLC0415 - same
    from podwire_node.observe.record import Record  # noqa: PLC0415 - same
    from podwire_node.observe.shown import INDENT, lines, missed  # noqa: PLC0415 - same

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDE)
    previous: Record | None = None

    def show(answer: Mapping[str, object]) -> int:
        nonlocal previous
        lost = answer.get("lost_events")
        if isinstance(lost, dict):
            rows = [missed(int(lost.get("num_events_lost", 0)))]
        else:
            record = typed.convert(answer, Record)
            head, *rows = lines(record, previous, with_node=with_node)
            console.print(head, soft_wrap=True)
            previous = record
        for row in rows:
            console.print(Padding(row, (0, 0, 0, INDENT), expand=False))
        return 1

    return show
