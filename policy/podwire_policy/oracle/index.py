"""The same judge for many questions: what World looks up, found by index and remembered.

Made for one state of the objects: after a change, make another. It costs one walk over the pods,
at the first question, and then a few lookups a question, however many pods and policies there are.
Threads may share one: what it remembers twice is the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from functools import cached_property
from typing import TypeVar

from podwire_core.objects import (
    Attached,
    ClusterNetworkPolicy,
    NetworkPolicy,
    Node,
    ObjectName,
    Pod,
    PolicyType,
    Tier,
)
from podwire_core.selectors import LabelSelector
from podwire_core.snapshot import Snapshot
from podwire_policy.oracle.judgement import Judgement, Side
from podwire_policy.oracle.sides import answer, side
from podwire_policy.oracle.world import World

K = TypeVar("K")
V = TypeVar("V")
Index = dict[K, list[V]]

MAX_REMEMBERED = 65_536  # addresses that were looked for in the nodes' podCIDRs


class Judge(World):
    """Judges of one snapshot, which must not change meanwhile. Answers as oracle.judge does."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self._owners: dict[str, Pod | None] = {}
        self._homes: dict[str, Node | None] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._nodes: dict[str, Collection[str]] = {}
        self._isolating: dict[tuple[ObjectName, PolicyType], tuple[NetworkPolicy, ...]] = {}
        self._concerning: dict[tuple[ObjectName, Tier], tuple[ClusterNetworkPolicy, ...]] = {}

    def judge(
        self,
        source: ObjectName | str,
        destination: ObjectName | str,
        protocol: str,
        port: int = 0,
    ) -> Judgement:
        """See oracle.judge."""
        return answer(self, self.question(source, destination, protocol, port))

    def side(
        self, source: str, destination: str, protocol: str, port: int, direction: PolicyType
    ) -> Side:
        """One side of what judge answers, between two addresses."""
        return side(self, self.question(source, destination, protocol, port), direction)

    # ---------------------------------------------------------------------- the indices

    @cached_property
    def _claimants(self) -> Index[str, Pod]:
        found: Index[str, Pod] = defaultdict(list)
        for pod in self._snapshot.all(Pod):
            for address in pod.ips:
                found[address].append(pod)
        return dict(found)

    @cached_property
    def _attachments(self) -> Index[str, Attached]:
        found: Index[str, Attached] = defaultdict(list)
        for each in self._snapshot.all(Attached):
            for address in each.addresses:
                found[address].append(each)
        return dict(found)

    @cached_property
    def _policies(self) -> Index[str, NetworkPolicy]:
        """By namespace, sorted by name."""
        found: Index[str, NetworkPolicy] = defaultdict(list)
        for policy in self._snapshot.all(NetworkPolicy):
            found[policy.name.namespace].append(policy)
        return dict(found)

    # -------------------------------------------------------------- what World looks up

    def claimants(self, address: str) -> Collection[Pod]:
        """See World."""
        return self._claimants.get(address, ())

    def attachments(self, address: str) -> Collection[Attached]:
        """See World."""
        return self._attachments.get(address, ())

    def owner(self, address: str) -> Pod | None:
        """See World."""
        if address not in self._claimants:  # not remembered: addresses of the world have no end
            return None
        if address not in self._owners:
            self._owners[address] = super().owner(address)
        return self._owners[address]

    def home(self, address: str) -> Node | None:
        """See World."""
        if address in self._homes:
            return self._homes[address]
        if len(self._homes) >= MAX_REMEMBERED:
            self._homes = {}
        found = self._homes[address] = super().home(address)
        return found

    def node_addresses(self, selector: LabelSelector) -> Collection[str]:
        """See World."""
        key = selector.identity
        if key not in self._nodes:
            self._nodes[key] = super().node_addresses(selector)
        return self._nodes[key]

    def namespace_labels(self, name: str) -> dict[str, str]:
        """See World."""
        if name not in self._labels:
            self._labels[name] = super().namespace_labels(name)
        return self._labels[name]

    def isolating(self, pod: Pod, direction: PolicyType) -> tuple[NetworkPolicy, ...]:
        """See World."""
        key = (pod.name, direction)
        if key not in self._isolating:
            self._isolating[key] = tuple(
                policy
                for policy in self._policies.get(pod.name.namespace, ())
                if direction in policy.directions and policy.selects(pod)
            )
        return self._isolating[key]

    def concerning(self, pod: Pod, tier: Tier) -> tuple[ClusterNetworkPolicy, ...]:
        """See World."""
        key = (pod.name, tier)
        if key not in self._concerning:
            self._concerning[key] = super().concerning(pod, tier)
        return self._concerning[key]

    def may_concern(self, namespace: str | None = None) -> bool:
        """See World."""
        if self._snapshot.has(ClusterNetworkPolicy):
            return True
        return bool(self._policies) if namespace is None else namespace in self._policies
