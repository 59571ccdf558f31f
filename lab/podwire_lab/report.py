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


class Ended(msgspec.Struct, frozen=True):
    """How a container's run ended. `code` is None when only its lost parent knew.

    reason: Completed, Error, StartError, ContainerStatusUnknown, as kubelet calls them.
    Times are RFC 3339 in UTC; "" when nobody saw them.
    """

    code: int | None
    reason: str
    started_at: str = ""
    finished_at: str = ""
    message: str = ""


class ContainerReport(msgspec.Struct, frozen=True):
    """One container: `pid` is its first process on this machine, 0 while it does not run.

    last: how its last run ended, None before that. waiting: why it does not run and will run
    again ("" when it runs, has not begun, or has ended for good). started_at: of this run.
    """

    name: str
    pid: int = 0
    restarts: int = 0
    ready: bool = False
    command: tuple[str, ...] = ()
    started_at: str = ""
    last: Ended | None = None
    waiting: str = ""

    @property
    def over(self) -> bool:
        """Whether it has ended for good."""
        return self.pid == 0 and self.last is not None and not self.waiting


class PodReport(msgspec.Struct, frozen=True):
    """One pod of one node. A report whose file is gone means: nothing of the pod is left.

    uid tells a pod from an earlier one of its name; message is the last thing that went
    wrong ("" when nothing did), for people. containers: those that keep running, sidecars
    among them; init_containers: those that run first and end.
    """

    namespace: str
    name: str
    uid: str
    phase: Phase = Phase.PENDING
    pod_ips: tuple[str, ...] = ()
    ready: bool = False
    containers: tuple[ContainerReport, ...] = ()
    message: str = ""
    started_at: str = ""
    init_containers: tuple[ContainerReport, ...] = ()
