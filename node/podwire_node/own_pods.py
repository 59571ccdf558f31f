"""Our own pods, as their leases know them before the API server does. Pure.

    the feed says                          the snapshot has
    a pod of ours with leases              it with the addresses of all its leases, whatever the
                                           feed says of addresses
    …of another uid than its leases'       it as one without leases: they are an earlier or a
                                           later pod's of that name
    …with leases of its uid and of none    the addresses of the former: who has made the latter is
                                           not known, it may be the earlier pod
    a pod of ours without leases           what the feed says, but for addresses that others lease
    another node's pod, or no pod          what the feed says

and every lease as an Attached, whether its pod is known or not. So policies select a pod before
its first packet: the API server learns its address from kubelet a second and more after the pod
runs. And what the feed says of an earlier owner of an address, which may be minutes old, gives
nothing to the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from podwire_core.objects import Attached, ObjectName, Pod
from podwire_core.objects.cluster import PodIP
from podwire_core.snapshot import Change

_FINISHED = {"Succeeded", "Failed"}  # they own no address, whatever their sandbox still has

_ByAddress = dict[str, set[ObjectName]]


class OwnPods:
    """Between the feed and the snapshot. Each answer is changes for the snapshot.

    node: our own name.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._leases: dict[ObjectName, Attached] = {}  # by the attachment's name
        self._holding: _ByAddress = {}  # attachments
        self._of_pod: dict[ObjectName, list[ObjectName]] = {}  # the same, oldest first
        self._said: dict[ObjectName, Pod] = {}  # the feed's own words, of pods of ours
        self._naming: _ByAddress = {}  # such pods

    def came(self, attached: Attached) -> list[Change]:
        """A pod was given addresses, or has others than it had."""
        before = self._forget(attached.name)
        if before is not None and not attached.uid:  # a sandbox is one pod's for ever
            attached = replace(attached, uid=before.uid)
        self._leases[attached.name] = attached
        _add(self._holding, attached.addresses, attached.name)
        if attached.pod is not None:
            self._of_pod.setdefault(attached.pod, []).append(attached.name)
        both = [before, attached] if before is not None else [attached]
        return [Change(Attached, attached.name, attached), *self._changes(both)]

    def went(self, name: ObjectName) -> list[Change]:
        """An attachment's addresses were taken back."""
        before = self._forget(name)
        if before is None:
            return []
        return [Change(Attached, name, None), *self._changes([before])]

    def told(self, change: Change) -> Change:
        """What a change of the feed's is to the snapshot."""
        if change.kind is not Pod:
            return change
        before = self._said.pop(change.name, None)
        if before is not None:
            _discard(self._naming, before.ips, change.name)
        pod = change.new
        if not isinstance(pod, Pod) or pod.spec.node_name != self._node:
            return change
        self._said[change.name] = pod
        _add(self._naming, pod.ips, change.name)
        return Change(Pod, change.name, self._seen(pod))

    def knows(self, attached: Attached) -> bool:
        """Whether the feed has told of its pod; a Pod of another node is an earlier one."""
        pod = self._said.get(attached.pod) if attached.pod else None
        return pod is not None and attached.fits(pod)

    def _forget(self, name: ObjectName) -> Attached | None:
        """Take a lease out."""
        before = self._leases.pop(name, None)
        if before is None:
            return None
        _discard(self._holding, before.addresses, name)
        if before.pod is not None:
            self._of_pod[before.pod].remove(name)
            if not self._of_pod[before.pod]:
                del self._of_pod[before.pod]
        return before

    def _changes(self, leases: Iterable[Attached]) -> Iterator[Change]:
        """The pods for which these leases matter, each as it is now."""
        touched: set[ObjectName] = set()
        for each in leases:
            if each.pod is not None:
                touched.add(each.pod)
            for address in each.addresses:
                touched.update(self._naming.get(address, ()))
        for name in sorted(touched & self._said.keys()):
            yield Change(Pod, name, self._seen(self._said[name]))

    def _seen(self, pod: Pod) -> Pod:
        if pod.spec.host_network or pod.status.phase in _FINISHED:
            return pod
        attached = (self._leases[each] for each in self._of_pod.get(pod.name, ()))
        leases = [each for each in attached if each.fits(pod)]
        if leases:
            sure = [each for each in leases if each.uid and pod.metadata.uid] or leases
            owned = {address: None for each in sure for address in each.addresses}
            ips = (
                *(ip for ip in pod.ips if ip in owned),
                *(ip for ip in owned if ip not in pod.ips),
            )
        else:
            ips = tuple(ip for ip in pod.ips if ip not in self._holding)
        return pod if ips == pod.ips else _with(pod, ips)


def _with(pod: Pod, ips: tuple[str, ...]) -> Pod:
    rows = tuple(map(PodIP, ips))
    return replace(pod, status=replace(pod.status, pod_ip=ips[0] if ips else "", pod_ips=rows))


def _add(index: _ByAddress, addresses: Iterable[str], name: ObjectName) -> None:
    for address in set(addresses):  # a status may name one twice
        index.setdefault(address, set()).add(name)


def _discard(index: _ByAddress, addresses: Iterable[str], name: ObjectName) -> None:
    for address in set(addresses):
        index[address].discard(name)
        if not index[address]:
            del index[address]
