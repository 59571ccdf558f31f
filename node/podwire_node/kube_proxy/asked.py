"""What kube-proxy's flags, its file and the environment ask for, as our settings.

    flag  >  PODWIRE_… variable  >  kube-proxy's file  >  kube-proxy's default

With --config, flags that are about the same things as the file are ignored, as kube-proxy
ignores them, and named in a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from podwire_node.kube_proxy.configuration import Read, level, read_configuration, with_port
from podwire_node.kube_proxy.defaults import kube_proxy_defaults
from podwire_node.kube_proxy.flags import BESIDE_CONFIG, CALLED, flag_of, ignored_of
from podwire_node.settings.config import NOTHING, ConfigError, InForce, Mistake, settle
from podwire_node.settings.rows import SETTINGS
from podwire_node.settings.values import LOCALHOST, PRIMARY, Component

#: Flags that are no settings, and are about what the file says.
_OTHERS = ("healthz_port", "metrics_port", "iptables_localhost_nodeports")


def resolve_flags(flags: Mapping[str, object], environ: Mapping[str, str]) -> InForce:
    """What is in force. flags: by the options' names, None where not given."""
    path = flags.get("config")
    try:
        read = read_configuration(Path(str(path))) if path else Read(NOTHING)
    except ConfigError as error:
        return InForce({}, (Mistake("", str(error)),))
    given = {name: value for name, value in flags.items() if value is not None}
    warnings = [*read.warnings, *_unheard(given)]
    found = settle(_settings(given), environ, read.source, kube_proxy_defaults(), CALLED)
    return replace(found, warnings=(*warnings, *found.warnings))


def _settings(given: Mapping[str, object]) -> dict[str, object]:
    """Flags by AgentConfig's names, with kube-proxy's ways of saying things."""
    found: dict[str, object] = {"components": Component.PROXY.value}
    if "verbosity" in given:
        found["log_level"] = level(given["verbosity"])
    beside = given if "config" not in given else _beside(given)
    found |= {name: value for name, value in beside.items() if name not in _OTHERS}
    if "node" in found:
        found["node"] = str(found["node"]).strip().lower()
    for server, port in (("healthz", 10256), ("metrics", 10249)):
        name = f"{server}_bind_address"
        if str(beside.get(f"{server}_port", port)) == "0":
            found[name] = ""
        elif name in found:
            found[name] = with_port(found[name], port)
    if beside.get("iptables_localhost_nodeports") == "true":
        found["nodeport_addresses"] = f"{found.get('nodeport_addresses', PRIMARY)},{LOCALHOST}"
    return found


def _beside(given: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in given.items() if name in BESIDE_CONFIG}


def _unheard(given: Mapping[str, object]) -> Iterator[str]:
    """Flags that change nothing, a sentence for each reason."""
    if ignored := ignored_of(given):
        yield f"without meaning to podwire: {', '.join(ignored)}"
    settings = given.keys() & {*_OTHERS, *(row.words for row in SETTINGS)} - BESIDE_CONFIG
    if "config" in given and settings:
        named = ", ".join(sorted(map(flag_of, settings)))
        yield f"ignored beside --config, as kube-proxy ignores them: {named}: write them there"
