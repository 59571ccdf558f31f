"""The loop's half of a pod's life: what follows from leases that come and go.

```
 notice ─► own pods ─► snapshot ─► policy ──┐
   │                                        ├─ all in the kernel? ─► the thread goes on
   └────► hostPorts ────────────────────────┘
```

A pod that the feed has not told of is waited for where its namespace has policies: nobody can
say which of them select it. Elsewhere nothing can, and it goes on. A pod made anew under its name
is another one, with labels of its own: its uid tells them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from podwire_cni.attachment import Attachment
from podwire_cni.errors import CniError
from podwire_cni.leases import Lease, Leases, boot_id
from podwire_core.objects import NetworkPolicy, ObjectName, Pod
from podwire_core.snapshot import Change, Snapshot
from podwire_node.cni.admission.admission import Admission, Notice, refuse
from podwire_node.cni.admission.pod_ports import PodPorts
from podwire_node.intake import Intake
from podwire_node.own_pods import OwnPods
from podwire_node.parts import Part

log = logging.getLogger(__name__)


class AttachedPods:
    """Made before the feed is read; the loop calls all of it.

    node: our name.  parts: those that pods' policy and hostPorts are found among.
    """

    def __init__(self, node: str, own: OwnPods, intake: Intake, parts: Iterable[Part]) -> None:
        self._node, self._own, self._intake = node, own, intake
        works = {part.work.name: part for part in parts}
        self._policy = works.get("policy")
        ports = works["host-ports"].work if "host-ports" in works else None
        self._ports = ports if isinstance(ports, PodPorts) else None
        self._waiting: list[Notice] = []
        self.admission = Admission(serves_ports=self._ports is not None)
        intake.listen(self._heed)

    def begin(self, state_dir: Path) -> None:
        """Take in the pods that are attached already.

        Where their leases cannot be read, hostPorts that are in force stay until they can.
        """
        known = _attached(state_dir)
        for lease in known or ():
            self._intake.take(self._came(lease))
        if known is None and self._ports is not None:
            self._ports.hold(lambda: self._learned(state_dir))

    def _learned(self, state_dir: Path) -> bool:
        """Whether the leases can be read by now; then the loop hears of each."""
        known = _attached(state_dir)
        for lease in known or ():
            self.admission.announce(lease)
            if self._ports is not None:
                self._ports.came(lease)  # before its next sync, which is about to come
        return known is not None

    def fileno(self) -> int:
        """Readable when there is something to hear()."""
        return self.admission.fileno()

    def with_ports(self) -> frozenset[Attachment]:
        """Whose hostPorts are kept; to be asked in any thread."""
        return self._ports.attachments if self._ports is not None else frozenset()

    def hear(self) -> Sequence[Change]:
        """Take notices in; what they changed in the snapshot."""
        changes: list[Change] = []
        for notice in self.admission.taken():
            follows = self._came if notice.came else self._went
            # One by one: the next one may be of the same pod.
            changes += self._intake.take(follows(notice.lease))
            self._waiting.append(notice)
        return changes

    def settle(self) -> None:
        """To be called after each sync: lets those go on whose pod is in force."""
        self.admission.is_open = self._concerns_nobody()
        if not self._waiting:
            return
        question = _Question(self._intake.snapshot)
        still = []
        for notice in self._waiting:
            notice.awaited = self._awaited(notice, question)
            if notice.awaited:
                still.append(notice)
            else:
                notice.settle()
        self._waiting = still

    def close(self) -> None:
        """The loop turns no more; a second time is once."""
        refuse(self._waiting)
        self._waiting.clear()
        self.admission.close()

    def _heed(self) -> None:
        """The snapshot has changed: from now on, and not from the sync on, who comes waits."""
        if not self._concerns_nobody():
            self.admission.is_open = False

    def _concerns_nobody(self) -> bool:
        """Whether no policy can select a pod, as far as the snapshot and the kernel tell."""
        if self._policy is None:
            return True
        return self._is_in_force(self._policy) and not self._intake.snapshot.has(NetworkPolicy)

    def _came(self, lease: Lease) -> list[Change]:
        addresses = [str(address) for address in lease.addresses]
        if self._ports is not None:
            self._ports.came(lease)
        name = pod_name(lease)
        change = name and self._own.came(self._intake.snapshot, name, lease.attachment, addresses)
        return [change] if change else []

    def _went(self, lease: Lease) -> list[Change]:
        """Also of one whose thread still waited to be admitted, and has given up."""
        whose = lease.attachment
        self._waiting = [
            each for each in self._waiting if not (each.came and each.lease.attachment == whose)
        ]
        if self._ports is not None:
            self._ports.went(lease)
        name = pod_name(lease)
        change = name and self._own.went(name, lease.attachment)
        return [change] if change else []

    def _awaited(self, notice: Notice, question: _Question) -> str:
        """What is not in the kernel yet, in words; "" when all is."""
        lease = notice.lease
        if self._ports is not None and lease.ports and not self._ports.in_sync:
            return "the hostPorts to be in the kernel"
        if not notice.came or self._policy is None:
            return ""
        if not self._is_in_force(self._policy):
            return "the NetworkPolicies to be in the kernel"
        name = pod_name(lease)
        if name is None or name.namespace not in question.with_policies:
            return ""
        if self._knows(name, notice.uid):
            return ""
        which = f"{name} (uid {notice.uid})" if notice.uid else str(name)
        return f"Pod {which}, which the feed has not told of, in a namespace with NetworkPolicies"

    @staticmethod
    def _is_in_force(part: Part) -> bool:
        return part.begun and part.work.in_sync

    def _knows(self, name: ObjectName, uid: str) -> bool:
        """A Pod of another node or another uid is an earlier one of that name.

        uid: "" where the runtime does not say it; a folder's Pods may have none either.
        """
        pod = self._intake.snapshot.get(Pod, name)
        if pod is None or pod.spec.node_name != self._node:
            return False
        return not (uid and pod.metadata.uid) or uid == pod.metadata.uid


class _Question:
    """Asked at most once a sync, and seldom: most pods are known when they come."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._namespaces: frozenset[str] | None = None

    @property
    def with_policies(self) -> frozenset[str]:
        """Namespaces that have a NetworkPolicy."""
        if self._namespaces is None:
            every = self._snapshot.all(NetworkPolicy)
            self._namespaces = frozenset(each.name.namespace for each in every)
        return self._namespaces


def _attached(state_dir: Path) -> list[Lease] | None:
    """The leases, but for those that cannot be read; None where that is the file itself."""
    try:
        with Leases(state_dir, boot_id(), create=False) as leases:
            known, wrong = leases.readable()
    except CniError as error:
        log.error("cni: pods that run are not known: %s: %s", error, error.details)  # noqa: TRY400 - a sentence
        return None
    for each in wrong:
        log.error("cni: a pod that runs is not known: %s: %s", each, each.details)
    return known


def pod_name(lease: Lease) -> ObjectName | None:
    """The Kubernetes Pod that a lease is for; None for a container of someone else's."""
    namespace, slash, name = lease.pod.partition("/")
    return ObjectName(namespace, name) if slash else None
