"""The desired content of our tables, kept up to date object by object.

    what changed                              what is looked at again
    a pod                                     the pod, in every set; and whose address it took
    a pod of this node, isolated otherwise    the same, and the plan
    a namespace's labels                      the namespace's pods
    a policy                                  the plan, this node's pods of its namespace, and
                                              every pod in those sets that are new

Sets are named by their content, so one that stays has the members that it had. That is why
a change costs what it touches and not what the cluster holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from podwire_core.delta import delta
from podwire_core.errors import ObjectError
from podwire_core.nft.objects import Element, Key, Object, Table
from podwire_core.objects import Namespace, NetworkPolicy, ObjectName, Pod
from podwire_core.snapshot import Change, Snapshot
from podwire_policy.addresses import Owners
from podwire_policy.isolation import Group, groups_of, is_subject
from podwire_policy.plan import Plan, make_plan
from podwire_policy.sets import TABLES, Candidate, elements

_PodElements = dict[ObjectName, dict[Key, Element]]


class Policies:
    """What enforces NetworkPolicies on one node (see podwire_core.nft.desired.Desired)."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.wanted: dict[Key, Object] = {}
        self._owners = Owners()
        self._policies: dict[str, dict[ObjectName, NetworkPolicy]] = {}  # by namespace
        self._local: dict[ObjectName, tuple[Group, ...]] = {}
        self._plan = Plan()
        self._members: dict[str, _PodElements] = {}  # by set

    @property
    def tables(self) -> Sequence[Table]:
        """One table a family."""
        return tuple(TABLES.values())

    @property
    def problems(self) -> Sequence[ObjectError]:
        """Parts of policies that say nothing, and this node's pods that lost an address."""
        contested = (
            ObjectError("", f"Pod {name}", "status.podIPs", f"{address} is {holder}'s")
            for name in sorted(self._local)
            for address, holder in self._owners.lost(name).items()
        )
        return (*self._plan.problems, *contested)

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        """See Desired.update."""
        touched = {name for change in changes for name in self._take(snapshot, change)}
        for name in touched:
            self._place(snapshot, name)
        have: dict[Key, Object] = {}
        want: dict[Key, Object] = {}
        fresh = self._switch(self._next_plan(changes), have, want)
        for name in sorted({*touched, *self._owners.pods} if fresh else touched):
            candidate = self._candidate(snapshot, name)
            for each in self._plan.members if name in touched else fresh:
                have.update(self._members[each].pop(name, {}))
                if candidate and (new := elements(self._plan.members[each], candidate)):
                    self._members[each][name] = new
                    want.update(new)
        return self._settle(have, want)

    def _take(self, snapshot: Snapshot, change: Change) -> Collection[ObjectName]:
        """Take one change in. Answers the pods that have to be looked at again."""
        if change.kind is Pod:
            return self._owners.replace(change.name, snapshot.get(Pod, change.name))
        if change.kind is Namespace:
            return [name for name in self._owners.pods if name.namespace == change.name.name]
        if change.kind is not NetworkPolicy:
            return ()
        namespace = self._policies.setdefault(change.name.namespace, {})
        policy = snapshot.get(NetworkPolicy, change.name)
        if policy is None:
            namespace.pop(change.name, None)
        else:
            namespace[change.name] = policy
        return [name for name in self._local if name.namespace == change.name.namespace]

    def _place(self, snapshot: Snapshot, name: ObjectName) -> None:
        """Put a pod of this node into its isolation groups."""
        pod = snapshot.get(Pod, name)
        if pod is None or pod.spec.node_name != self.node or not is_subject(pod):
            self._local.pop(name, None)
        else:
            self._local[name] = groups_of(pod, self._policies.get(name.namespace, {}).values())

    def _next_plan(self, changes: Sequence[Change]) -> Plan:
        """The same plan when neither a policy nor the groups changed, which is nearly always."""
        groups = frozenset(group for groups in self._local.values() for group in groups)
        policies_changed = any(change.kind is NetworkPolicy for change in changes)
        if self._plan.objects and groups == self._plan.groups and not policies_changed:
            return self._plan
        policies = {name: each for rows in self._policies.values() for name, each in rows.items()}
        return make_plan(groups, policies)

    def _switch(
        self, plan: Plan, have: dict[Key, Object], want: dict[Key, Object]
    ) -> Sequence[str]:
        """Go over to a plan. Answers its new sets, into which every pod may have to go."""
        if plan is not self._plan:
            have.update(self._plan.objects)
            want.update(plan.objects)
            for each in self._members.keys() - plan.members.keys():
                for rows in self._members.pop(each).values():
                    have.update(rows)
            self._plan = plan
        fresh = [each for each in plan.members if each not in self._members]
        self._members |= {each: {} for each in fresh}
        return fresh

    def _candidate(self, snapshot: Snapshot, name: ObjectName) -> Candidate | None:
        pod = snapshot.get(Pod, name)
        if pod is None:
            return None
        return Candidate(
            name,
            pod.labels,
            pod.ports,
            self._owners.addresses(name),
            snapshot.namespace_labels(name.namespace),
            self._local.get(name, ()),
        )

    def _settle(
        self, have: Mapping[Key, Object], want: Mapping[Key, Object]
    ) -> Mapping[Key, Object | None]:
        """Make a part of `wanted` what it should be, and tell what that changed."""
        difference = delta(have, want)
        for key in difference.removed:
            del self.wanted[key]
        self.wanted |= {**difference.added, **difference.changed}
        gone = dict.fromkeys(sorted(difference.removed))
        return {**difference.added, **difference.changed, **gone}
