"""The `podwire` command.

Commands of other packages join it through the entry point group `podwire.commands`, so
that node/ imports none of them.
"""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points

import click

from podwire_node.cleanup.command import cleanup
from podwire_node.cni.files.install_command import install
from podwire_node.doctor.command import doctor
from podwire_node.dump.command import dump
from podwire_node.explain.command import explain
from podwire_node.kube_proxy.command import proxy
from podwire_node.leases.command import leases
from podwire_node.observe.command import observe
from podwire_node.policy_audit.command import policy
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.config import ConfigError, resolve
from podwire_node.settings.listing import settings_json, show
from podwire_node.settings.options import GroupedCommand, agent_options


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
      podwire proxy --config /var/lib/kube-proxy/config.conf
      podwire config --config /etc/podwire/config.yaml
      podwire install --pod-cidrs 10.244.1.0/24 --wait 60
      podwire leases
      podwire observe --follow
      podwire explain shop/web-7d9c shop/api:80
      podwire policy audit default-deny.yaml
      podwire doctor
      podwire dump ebpf
      podwire cleanup --dry-run
    """


@main.command(cls=GroupedCommand)
@agent_options
@click.option("-v", "--verbose", is_flag=True, help="The same as --log-level debug.")
def agent(*, verbose: bool, **flags: object) -> None:
    """Run the node's agent: routes to other nodes, Services, NetworkPolicies.

    It needs root (CAP_NET_ADMIN) and works in the network namespace it is started in.
    SIGTERM ends it and leaves every rule and route in force; a restart takes over without
    breaking a connection. Each option is a setting, which the environment (PODWIRE_VXLAN_PORT)
    and a YAML file (vxlanPort) can give as well; `podwire config` shows what is in force.

    \b
    Examples:
      podwire agent --node node1 --feed /run/objects
      ip netns exec n1 podwire agent --node n1 --feed ./objects --status /run/n1.json -v

    \b
    In a cluster, with its API server's address, because a Service needs this agent:
      podwire agent --node $(hostname) --feed kubernetes --api-server https://192.0.2.1:6443
      podwire agent --config /etc/podwire/config.yaml --node $(hostname) --log-format json

    \b
    Beside another network, for Services alone; and one that does all for its pods:
      podwire agent --node n1 --feed kubernetes --components proxy
      podwire agent --node n1 --feed kubernetes --cni-conf-dir /etc/cni/net.d \\
        --cni-bin-dir /opt/cni/bin --cni-socket /run/podwire/cni.sock
    """
    config, warnings = _config(flags, verbose=verbose)
    from podwire_node import launch  # noqa: PLC0415 - --help needs no kernel, and no pyroute2 (80 ms)

    launch.set_up_logs(config, warnings)
    launch.run(config)


def _config(flags: Mapping[str, object], *, verbose: bool) -> tuple[AgentConfig, tuple[str, ...]]:
    """The settings in force, and warnings. Raises click's error, which names every mistake."""
    try:
        found = resolve(_with_verbose(flags, verbose=verbose), os.environ)
        return found.config(), found.warnings
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _with_verbose(flags: Mapping[str, object], *, verbose: bool) -> Mapping[str, object]:
    return {**flags, "log_level": flags["log_level"] or "debug"} if verbose else flags


@main.command("config", cls=GroupedCommand)
@agent_options
@click.option("-v", "--verbose", is_flag=True, help="The same as --log-level debug.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_config(*, verbose: bool, as_json: bool, **flags: object) -> None:
    """Show the agent's settings: what is in force, and where each value came from.

    Takes the options of `podwire agent`, and the same environment and file. Exits with 1 and
    names every mistake when an agent could not start so.

    \b
    Examples:
      podwire config --config /etc/podwire/config.yaml --node n1
      podwire config --node n1 --feed kubernetes --routing vxlan --json
    """
    found = resolve(_with_verbose(flags, verbose=verbose), os.environ)
    if as_json:
        click.echo(settings_json(found))
    else:
        show(found)
    if found.mistakes:
        sys.exit(1)


main.add_command(proxy)
main.add_command(cleanup)
main.add_command(install)
main.add_command(leases)
main.add_command(observe)
main.add_command(explain)
main.add_command(policy)
main.add_command(doctor)
main.add_command(dump)


if __name__ == "__main__":
    main()
