"""Our own pods, as their leases know them before the API server does. Pure.

    the feed says                        the snapshot has
    a pod of ours, no address yet        it with its lease's addresses
    …with addresses of another lease     the same: its sandbox was made anew, and that is not
                                         told yet
    …with its lease's addresses          what the feed says
    a pod without a lease, or no pod     what the feed says

So policies select a pod before its first packet: the API server learns its address from kubelet
a second and more after the pod runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from podwire_core.objects import ObjectName, Pod
from podwire_core.objects.cluster import PodIP
from podwire_core.snapshot import Change, Snapshot

_FINISHED = {"Succeeded", "Failed"}  # they own no address, whatever their sandbox still has


class OwnPods:
    """Between the feed and the snapshot. Each answer is a change for the snapshot.

    node: our own name. A lease is told apart from the pod's others by any hashable.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._leases: dict[ObjectName, dict[object, Sequence[str]]] = {}
        self._said: dict[ObjectName, Pod] = {}  # the feed's own words, of pods with leases

    def came(
        self, snapshot: Snapshot, name: ObjectName, lease: object, addresses: Sequence[str]
    ) -> Change | None:
        """A pod was given canonical addresses."""
        if name not in self._leases and (pod := snapshot.get(Pod, name)):
            self._said[name] = pod
        rows = self._leases.setdefault(name, {})
        rows.pop(lease, None)  # the newest one comes last
        rows[lease] = addresses
        return self._change(name)

    def went(self, name: ObjectName, lease: object) -> Change | None:
        """A pod's addresses were taken back."""
        rows = self._leases.get(name, {})
        rows.pop(lease, None)
        if rows:
            return self._change(name)
        self._leases.pop(name, None)
        pod = self._said.pop(name, None)
        return Change(Pod, name, pod) if pod else None

    def told(self, change: Change) -> Change:
        """What a change of the feed's is to the snapshot."""
        if change.kind is not Pod or change.name not in self._leases:
            return change
        if not isinstance(change.new, Pod):
            self._said.pop(change.name, None)
            return change
        self._said[change.name] = change.new
        return Change(Pod, change.name, self._leased(change.new))

    def _change(self, name: ObjectName) -> Change | None:
        pod = self._said.get(name)
        return Change(Pod, name, self._leased(pod)) if pod else None

    def _leased(self, pod: Pod) -> Pod:
        spec, status = pod.spec, pod.status
        if spec.node_name != self._node or spec.host_network or status.phase in _FINISHED:
            return pod
        rows = list(self._leases[pod.name].values())
        if pod.ips and set(pod.ips) <= {address for row in rows for address in row}:
            return pod
        ips = tuple(PodIP(address) for address in rows[-1])
        return replace(pod, status=replace(status, pod_ip=rows[-1][0], pod_ips=ips))
