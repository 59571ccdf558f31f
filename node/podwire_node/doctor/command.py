"""The `podwire doctor` command."""

# ruff: noqa: D301 - click wants a real backspace before lines that it shall not wrap
from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podwire_node.control.client import AgentClient
from podwire_node.control.options import one_agent_address
from podwire_node.settings.config import FILE_VARIABLE, InForce, resolve

if TYPE_CHECKING:
    from podwire_node.doctor.finding import Patient

#: What of an agent's settings says where to look.
_KEYS = ("components", "proxyMode", "ebpfCgroup", "ebpfFolder", "controlSocket")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@one_agent_address
def doctor(*, as_json: bool, sockets: Sequence[str], config: str | None) -> None:
    """Look at what this node needs, and say what to do about what is missing.

    The kernel and what it is told to do, connection tracking, the agent's settings and its own
    word, our nftables tables; with proxyMode ebpf or auto also bpffs, the cgroup, the compiler,
    and whether programs are reached: by asking the kernel for those in effect, and by calls to
    addresses that lead nowhere (192.0.0.8 and 100::8), which programs refuse, so that no packet
    leaves. What is missing for these is a failure with ebpf, and a warning with auto.

    It changes nothing, and works while no agent runs; then what is asked for comes from the
    agent's settings alone (--config, environment). Run it as root, in the node's network namespace.

    \b
    Ends with
      0  nothing failed
      1  a check failed
      2  the options, or the settings that say where to look, have an error

    \b
    Examples:
      podwire doctor
      podwire doctor --config /etc/podwire/config.yaml --json
      podwire lab ask node1 doctor
    """
    from podwire_node.doctor.checks import examine  # noqa: PLC0415 - --help needs none of it
    from podwire_node.doctor.shown import (  # noqa: PLC0415 - same
        findings_json,
        findings_table,
        healthy,
        summary,
    )

    if len(sockets) > 1:
        raise click.UsageError("--socket: a node has one agent that is asked; give one")
    rows = list(examine(_patient(sockets, config)))
    if as_json:
        click.echo(findings_json(rows))
    else:
        from rich.console import Console  # noqa: PLC0415 - same

        console = Console(highlight=False)
        console.print(findings_table(rows))
        console.print(summary(rows))
    sys.exit(0 if healthy(rows) else 1)


def _patient(sockets: Sequence[str], config: str | None) -> Patient:
    """Raises click's error for settings that cannot be read."""
    from podwire_node.doctor.finding import Patient  # noqa: PLC0415 - see doctor()

    found = resolve({"config": config}, os.environ)
    if mistakes := found.mistakes_of(set(_KEYS)):
        raise click.UsageError("\n".join(mistakes))
    socket = sockets[0] if sockets else _value(found, "controlSocket", "")
    return Patient(
        agent=AgentClient(Path(socket)) if socket else None,
        asked=tuple(found.settings["components"].value),  # type: ignore[arg-type]  # checked by its row
        mode=_value(found, "proxyMode", "nftables"),
        cgroup=_value(found, "ebpfCgroup", ""),
        folder=Path(_value(found, "ebpfFolder", "/sys/fs/bpf/podwire")),
        source=str(config or os.environ.get(FILE_VARIABLE, "")),
        mistakes=tuple(_unusable(found)),
        cautions=found.warnings,
    )


def _unusable(found: InForce) -> Iterator[str]:
    """What a source says wrongly; what is needed and not given, an agent gets as a flag."""
    for key, sentence in found.noted:
        if found.wrong.get(key, "given"):
            yield sentence


def _value(found: InForce, key: str, default: str) -> str:
    settled = found.settings.get(key)
    return default if settled is None else str(settled.value)
