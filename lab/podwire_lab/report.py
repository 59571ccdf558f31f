"""What a node's runner says of one pod: the lab's pod status, one file a pod."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """Pod phases, as the Kubernetes API spells them."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ContainerReport(msgspec.Struct, frozen=True):
    """One container: `pid` is its first process on this machine, 0 while it does not run."""

    name: str
    pid: int = 0
    restarts: int = 0
    ready: bool = False
    command: tuple[str, ...] = ()


class PodReport(msgspec.Struct, frozen=True):
    """One pod of one node. A report whose file is gone means: nothing of the pod is left.

    uid tells a pod from an earlier one of its name; message is the last thing that went
    wrong ("" when nothing did), for people.
    """

    namespace: str
    name: str
    uid: str
    phase: Phase = Phase.PENDING
    pod_ips: tuple[str, ...] = ()
    ready: bool = False
    containers: tuple[ContainerReport, ...] = ()
    message: str = ""
