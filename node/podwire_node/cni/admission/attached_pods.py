"""The loop's half of a pod's life: what follows from leases that come and go.

```
 notice ─► own pods ─► snapshot ─► policy ──┐
   │                                        ├─ all in the kernel? ─► the thread goes on
   └────► hostPorts ────────────────────────┘
```

A pod that the feed has not told of is waited for where policies could select it, which nobody can
say yet: where its namespace has NetworkPolicies, and wherever there are cluster policies. Elsewhere
nothing can, and it goes on. Whoever waits is denied everything: that its address is a pod's (an
Attached) is in the kernel before. A pod made anew under its name is another one, with labels of its
own: its uid tells them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from podwire_cni.attachment import Attachment
from podwire_cni.errors import CniError
from podwire_cni.leases import Lease, Leases, boot_id
from podwire_core.objects import Attached, ClusterNetworkPolicy, NetworkPolicy, ObjectName
from podwire_core.snapshot import Change, Snapshot
from podwire_node.cni.admission.admission import Admission, Notice, refuse
from podwire_node.cni.admission.pod_ports import PodPorts
from podwire_node.intake import Intake
from podwire_node.own_pods import OwnPods
from podwire_node.parts import Part

log = logging.getLogger(__name__)


class AttachedPods:
    """Made before the feed is read; the loop calls all of it.

    parts: those that pods' policy and hostPorts are found among.
    """

    def __init__(self, own: OwnPods, intake: Intake, parts: Iterable[Part]) -> None:
        self._own, self._intake = own, intake
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
            self._intake.take(self._came(lease, ""))
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
            lease = notice.lease
            follows = self._came(lease, notice.uid) if notice.came else self._went(lease)
            # One by one: the next one may be of the same pod.
            changes += self._intake.take(follows)
            self._waiting.append(notice)
        return changes

    @property
    def problems(self) -> Sequence[str]:
        """Pods that run and are denied everything, because the feed has not told of them."""
        return [
            f"{each.unknown} is unknown: all of its packets are denied until the feed tells of it"
            for each in self._waiting
            if each.left
        ]

    def settle(self) -> None:
        """To be called after each sync: lets those go on whose pod is in force."""
        self.admission.is_open = self._concerns_nobody()
        if not self._waiting:
            return
        question = _Question(self._intake.snapshot)
        self._waiting = [each for each in self._waiting if not self._settled(each, question)]

    def _settled(self, notice: Notice, question: _Question) -> bool:
        """Whether the notice waits for nothing any more."""
        unknown = self._unknown(notice, question)
        awaited = self._awaited(notice)
        if not unknown and notice.left and not awaited:
            log.info("cni: %s is known now, and as open as its policies say", notice.unknown)
        # In this order: a thread whose patience ends looks at what is awaited first.
        notice.unknown = unknown or notice.unknown
        notice.awaited = awaited
        if unknown or awaited:
            return False
        notice.settle()
        return True

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
        snapshot = self._intake.snapshot
        some = snapshot.has(NetworkPolicy) or snapshot.has(ClusterNetworkPolicy)
        return self._is_in_force(self._policy) and not some

    def _came(self, lease: Lease, uid: str) -> list[Change]:
        if self._ports is not None:
            self._ports.came(lease)
        return self._own.came(attached(lease, uid))

    def _went(self, lease: Lease) -> list[Change]:
        """Also of one whose thread still waited to be admitted, and has given up."""
        whose = lease.attachment
        self._waiting = [
            each for each in self._waiting if not (each.came and each.lease.attachment == whose)
        ]
        if self._ports is not None:
            self._ports.went(lease)
        return self._own.went(attached(lease).name)

    def _awaited(self, notice: Notice) -> str:
        """What is not in the kernel yet, in words; "" when all is."""
        if self._ports is not None and notice.lease.ports and not self._ports.in_sync:
            return "the hostPorts to be in the kernel"
        if not notice.came or self._policy is None or self._is_in_force(self._policy):
            return ""
        return "the network policies to be in the kernel"

    def _unknown(self, notice: Notice, question: _Question) -> str:
        """The pod, if policies could select it and the feed has not told of it, else ""."""
        if not notice.came or self._policy is None:
            return ""
        this = attached(notice.lease, notice.uid)
        # The costly question comes last: it is seldom asked, most pods are known when they come.
        if this.pod is None or self._own.knows(this) or not question.concerns(this.pod):
            return ""
        return f"Pod {this.pod} (uid {this.uid})" if this.uid else f"Pod {this.pod}"

    @staticmethod
    def _is_in_force(part: Part) -> bool:
        return part.begun and part.work.in_sync


class _Question:
    """Which namespaces have policies that could select a pod; found out once a sync at most."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._namespaces: frozenset[str] | None = None

    def concerns(self, pod: ObjectName) -> bool:
        """Whether a policy could select this pod, whatever its labels are."""
        if self._snapshot.has(ClusterNetworkPolicy):
            return True
        if self._namespaces is None:
            every = self._snapshot.all(NetworkPolicy)
            self._namespaces = frozenset(each.name.namespace for each in every)
        return pod.namespace in self._namespaces


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


def attached(lease: Lease, uid: str = "") -> Attached:
    """What the snapshot has of a lease. uid: of its Pod, if it is not the lease that says it.

    Its name is unique: neither containers' ids nor interfaces have a slash (CNI's specification).
    """
    who = lease.attachment
    addresses = tuple(str(address) for address in lease.addresses)
    name = f"{who.network}/{who.container}/{who.interface}"
    return Attached.of(name, pod_name(lease), addresses, uid or lease.uid)


def pod_name(lease: Lease) -> ObjectName | None:
    """The Kubernetes Pod that a lease is for; None for a container of someone else's."""
    namespace, slash, name = lease.pod.partition("/")
    return ObjectName(namespace, name) if slash else None
