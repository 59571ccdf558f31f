"""kube-proxy's flags, as `podwire proxy` has them: those of Kubernetes 1.36.

    the same as a setting of ours    --cluster-cidr, --conntrack-…   rows of SETTINGS
    by another name                  --hostname-override, --master   _RENAMED
    without meaning here             --ipvs-scheduler, --profiling   _IGNORED, one warning

A flag that kube-proxy does not know is an error, as it is to kube-proxy. Booleans may stand
alone or carry a value (--masquerade-all=false), as in Go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from podwire_node.settings.proxy_rows import PROXY_ROWS
from podwire_node.settings.rows import SETTINGS
from podwire_node.settings.setting import Setting

Command = TypeVar("Command", bound=Callable[..., Any])

#: kube-proxy's → ours.
_RENAMED = {
    "--hostname-override": ("node", "NAME", "Our Node's name; else the host's, in small letters."),
    "--master": ("api_server", "URL", "The API server's address, in place of the kubeconfig's."),
    "--logging-format": ("log_format", "text|json", "How to log."),
}
#: Settings that kube-proxy has no flag for.
_OURS = ("status",)
#: What counts beside --config, by AgentConfig's names: the rest is the file's to say.
BESIDE_CONFIG = frozenset({"node", "api_server", "log_format", "take_over", "status"})

_IGNORED_BOOLEANS = """
    --bind-address-hard-fail --ipvs-strict-arp --log-json-split-stream --log-text-split-stream
    --profiling
"""
_IGNORED = """
    --bind-address --boot-id-file --config-sync-period --feature-gates --iptables-masquerade-bit
    --iptables-min-sync-period --iptables-sync-period --ipvs-exclude-cidrs --ipvs-min-sync-period
    --ipvs-scheduler --ipvs-sync-period --ipvs-tcp-timeout --ipvs-tcpfin-timeout
    --ipvs-udp-timeout --kube-api-burst --kube-api-content-type --kube-api-qps
    --log-flush-frequency --log-json-info-buffer-size --log-text-info-buffer-size
    --machine-id-file --show-hidden-metrics-for-version --vmodule
"""
IGNORED = tuple(sorted((*_IGNORED_BOOLEANS.split(), *_IGNORED.split())))


#: Our settings' flags by AgentConfig's names, where kube-proxy has other words for them.
CALLED = {
    "components": "podwire proxy",
    "log_level": "-v",
    **{words: flag for flag, (words, _, _) in _RENAMED.items()},
}


def flag_of(name: str) -> str:
    """cluster_cidr → --cluster-cidr, node → --hostname-override."""
    return CALLED.get(name, f"--{name.replace('_', '-')}")


def kube_proxy_options(command: Command) -> Command:
    """Give a command kube-proxy's flags: settings by AgentConfig's names, None if not given."""
    rows = [row for row in SETTINGS if row.key in ("kubeconfig", *_OURS) or row in PROXY_ROWS]
    for flag in reversed(IGNORED):
        command = _ignored(flag)(command)
    for row in reversed(rows):
        command = _setting(row)(command)
    for flag, (words, metavar, purpose) in reversed(_RENAMED.items()):
        command = click.option(flag, words, metavar=metavar, help=purpose)(command)
    return command


def ignored_of(flags: Mapping[str, object]) -> list[str]:
    """Flags without meaning that were given."""
    return [flag for flag in IGNORED if flags.get(_words(flag)) is not None]


def _words(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _ignored(flag: str) -> Callable[[Command], Command]:
    more: dict[str, Any] = {"hidden": True}
    if flag in _IGNORED_BOOLEANS.split():
        more |= {"is_flag": False, "flag_value": "true"}
    return click.option(flag, _words(flag), default=None, **more)


def _setting(row: Setting) -> Callable[[Command], Command]:
    """A row as kube-proxy's flag: booleans with or without a value, lists more than once."""
    more: dict[str, Any] = {"metavar": row.metavar}
    if isinstance(row.default, bool):
        more = {"is_flag": False, "flag_value": "true", "metavar": "true|false"}
        more["callback"] = boolean_word
    elif isinstance(row.default, tuple):
        more |= {"multiple": True, "callback": _joined}
    return click.option(row.flag, row.words, default=None, help=row.purpose, **more)


def boolean_word(_context: click.Context, _option: click.Parameter, value: Any) -> str | None:
    """Go's other words for true and false. Source: pkg.go.dev/strconv#ParseBool."""
    words = {"1": "true", "t": "true", "0": "false", "f": "false"}
    return None if value is None else words.get(str(value).lower(), str(value))


def _joined(_context: click.Context, _option: click.Parameter, value: Any) -> str | None:
    return ",".join(value) or None
