"""The `podwire` command.

Commands of other packages join it through the entry point group `podwire.commands`, so
that node/ imports none of them.
"""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import logging
import re
import sys
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

import click

from podwire_core.errors import FeedError, NftError
from podwire_core.feed.directory import DirectoryFeed
from podwire_core.feed.interface import Feed


class _Commands(click.Group):
    """Own commands, and those that entry points name; each is imported only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        joined = [point.name for point in entry_points(group="podwire.commands")]
        return sorted({*super().list_commands(ctx), *joined})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for point in entry_points(group="podwire.commands", name=cmd_name):
            command = point.load()
            if isinstance(command, click.Command):
                return command
        return None


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="podwire")
def main() -> None:
    """podwire: a Kubernetes networking dataplane small enough to read in an evening.

    \b
    Examples:
      podwire lab up examples/shop       a two-node cluster on this machine
      podwire agent --node n1 --feed /etc/podwire/objects
    """


def _open(feed: str, kubeconfig: Path | None, api_server: str | None) -> Feed:
    """The feed that --feed names. Raises FeedError."""
    if feed != "kubernetes":
        return DirectoryFeed(Path(feed))
    from podwire_core.feed.api_server import ApiServer  # noqa: PLC0415 - 40 MB
    from podwire_core.feed.cluster import ClusterFeed  # noqa: PLC0415 - same

    return ClusterFeed(ApiServer.connect(kubeconfig, api_server))


def _node_name(_context: click.Context, _option: click.Parameter, name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", name):
        raise click.BadParameter(f"{name!r} is no node name: use a-z, 0-9, - and .")
    return name


@main.command()
@click.option(
    "--node",
    required=True,
    envvar="NODE_NAME",
    callback=_node_name,
    help="Our node's name, as its Node object has it.",
)
@click.option(
    "--feed",
    required=True,
    metavar="DIR|kubernetes",
    help="Where objects come from: a folder of manifests, watched; or a cluster's API server.",
)
@click.option(
    "--status",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the agent's status to this file as JSON, whenever it changes.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="For --feed kubernetes; else KUBECONFIG, ~/.kube/config, or the pod's account.",
)
@click.option(
    "--api-server",
    metavar="URL",
    help="For --feed kubernetes: the server's address, which may not be a Service's.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log every transaction and route.")
def agent(
    node: str,
    feed: str,
    status: Path | None,
    kubeconfig: Path | None,
    api_server: str | None,
    *,
    verbose: bool,
) -> None:
    """Run the node's agent: routes to other nodes, Services, NetworkPolicies.

    It needs root (CAP_NET_ADMIN) and works in the network namespace it is started in.
    SIGTERM ends it and leaves every rule and route in force; a restart takes over without
    breaking a connection.

    \b
    Examples:
      podwire agent --node node1 --feed /run/objects
      podwire agent --node $(hostname) --feed kubernetes --kubeconfig ~/.kube/config
      ip netns exec n1 podwire agent --node n1 --feed ./objects --status /run/n1.json -v
    """
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)-7s %(message)s", stream=sys.stderr
    )
    logging.getLogger("podwire_node").setLevel(logging.INFO)
    from podwire_core.nft.kernel import Kernel  # noqa: PLC0415 - --help needs no kernel
    from podwire_node.agent import Agent  # noqa: PLC0415 - same; pyroute2 takes 80 ms to import

    try:
        with closing(_open(feed, kubeconfig, api_server)) as source:
            Agent(node, source, Kernel(), status).run()
    except (FeedError, NftError) as error:
        raise click.ClickException(str(error)) from error
    except PermissionError as error:
        raise click.ClickException(f"{error.strerror}: run as root (CAP_NET_ADMIN)") from error


if __name__ == "__main__":
    main()
