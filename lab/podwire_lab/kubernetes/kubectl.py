"""Kubernetes' own command line, run where the API server is, as its administrator."""

from __future__ import annotations

from collections.abc import Sequence

from podwire_lab.kubernetes import programs
from podwire_lab.kubernetes.credentials import kubeconfig
from podwire_lab.machine import daemons, namespaces
from podwire_lab.topology import Lab


def command(lab: Lab, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What to execute, and its environment. Raises ProgramsMissing.

    Only the network is the fabric's: files are named from where the caller stands.
    """
    program = programs.folder(("kubectl",)) / "kubectl"
    enter = ["nsenter", f"--net={namespaces.path(lab.fabric)}", "--"]
    environment = {**daemons.environment(), "KUBECONFIG": str(kubeconfig(lab, "admin"))}
    return [*enter, str(program), *arguments], environment
