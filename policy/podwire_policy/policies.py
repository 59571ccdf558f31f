"""The desired content of our tables, kept up to date object by object.

    what changed                              what is looked at again
    a pod                                     the pod, in the sets that could select it; and whose
                                              address it took
    a pod of this node                        the same, and its groups; a new group's chain
    a namespace's labels                      the namespace's pods
    a policy                                  pods of this node that it could select, the chains
                                              that it is in; for each new set the pods for it
    a Node                                    sets of nodes; our own: whose addresses are known
    an attachment                             its addresses, and the pods that name them

Sets are named by their content, so one that stays has the members that it had. That is why
a change costs what it touches and not what the cluster holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from podwire_core.errors import ObjectError
from podwire_core.family import family_of
from podwire_core.nft.objects import Element, Key, Object, Table
from podwire_core.nft.statements import goto
from podwire_core.objects import (
    Attached,
    ClusterNetworkPolicy,
    Namespace,
    NetworkPolicy,
    Node,
    ObjectName,
    Pod,
    PolicyType,
)
from podwire_core.snapshot import Change, Snapshot
from podwire_policy.addresses import Owners
from podwire_policy.cluster_rules import unknown_fields
from podwire_policy.entrances import Entrances
from podwire_policy.groups import Level
from podwire_policy.library import Fillable, Library
from podwire_policy.nodes import Nodes
from podwire_policy.population import Candidate, Population
from podwire_policy.reasons import PolicyName, Reason
from podwire_policy.rulebook import Rulebook
from podwire_policy.sets import TABLES, NodePeers, element
from podwire_policy.skeleton import ISOLATED_PODS, KNOWN, dispatch, reasons, self_set, skeleton
from podwire_policy.subjects import Subject, Subjects
from podwire_policy.wanted import Draft, Wanted

#: New sets of one update, from which on each pod is asked which it is in, and no set for its pods.
MANY = 64


@dataclass
class _Again:
    """What one update has to look at again."""

    pods: set[ObjectName] = field(default_factory=set)
    subjects: set[ObjectName] = field(default_factory=set)
    policies: set[PolicyName] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    nodes: bool = False


class Policies:
    """What enforces policies on one node (see podwire_core.nft.desired.Desired).

    recheck: connections may be cut by reasons.CUT_BIT in their mark.
    """

    def __init__(self, node: str, *, recheck: bool = False) -> None:
        self.node = node
        self.wanted = Wanted()
        self._recheck = recheck
        self._owners = Owners()
        self._subjects = Subjects(node)
        self._nodes = Nodes(node)
        self._entrances = Entrances(self._owners, self._subjects, self._nodes)
        self._population = Population()
        self._library = Library()
        self._rulebook = Rulebook(self._library)
        self._contested: set[ObjectName] = set()  # pods of this node that lost an address
        self._rulebook.reasons.update((each.chain, each) for each in reasons(recheck=recheck))

    @property
    def tables(self) -> Sequence[Table]:
        """One table a family."""
        return tuple(TABLES.values())

    @property
    def reasons(self) -> Mapping[str, Reason]:
        """What each chain that drops stands for, by its name, which is its log's prefix."""
        return self._rulebook.reasons

    @property
    def problems(self) -> Sequence[ObjectError]:
        """Parts of policies that say nothing, and this node's pods that lost an address."""
        contested = (
            ObjectError("", f"Pod {name}", "status.podIPs", f"{address} is {holder}'s")
            for name in sorted(self._contested)
            for address, holder in self._owners.lost(name).items()
        )
        unknown = (row for each in self._subjects.cluster_policies for row in unknown_fields(each))
        return (*self._rulebook.problems, *unknown, *contested)

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        """See Desired.update."""
        draft = Draft(self.wanted)
        if not self.wanted:
            for table in self.tables:
                for each in skeleton(table, recheck=self._recheck):
                    draft.put(each)
        cidrs, scope = self._nodes.pod_cidrs, self._subjects.version
        judging = self._subjects.may_concern()
        again = _Again()
        for change in changes:
            self._take(snapshot, change, again)
        if self._subjects.version != scope:
            again.addresses.update(self._owners.given_addresses)
        if self._subjects.may_concern() is not judging or self._nodes.pod_cidrs != cidrs:
            again.addresses.update(self._whose_it_matters())
        moved = [self._move(snapshot, name) for name in again.pods]
        self._judge(again, draft)
        self._rulebook.settle(self._subjects.policies, again.policies, draft)
        fresh = self._library.settle(draft)
        for old, new in moved:
            again.addresses.update(self._entered(old), self._entered(new))
            for row in self._memberships(old):
                draft.drop(row.key)
            for row in self._memberships(new):
                draft.put(row)
        self._fill(fresh, again, draft)
        self._entrances.settle(again.addresses, draft)
        return draft.settle()

    # ------------------------------------------------------------------- what is told

    def _take(self, snapshot: Snapshot, change: Change, again: _Again) -> None:
        """Take one change in, and note what it concerns."""
        name = change.name
        if change.kind is Pod:
            again.pods |= self._owners.replace(name, snapshot.get(Pod, name))
        elif change.kind is Namespace:
            self._relabel(snapshot, name.name, again)
        elif change.kind is Node:
            self._renode(name, snapshot.get(Node, name), again)
        elif change.kind is Attached:
            addresses, pods = self._owners.attach(name, snapshot.get(Attached, name))
            again.addresses |= addresses
            again.pods |= pods
        elif change.kind is NetworkPolicy:
            new = snapshot.get(NetworkPolicy, name)
            again.policies.add(self._subjects.replace(NetworkPolicy, name, new))
            again.subjects.update(self._subjects.names(name.namespace))
        elif change.kind is ClusterNetworkPolicy:
            tier = snapshot.get(ClusterNetworkPolicy, name)
            again.policies.add(self._subjects.replace(ClusterNetworkPolicy, name, tier))
            again.subjects.update(self._subjects.names())

    def _relabel(self, snapshot: Snapshot, namespace: str, again: _Again) -> None:
        known = self._population.labels(namespace)
        labels = snapshot.namespace_labels(namespace)
        if known is not None and known != labels:
            self._population.relabel(namespace, labels)
            again.pods.update(self._population.names(namespace))

    def _renode(self, name: ObjectName, new: Node | None, again: _Again) -> None:
        old = self._nodes.replace(name, new)
        both = [each for each in (old, new) if each]
        found = [(each.labels, each.addresses) for each in both]
        again.nodes |= len(found) < 2 or found[0] != found[1]
        again.addresses.update(ip for _, addresses in found for ip in addresses)

    def _whose_it_matters(self) -> Iterator[str]:
        """Addresses that this node gives to pods, and all that were known until now."""
        ours = (*self._owners.claimed, *self._nodes.addresses)
        yield from filter(self._nodes.gives, ours)
        for table in self.tables:
            yield from self.wanted.elements((*table.key, "element", KNOWN))

    # -------------------------------------------------------------- pods in their sets

    def _move(
        self, snapshot: Snapshot, name: ObjectName
    ) -> tuple[Candidate | None, Candidate | None]:
        """What a pod was, and what it is from now on."""
        pod = self._owners.pod(name)
        if pod is None:
            return self._population.put(name, None), None
        labels = self._population.labels(name.namespace)
        if labels is None:
            labels = snapshot.namespace_labels(name.namespace)
        new = Candidate(pod, self._owners.addresses(name), labels, str(name))
        return self._population.put(name, new), new

    def _entered(self, candidate: Candidate | None) -> Iterable[str]:
        """Of a pod's addresses those that this node gives to pods, or gave to someone."""
        mine, given = candidate.addresses if candidate else (), self._owners.given_addresses
        return (address for address in mine if address in given or self._nodes.gives(address))

    def _memberships(self, candidate: Candidate | None) -> Iterator[Element]:
        if candidate is not None:
            for each in self._library.meeting(candidate):
                yield from each.elements(candidate)

    def _fill(self, fresh: Sequence[Fillable], again: _Again, draft: Draft) -> None:
        """Put those into new sets that were not looked at anyway; and the nodes."""
        nodes = {each.name: each for each in self._library.node_peers} if again.nodes else {}
        nodes |= {each.name: each for each in fresh if isinstance(each, NodePeers)}
        for each in nodes.values():
            for table in self.tables:
                for text in self.wanted.elements((*table.key, "element", each.name)):
                    draft.drop((*table.key, "element", each.name, text))
            for row in each.elements(self._nodes):
                draft.put(row)
        if sum(self._owners.pod(name) is not None for name in again.pods) == len(self._population):
            return
        for row in self._members(fresh):
            draft.put(row)

    def _members(self, fresh: Sequence[Fillable]) -> Iterator[Element]:
        pods = [each for each in fresh if not isinstance(each, NodePeers)]
        if len(pods) > MANY:
            names = {each.name for each in pods}
            for candidate in self._population.everyone():
                for each in self._library.meeting(candidate):
                    if each.name in names:
                        yield from each.elements(candidate)
            return
        for each in pods:
            for candidate in self._population.meeting(*each.places):
                yield from each.elements(candidate)

    # ------------------------------------------------------------ pods in their groups

    def _judge(self, again: _Again, draft: Draft) -> None:
        """Put this node's pods into their groups, and their addresses where these begin."""
        for name in again.pods | again.subjects:
            pod = self._owners.pod(name)
            if self._subjects.is_elsewhere(name, pod):
                continue
            addresses = self._owners.addresses(name)
            labels = self._population.labels(name.namespace) or {}
            old, new = self._subjects.place(name, pod, addresses, labels)
            self._contest(name, new)
            self._rulebook.move(old.groups if old else (), new.groups if new else ())
            again.addresses.update(addresses, old.addresses if old else ())
            for row in _dispatched(old):
                draft.drop(row.key)
            for row in _dispatched(new):
                draft.put(row)

    def _contest(self, name: ObjectName, subject: Subject | None) -> None:
        if subject is not None and self._owners.lost(name):
            self._contested.add(name)
        else:
            self._contested.discard(name)


def _dispatched(subject: Subject | None) -> Iterator[Element]:
    """A pod's addresses, each leading to its groups; the tier Admin is entrances.py's."""
    if subject is None:
        return
    words = str(subject.name)
    for group in subject.groups:
        for address in subject.addresses if group.level is not Level.ADMIN else ():
            table, name = TABLES[family_of(address)], dispatch(group.level, group.direction)
            yield Element(table, name, (address,), goto(group.chain), words)
            if group.level is Level.NAMESPACED:
                yield element(self_set(group.direction), address, (address, address), words)
                if group.direction is PolicyType.EGRESS:
                    yield element(ISOLATED_PODS, address, (address,), words)
