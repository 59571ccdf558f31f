"""A node of the lab as the API knows it, and whether it is ready (pure).

Every node says what the whole machine has: the lab's nodes share it.

Source: Kubernetes API reference, NodeStatus; kubernetes.io, "Node Status".
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from podwire_core.objects.cluster import ZONE_LABEL
from podwire_lab.kubelet.pod_status import Since
from podwire_lab.topology import LabNode
from podwire_lab.workloads import HOSTNAME_LABEL

Document = dict[str, Any]

PORT = 10250
_PODS = 250  # a node's /24 has 253 addresses for pods
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
#: kubelet's words for each of the conditions that a lab's node never has.
_PRESSURES = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
}


@dataclass(frozen=True)
class HostFacts:
    """What this machine is. memory and storage in KiB."""

    cpus: int
    memory: int
    storage: int
    kernel: str
    system: str
    boot: str
    architecture: str

    @classmethod
    def read(cls) -> HostFacts:
        """Ask the machine."""
        rows = dict(_pairs(Path("/proc/meminfo"), ":"))
        system = dict(_pairs(Path("/etc/os-release"), "="))
        disk = os.statvfs("/")
        machine = platform.machine()
        return cls(
            cpus=os.cpu_count() or 1,
            memory=int(rows["MemTotal"].split()[0]),
            storage=disk.f_blocks * disk.f_frsize // 1024,
            kernel=platform.release(),
            system=system.get("PRETTY_NAME", "Linux").strip('"'),
            boot=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
            architecture=_ARCHITECTURES.get(machine, machine),
        )


def _pairs(file: Path, between: str) -> Iterable[tuple[str, str]]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        name, found, value = line.partition(between)
        if found:
            yield name.strip(), value.strip()


def labels(node: LabNode, host: HostFacts) -> dict[str, str]:
    """Labels that kubelet gives its node."""
    return {
        HOSTNAME_LABEL: node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": host.architecture,
        **({ZONE_LABEL: node.zone} if node.zone else {}),
    }


def status(node: LabNode, host: HostFacts, problem: str, before: Since, now: str) -> Document:
    """The Node's status; problem: why pods cannot be wired now, "" when they can."""
    resources = {
        "cpu": str(host.cpus),
        "memory": f"{host.memory}Ki",
        "ephemeral-storage": f"{host.storage}Ki",
        "pods": str(_PODS),
    }
    internal = [{"type": "InternalIP", "address": ip} for ip in node.ips]
    return {
        # Replaced, because the API merges by type and there are two InternalIPs.
        "addresses": [
            {"$patch": "replace"},
            *internal,
            {"type": "Hostname", "address": node.name},
        ],
        "capacity": resources,
        "allocatable": resources,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
        "nodeInfo": _info(node, host),
        "conditions": conditions(problem, before, now),
    }


def conditions(problem: str, before: Since, now: str) -> list[Document]:
    """The conditions that are the kubelet's; NetworkUnavailable is the network's own."""
    ready = ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
    if problem:
        message = "container runtime network not ready: NetworkReady=false"
        message += f" reason:NetworkPluginNotReady message:{problem}"
        ready = ("Ready", "False", "KubeletNotReady", message)
    rows = [(kind, "False", *words) for kind, words in _PRESSURES.items()]
    found = []
    for kind, holds, reason, message in (*rows, ready):
        known, moved = before.get(kind, ("", ""))
        found.append(
            {
                "type": kind,
                "status": holds,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": moved if known == holds and moved else now,
            }
        )
    return found


def _info(node: LabNode, host: HostFacts) -> Document:
    identity, ours = f"podwire-lab-{node.name}", version("podwire")
    return {
        "machineID": identity,
        "systemUUID": identity,
        "bootID": host.boot,
        "kernelVersion": host.kernel,
        "osImage": host.system,
        "operatingSystem": "linux",
        "architecture": host.architecture,
        "containerRuntimeVersion": f"podwire-lab://{ours}",
        # Our own version and not one of Kubernetes: nothing but `kubectl get nodes` reads it.
        "kubeletVersion": f"v{ours}+podwire-lab",
        "kubeProxyVersion": "",
    }
