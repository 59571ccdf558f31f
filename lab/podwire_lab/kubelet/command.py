"""What a container of a manifest becomes on this machine (pure).

    command the host has     that command            podwire-lab-dns   the lab's DNS server
    any other, or none       the echo server on the container's ports

A lab has no images: their programs are the host's, and what the host lacks is stood in for.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from podwire_lab.control.system import DNS_COMMAND
from podwire_lab.machine import processes
from podwire_lab.workloads import LabContainer, LabPod

_PROGRAMS = Path(__file__).parents[1] / "programs"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$(?:\$|\((?P<name>[^)]*)\))")

Which = Callable[[str], str | None]


def runs_own_command(container: LabContainer, which: Which) -> bool:
    """Whether the host has the container's command, so that nothing stands in for it."""
    return bool(container.command) and which((container.command or ("",))[0]) is not None


def argv_of(
    container: LabContainer, environment: Mapping[str, str], objects: Path, which: Which
) -> tuple[tuple[str, ...], bool]:
    """The program and its arguments, and whether it tells on TELL_FD when it serves."""
    command = container.command or ()
    if command[:1] == (DNS_COMMAND,):
        tell = ("--objects", str(objects), "--ready-fd", str(processes.TELL_FD))
        return (sys.executable, "-P", "-m", "podwire_lab.programs.dns", *tell), True
    if runs_own_command(container, which):
        words = (*command, *(container.args or ()))
        return tuple(expand(word, environment) for word in words), False
    ports = ",".join(
        str(port) for port in sorted({p.container_port for p in container.ports or ()})
    )
    echo = (sys.executable, "-I", "-S", str(_PROGRAMS / "echo.py"))
    return (*echo, "--ports", ports, "--ready-fd", str(processes.TELL_FD)), True


def environment_of(
    pod: LabPod,
    container: LabContainer,
    ips: tuple[str, ...],
    host_ip: str,
    given: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The container's environment: a plain one, the pod's facts, and what its author wrote.

    given: what all containers of the node get; anything else goes before it.
    """
    environment = {
        **(given or {}),
        "PATH": _PATH,
        "HOME": "/root",
        "HOSTNAME": hostname_of(pod),
        "POD_NAME": pod.name.name,
        "POD_NAMESPACE": pod.name.namespace,
        "POD_IP": ips[0] if ips else "",
        "NODE_NAME": pod.spec.node_name,
    }
    fields = _fields(pod, ips, host_ip)
    for row in container.env or ():
        reference = row.value_from.field_ref if row.value_from else None
        value = fields.get(reference.field_path, "") if reference else row.value
        environment[row.name] = expand(value, environment)
    if (container.command or ())[:1] == (DNS_COMMAND,) and "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]  # our own module, as we found it
    return environment


def expand(text: str, environment: Mapping[str, str]) -> str:
    """$(NAME) replaced, $$ a dollar; a name that is not known stays as it was written."""

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        return "$" if name is None else environment.get(name, match[0])

    return _REFERENCE.sub(replace, text)


def hostname_of(pod: LabPod) -> str:
    """The pod's host name: spec.hostname, else its name; the node's on the node's network."""
    if pod.spec.host_network:
        return pod.spec.node_name or socket.gethostname()
    return (pod.spec.hostname or pod.name.name)[:63].rstrip("-.")


def _fields(pod: LabPod, ips: tuple[str, ...], host_ip: str) -> dict[str, str]:
    """Values of the downward API's fieldPaths."""
    labels = {f"metadata.labels['{key}']": value for key, value in pod.labels.items()}
    annotations = {
        f"metadata.annotations['{key}']": value
        for key, value in (pod.metadata.annotations or {}).items()
    }
    return {
        "metadata.name": pod.name.name,
        "metadata.namespace": pod.name.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "status.hostIP": host_ip,
        "status.podIP": ips[0] if ips else "",
        "status.podIPs": ",".join(ips),
        **labels,
        **annotations,
    }
