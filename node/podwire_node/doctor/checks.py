"""The table of checks, in the order in which one thing stands on another."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from podwire_node.doctor import agent, canaries, kernel, settings, sockets, tables, uplinks
from podwire_node.doctor.finding import Check, Finding, Patient, fail

CHECKS = (
    Check("kernel", kernel.version),
    Check("forwarding", kernel.forwarding),
    Check("rp_filter", kernel.reverse_path),
    Check("conntrack room", kernel.conntrack_room),
    Check("conntrack losses", kernel.conntrack_losses),
    Check("settings", settings.settings),
    Check("agent", agent.answers),
    Check("agent's problems", agent.problems),
    Check("backend", agent.backend),
    Check("nftables", tables.tables),
    Check("bpf(2)", sockets.kernel_features),
    Check("bpffs", sockets.bpffs),
    Check("cgroup", sockets.cgroup),
    Check("compiler", sockets.compiler),
    Check("programs", canaries.programs),
    Check("canary IPv4", canaries.ipv4),
    Check("canary IPv6", canaries.ipv6),
    Check("uplinks", uplinks.uplinks),
)


class Checked(NamedTuple):
    """A row of the answer."""

    name: str
    finding: Finding


def examine(patient: Patient) -> Iterator[Checked]:
    """Every check's finding; one that cannot look is a finding too."""
    for check in CHECKS:
        yield Checked(check.name, _looked(check, patient))


def _looked(check: Check, patient: Patient) -> Finding:
    try:
        return check.look(patient)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return fail(f"cannot be looked at: {error}", "run as root, on the node itself")
