"""The objects that policies depend on, as the kernel enforces them now, for the thread's own use.

change of                              connections it concerns
a Pod, an attachment                   those of its addresses, old and new
a Namespace's labels, a policy         all
a Node's labels, addresses, podCIDRs   all
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from podwire_core.objects import (
    Attached,
    ClusterNetworkPolicy,
    Namespace,
    NetworkPolicy,
    Node,
    ObjectName,
    Pod,
)
from podwire_core.snapshot import Change, Kind, Snapshot

#: What policies depend on; of other kinds nothing is kept.
KINDS: frozenset[Kind] = frozenset(
    {Attached, ClusterNetworkPolicy, Namespace, NetworkPolicy, Node, Pod}
)


class Mirror:
    """Applies changes; answers whose addresses they concern."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.snapshot = Snapshot()
        #: One pod, by far the most, is no tuple.
        self._pods: dict[str, Pod | tuple[Pod, ...]] = {}
        self._here: dict[ObjectName, tuple[str, ...]] = {}
        self._given: dict[ObjectName, tuple[str, ...]] = {}

    def claimants(self, address: str) -> tuple[Pod, ...]:
        """Pods that name an address."""
        found = self._pods.get(address, ())
        return (found,) if isinstance(found, Pod) else found

    @property
    def local(self) -> Iterable[str]:
        """Addresses that pods of this node name, or that this node gave away; some twice."""
        for addresses in (*self._here.values(), *self._given.values()):
            yield from addresses

    @property
    def networks(self) -> Collection[str]:
        """The networks that this node's pods get their addresses from."""
        mine = self.snapshot.get(Node, ObjectName("", self.node))
        return mine.pod_cidrs if mine else ()

    def apply(self, changes: Iterable[Change]) -> frozenset[str] | None:
        """Take changes in. Answers addresses that they concern; None is all."""
        concerned: set[str] = set()
        namespaces: set[str] = set()
        had_policies = self.snapshot.has(NetworkPolicy)
        everything = False
        for change in changes:
            old = self.snapshot.get(change.kind, change.name)
            if not self.snapshot.apply(change):
                continue
            if change.kind is Pod:
                concerned |= self._take_pod(change.name, old, change.new)
            elif change.kind is Attached:
                concerned |= self._take_attached(change.name, old, change.new)
            elif change.kind is NetworkPolicy:
                namespaces.add(change.name.namespace)
            else:
                everything |= _says(old) != _says(change.new)
        if everything or had_policies != self.snapshot.has(NetworkPolicy):
            return None
        return frozenset(concerned.union(*map(self._of_namespace, namespaces)))

    def _of_namespace(self, namespace: str) -> set[str]:
        """Addresses of a namespace's pods on this node, and of those it gave away to some."""
        given = ((self.snapshot.get(Attached, name), ips) for name, ips in self._given.items())
        found = [ips for name, ips in self._here.items() if name.namespace == namespace]
        found += [
            ips for each, ips in given if each and each.pod and each.pod.namespace == namespace
        ]
        return {ip for ips in found for ip in ips}

    def _take_pod(self, name: ObjectName, old: object, new: object) -> set[str]:
        for address in old.ips if isinstance(old, Pod) else ():
            self._put(address, tuple(each for each in self.claimants(address) if each is not old))
        self._here.pop(name, None)
        if isinstance(new, Pod):
            for address in dict.fromkeys(new.ips):
                self._put(address, (*self.claimants(address), new))
            if new.spec.node_name == self.node:
                self._here[name] = new.ips
        return {ip for each in (old, new) if isinstance(each, Pod) for ip in each.ips}

    def _put(self, address: str, pods: tuple[Pod, ...]) -> None:
        if pods:
            self._pods[address] = pods[0] if len(pods) == 1 else pods
        else:
            self._pods.pop(address, None)

    def _take_attached(self, name: ObjectName, old: object, new: object) -> set[str]:
        self._given.pop(name, None)
        if isinstance(new, Attached):
            self._given[name] = new.addresses
        return {ip for each in (old, new) if isinstance(each, Attached) for ip in each.addresses}


def _says(each: object) -> object:
    """What policies look at; a Node says more than that, and often."""
    if isinstance(each, Node):
        return each.labels, each.pod_cidrs, each.addresses
    if isinstance(each, Namespace):
        return each.labels
    return each
