"""The pods of one node, and the groups that policies put them into.

what changed                  which of them are looked at again
a NetworkPolicy               those of its namespace
a ClusterNetworkPolicy        all
a pod, a namespace's labels   itself, its pods
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from podwire_core.objects import (
    ClusterNetworkPolicy,
    NetworkPolicy,
    ObjectName,
    Pod,
)
from podwire_core.selectors import EVERYTHING, Labels
from podwire_policy.groups import Group, Level, is_subject, isolating, of_tiers
from podwire_policy.labels import Index, Pairs, namespace_pair, pairs
from podwire_policy.reasons import PolicyName
from podwire_policy.rulebook import Policy


@dataclass(frozen=True, slots=True)
class Subject:
    """A pod of this node: the addresses it owns, and its groups."""

    name: ObjectName
    addresses: tuple[str, ...]
    groups: tuple[Group, ...]

    def on(self, level: Level) -> Iterator[Group]:
        """Its groups of one level."""
        return (group for group in self.groups if group.level is level)


class Subjects:
    """All policies, and this node's pods."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.policies: dict[PolicyName, Policy] = {}
        self.version = 0  # another one whenever may_concern() may answer otherwise
        self._index: Index[PolicyName] = Index()
        self._cluster: dict[ObjectName, ClusterNetworkPolicy] = {}
        self._ranked: tuple[ClusterNetworkPolicy, ...] | None = None  # until one of them changes
        self._namespaces: dict[str, int] = {}  # how many policies each has
        self._local: dict[str, dict[ObjectName, Subject]] = {}  # by namespace

    def get(self, name: ObjectName) -> Subject | None:
        """A pod of this node."""
        return self._local.get(name.namespace, {}).get(name)

    def names(self, namespace: str | None = None) -> Collection[ObjectName]:
        """Pods of this node, of one namespace or of all."""
        if namespace is not None:
            return self._local.get(namespace, {}).keys()
        return [name for rows in self._local.values() for name in rows]

    def is_elsewhere(self, name: ObjectName, pod: Pod | None) -> bool:
        """Whether a pod neither is nor was one of this node's; of nearly all pods it is true."""
        return (pod is None or pod.spec.node_name != self.node) and self.get(name) is None

    def may_concern(self, namespace: str | None = None) -> bool:
        """Whether any policy may select pods of a namespace (None: of any)."""
        if self._cluster:
            return True
        return bool(self._namespaces) if namespace is None else namespace in self._namespaces

    def replace(self, kind: type[Policy], name: ObjectName, new: Policy | None) -> PolicyName:
        """Take a policy as it is now."""
        key = PolicyName(kind.__name__, name)
        old = self.policies.pop(key, None)
        if isinstance(old, NetworkPolicy):
            self._index.remove(key, *_places(old))
            self._count(name.namespace, -1)
        if new is not None:
            self.policies[key] = new
        if isinstance(new, NetworkPolicy):
            self._index.add(key, *_places(new))
            self._count(name.namespace, 1)
        if kind is ClusterNetworkPolicy:
            self._cluster.pop(name, None)
            if isinstance(new, ClusterNetworkPolicy):
                self._cluster[name] = new
            self._ranked = None
            self.version += 1
        return key

    def place(
        self, name: ObjectName, pod: Pod | None, addresses: tuple[str, ...], labels: Labels
    ) -> tuple[Subject | None, Subject | None]:
        """Put a pod into its groups. Answers what it was and what it is; None: no subject."""
        old, new = self.get(name), None
        if pod is not None and pod.spec.node_name == self.node and is_subject(pod):
            groups = (*isolating(self._selecting(pod)), *of_tiers(self._reaching(pod, labels)))
            new = Subject(name, addresses, groups)
        if old == new:
            return old, old
        if new is not None:
            self._local.setdefault(name.namespace, {})[name] = new
        else:
            del self._local[name.namespace][name]
            if not self._local[name.namespace]:
                del self._local[name.namespace]
        return old, new

    def _selecting(self, pod: Pod) -> Iterator[NetworkPolicy]:
        here = namespace_pair(pod.name.namespace) or ()
        for key in self._index.find(here, pod.labels.items()):
            policy = self.policies[key]
            if isinstance(policy, NetworkPolicy) and policy.selects(pod):
                yield policy

    def _reaching(self, pod: Pod, labels: Labels) -> Iterator[ClusterNetworkPolicy]:
        return (policy for policy in self.cluster_policies if policy.selects(pod, labels))

    @property
    def cluster_policies(self) -> Sequence[ClusterNetworkPolicy]:
        """In the order in which they are asked."""
        if self._ranked is None:
            rows = self._cluster.values()
            self._ranked = tuple(sorted(rows, key=lambda each: (each.priority, each.name)))
        return self._ranked

    def _count(self, namespace: str, number: int) -> None:
        was = self._namespaces.get(namespace, 0)
        self._namespaces[namespace] = was + number
        self.version += not was or not was + number
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]


def _places(policy: NetworkPolicy) -> tuple[Pairs, Pairs]:
    selector = policy.spec.pod_selector or EVERYTHING
    return namespace_pair(policy.name.namespace), pairs(selector)
