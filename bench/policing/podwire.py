"""Our policy engine without its agent: decoded objects ─► Policies ─► Owner ─► the kernel."""

from __future__ import annotations

import time
from collections.abc import Sequence

from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.objects import Attached, KubernetesObject, Pod
from podwire_core.snapshot import Change, Snapshot
from podwire_policy.policies import Policies
from policing import crowd


class Podwire:
    """In the network namespace of whoever makes it."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._policies = Policies(crowd.NODE)
        self._owner = Owner(Kernel(), self._policies.tables)
        self._owner.adopt()

    def load(self, objects: Sequence[KubernetesObject]) -> float:
        """Put everything in force; the tables are not there yet. Seconds."""
        changes = [change for each in objects for change in _came(each)]
        before = time.perf_counter()
        for change in changes:
            self._snapshot.apply(change)
        self._policies.update(self._snapshot, changes)
        self._owner.sync(self._policies.wanted)
        return time.perf_counter() - before

    def came(self, pod: Pod) -> float:
        """A pod came. Seconds."""
        return self._take(_came(pod))

    def went(self, pod: Pod) -> float:
        """A pod went. Seconds."""
        return self._take([Change(each.kind, each.name, None) for each in _came(pod)])

    def _take(self, changes: Sequence[Change]) -> float:
        before = time.perf_counter()
        for change in changes:
            self._snapshot.apply(change)
        touched = self._policies.update(self._snapshot, changes)
        self._owner.change(touched)
        took = time.perf_counter() - before
        if not touched:
            message = f"{changes[-1]} changed nothing, which is no measure"
            raise RuntimeError(message)
        return took


def _came(each: KubernetesObject) -> list[Change]:
    """An object; a pod of our Node with the lease that its ADD made."""
    changes = [Change(type(each), each.name, each)]
    if isinstance(each, Pod) and each.spec.node_name == crowd.NODE:
        name = f"{each.metadata.uid}-eth0"
        lease = Attached.of(name, each.name, each.ips, each.metadata.uid)
        changes.insert(0, Change(Attached, lease.name, lease))
    return changes
