"""The `podwire proxy` command: Services alone, in kube-proxy's place and with its flags."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import os
import sys
from typing import Any

import click

from podwire_node.kube_proxy.asked import resolve_flags
from podwire_node.kube_proxy.flags import boolean_word, kube_proxy_options
from podwire_node.settings.config import ConfigError
from podwire_node.settings.listing import show
from podwire_node.settings.options import GroupedCommand

#: A boolean as Go has them: --flag, --flag=false.
_VALUE: dict[str, Any] = {"is_flag": False, "flag_value": "true", "metavar": "true|false"}


def _number(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """-v=2 is 2, as it is to Go."""
    return None if value is None else value.removeprefix("=")


def _asked(context: click.Context, option: click.Parameter, value: str | None) -> bool:
    """Whether a flag that does something was given."""
    word = (boolean_word(context, option, value) or "false").lower()
    if word not in {"true", "false"}:
        raise click.BadParameter(f"{value!r}: use true or false")
    return word == "true"


@click.command(cls=GroupedCommand)
@click.option("--config", metavar="FILE", help="A KubeProxyConfiguration (v1alpha1).")
@kube_proxy_options
@click.option("--iptables-localhost-nodeports", hidden=True, callback=boolean_word, **_VALUE)
@click.option("--healthz-port", hidden=True)
@click.option("--metrics-port", hidden=True)
@click.option("-v", "--v", "verbosity", callback=_number, metavar="N", help="4 and more: debug.")
@click.option(
    "--cleanup",
    callback=_asked,
    help="Remove our table and all that a kube-proxy left, and exit.",
    **_VALUE,
)
@click.option(
    "--init-only",
    callback=_asked,
    help="Set the kernel's parameters, which takes more than CAP_NET_ADMIN, and exit.",
    **_VALUE,
)
@click.option("--show-config", is_flag=True, help="Show the settings that this leads to, and exit.")
def proxy(*, cleanup: bool, init_only: bool, show_config: bool, **flags: object) -> None:
    """Serve Services in kube-proxy's place, with its flags and its configuration file.

    A DaemonSet of kube-proxy works with podwire's image and this command. What kube-proxy left
    in the kernel goes once our own rules are in force, and no connection breaks. Flags that
    have no meaning here are accepted and named in one warning. Without flags it serves /healthz
    at 0.0.0.0:10256 and /metrics at 127.0.0.1:10249; --show-config tells every default.

    With --config, the file counts, as it does to kube-proxy, which ignores most flags beside
    it: those that still count are --hostname-override, --master, --logging-format, -v,
    --cleanup, --init-only, --take-over and --status. PODWIRE_… variables are weaker than flags
    and stronger than the file.

    \b
    Examples:
      podwire proxy --config /var/lib/kube-proxy/config.conf --hostname-override $(NODE_NAME)
      podwire proxy --kubeconfig /etc/podwire/kubeconfig --cluster-cidr 10.244.0.0/16
      podwire proxy --config /var/lib/kube-proxy/config.conf --show-config
    """
    if cleanup:
        from podwire_node.cleanup.command import clean_up_proxy  # noqa: PLC0415 - only who asks

        sys.exit(clean_up_proxy())
    found = resolve_flags(flags, os.environ)
    if show_config:
        show(found)
        sys.exit(bool(found.mistakes))
    try:
        config = found.config()
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    from podwire_node import launch  # noqa: PLC0415 - --help needs no kernel

    launch.set_up_logs(config, found.warnings)
    if init_only:
        launch.initialize(config)
    else:
        launch.run(config)
