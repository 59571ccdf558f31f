"""The `podwire policy` commands."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from podwire_node.control.options import agent_address, agent_clients

if TYPE_CHECKING:
    from podwire_node.control.client import AgentClient
    from podwire_node.policy_audit.answer import Audit


_READ_HERE = (
    "policies here are NetworkPolicy of networking.k8s.io/v1 and ClusterNetworkPolicy of "
    "policy.networking.k8s.io/v1alpha2, which took the place of AdminNetworkPolicy and "
    "BaselineAdminNetworkPolicy"
)


class Failed(click.ClickException):
    """No answer; 1 would say that something would be denied."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        from podwire_node.control.printable import printable_lines  # noqa: PLC0415 - --help needs none of it

        super().__init__(printable_lines(message))  # it quotes FILE


@click.group()
def policy() -> None:
    """NetworkPolicies and ClusterNetworkPolicies.

    \b
    Example:
      podwire policy audit policies.yaml
    """


@policy.command()
@click.argument("file", required=False, metavar="[FILE]")
@click.option(
    "--delete", "deleted", multiple=True, metavar="NAME", help="As if this policy were gone."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@agent_address
def audit(
    *,
    file: str | None,
    deleted: tuple[str, ...],
    as_json: bool,
    sockets: Sequence[str],
    config: str | None,
) -> None:
    """Show what policies would deny and allow, before anyone applies them.

    FILE holds NetworkPolicies and ClusterNetworkPolicies as YAML or JSON; - reads them from
    standard input. They are tried on the connections that this node has seen: every one that
    was begun in the last hour, allowed or denied, and those that are open. Each is judged with the
    policies as they are, and with FILE applied; a policy of the same name is replaced. With
    --delete a policy is taken away: NAMESPACE/NAME, or NAME of a ClusterNetworkPolicy.

    Notes tell what is odd about FILE: fields that are misspelt and therefore ignored, a namespace
    or pods that are not there, what an API server would refuse.

    Nothing is applied. Ask on each node whose pods a policy selects: a node knows what it has
    seen. Pods are named as they are now, so an address that changed hands within the hour counts
    for the pod that has it. It asks the agent of this node, so it needs root.

    \b
    Ends with
      0  nothing that was allowed would be denied
      1  something would be
      2  FILE or the agent has an error

    \b
    Examples:
      podwire policy audit default-deny.yaml
      helm template shop | podwire policy audit -
      podwire policy audit --delete shop/api
      podwire policy audit tighter.yaml --json | jq '.deniedRows[]'
    """
    from podwire_node.control.errors import ControlError  # noqa: PLC0415 - --help needs none of it
    from podwire_node.policy_audit.answer import audit_of  # noqa: PLC0415 - same
    from podwire_node.policy_audit.proposal import ProposalError, proposal  # noqa: PLC0415 - same

    if file is None and not deleted:
        raise click.UsageError("name a FILE of policies, or what to --delete")
    try:
        documents, left_out = _read(file) if file else ([], "")
        source = "standard input" if file == "-" else str(file or "--delete")
        proposal(documents, deleted, source)  # mistakes are told without an agent
        fields = {"documents": documents, "deleted": deleted, "source": source}
        agents = agent_clients(sockets, config)
        audits = [audit_of(_asked(each, fields)) for each in agents]
    except (ProposalError, ControlError) as error:
        raise Failed(str(error)) from error
    except click.ClickException as error:
        raise Failed(error.format_message()) from error
    _show(audits, left_out, as_json=as_json)
    sys.exit(1 if any(each.newly_denied for each in audits) else 0)


def _asked(agent: AgentClient, fields: Mapping[str, object]) -> dict[str, object]:
    """The answer; a terminal shows that it is waited for, because a full table takes seconds."""
    from rich.console import Console  # noqa: PLC0415 - see audit

    with Console(stderr=True).status("judging the connections that the node has seen"):
        return agent.one("audit", fields)


def _read(file: str) -> tuple[list[Any], str]:
    """The policies of a file, and what else is in it, in words. Raises Failed."""
    from podwire_core.feed.documents import (  # noqa: PLC0415 - see audit
        MAX_FILE_BYTES,
        DocumentError,
        parse_documents,
    )
    from podwire_node.policy_audit.proposal import policies_among  # noqa: PLC0415 - same

    try:
        with click.open_file(file, "rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        documents = parse_documents(data, is_json=Path(file).suffix == ".json")
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from error
    except DocumentError as error:
        raise Failed(f"{file}: {error}") from error
    policies, others = policies_among(documents)
    words = ", ".join(f"{number} {kind}" for kind, number in sorted(others.items()))
    if "Namespace" in others:
        words += "; labels of its Namespaces are not looked at"
    if any("NetworkPolicy" in kind for kind in others):
        words += f" ({_READ_HERE})"
    if not policies:
        raise Failed(f"{file}: holds no policy" + (f", but {words}" if words else ""))
    return policies, words


def _show(audits: Sequence[Audit], left_out: str, *, as_json: bool) -> None:
    """An audit an agent, which tells its node; in JSON one object after the other."""
    if as_json:
        for found in audits:
            click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    from rich.console import Console  # noqa: PLC0415 - --json needs none of it
    from rich.text import Text  # noqa: PLC0415 - same

    from podwire_node.control.printable import printable_lines  # noqa: PLC0415 - same
    from podwire_node.policy_audit.shown import shown  # noqa: PLC0415 - same

    console = Console()
    if left_out:
        console.print(Text(printable_lines(f"left out: {left_out}"), "dim"))
    for found in audits:
        if len(audits) > 1:
            console.print(f"\n{found.node}", style="bold cyan")
        for each in shown(found):
            console.print(each)
