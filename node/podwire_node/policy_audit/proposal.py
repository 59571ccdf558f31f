"""What someone means to apply: policies that come, and policies that go. Pure.

A policy replaces the one of its kind and name, as `kubectl apply` would. Files mostly hold more
than policies; those objects are counted and left out, because they allow and deny nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podwire_core.errors import ObjectError
from podwire_core.feed.decode import decode, kind_of
from podwire_core.objects import ClusterNetworkPolicy, NetworkPolicy, ObjectName, Pod
from podwire_core.objects.unread import Unread, unread
from podwire_core.snapshot import Change, Kind, Snapshot
from podwire_node.policy_audit.answer import PolicyRow
from podwire_node.policy_audit.doubts import Policy, doubts

KINDS: dict[tuple[str, str], Kind] = {
    ("networking.k8s.io", "NetworkPolicy"): NetworkPolicy,
    ("policy.networking.k8s.io", "ClusterNetworkPolicy"): ClusterNetworkPolicy,
}
#: The versions in which these kinds are read here; other versions have other fields.
_VERSIONS: dict[Kind, str] = {
    NetworkPolicy: "networking.k8s.io/v1",
    ClusterNetworkPolicy: "policy.networking.k8s.io/v1alpha2",
}
MAX_POLICIES = 5000
_MOST_DOUBTS = 20


class ProposalError(ValueError):
    """A proposal that cannot be judged: every mistake on a line of its own."""


@dataclass(frozen=True)
class Proposal:
    """Policies that come or replace others, and names of those that go.

    unread: fields of NetworkPolicies that nobody reads. A ClusterNetworkPolicy tells its own.
    twice: policies that came more than once, of which the last counts.
    """

    policies: tuple[Policy, ...] = ()
    deleted: tuple[tuple[Kind, ObjectName], ...] = ()
    unread: Mapping[ObjectName, Sequence[Unread]] = field(default_factory=dict)
    twice: tuple[str, ...] = ()

    def applied_to(self, snapshot: Snapshot) -> Snapshot:
        """The objects as they would be. Raises ProposalError when what is to go is not there."""
        found = snapshot.copy()
        missing = [str(name) for kind, name in self.deleted if snapshot.get(kind, name) is None]
        if missing:
            raise ProposalError(f"--delete: there is no policy {', '.join(missing)}")
        for each in self.policies:
            found.apply(Change(type(each), each.name, each))
        for kind, name in self.deleted:
            found.apply(Change(kind, name, None))
        return found

    def subjects(self, snapshot: Snapshot) -> frozenset[ObjectName]:
        """Pods for which something may change: these policies select them, or did until now."""
        known = (snapshot.get(type(each), each.name) for each in self.policies)
        gone = (snapshot.get(kind, name) for kind, name in self.deleted)
        subjects = _Subjects(snapshot)
        return frozenset(
            pod.name
            for each in (*self.policies, *known, *gone)
            if isinstance(each, NetworkPolicy | ClusterNetworkPolicy)
            for pod in subjects.of(each)
        )

    def rows(self, snapshot: Snapshot) -> Iterator[PolicyRow]:
        """What it does to each policy, and how many pods that concerns."""
        subjects = _Subjects(snapshot)
        for policy in self.policies:
            old = snapshot.get(type(policy), policy.name)
            change = "new" if old is None else "unchanged" if old == policy else "changed"
            yield self._row(policy, change, subjects)
        for kind, name in self.deleted:
            gone = snapshot.get(kind, name)
            if isinstance(gone, NetworkPolicy | ClusterNetworkPolicy):
                yield self._row(gone, "deleted", subjects)

    def doubts(self, snapshot: Snapshot) -> list[str]:
        """What is odd about the policies that come; the first of it."""
        subjects = _Subjects(snapshot)
        found = [f"{name} stands here more than once: the last counts" for name in self.twice]
        found += [
            sentence
            for policy in self.policies
            for sentence in doubts(
                policy, self._unread_of(policy), len(subjects.of(policy)), snapshot
            )
        ]
        more = len(found) - _MOST_DOUBTS
        return found[:_MOST_DOUBTS] + ([f"and {more} more like these"] if more > 0 else [])

    def _row(self, policy: Policy, change: str, subjects: _Subjects) -> PolicyRow:
        unknown = tuple(row.path for row in self._unread_of(policy))
        if isinstance(policy, ClusterNetworkPolicy):
            unknown = policy.unknown
        selected = len(subjects.of(policy))
        return PolicyRow(type(policy).__name__, str(policy.name), change, selected, unknown)

    def _unread_of(self, policy: Policy) -> Sequence[Unread]:
        return self.unread.get(policy.name, ()) if isinstance(policy, NetworkPolicy) else ()


class _Subjects:
    """Pods by namespace: a thousand policies are not compared with every pod there is.

    hostNetwork and finished pods own no address, so that policies mean nothing to them.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._pods: dict[str, list[Pod]] = {}
        for pod in snapshot.all(Pod):
            if pod.ips:
                self._pods.setdefault(pod.name.namespace, []).append(pod)

    def of(self, policy: Policy) -> list[Pod]:
        """Whom a policy selects."""
        if isinstance(policy, NetworkPolicy):
            return [pod for pod in self._pods.get(policy.name.namespace, ()) if policy.selects(pod)]
        return [
            pod
            for namespace, pods in self._pods.items()
            for labels in (self._snapshot.namespace_labels(namespace),)
            for pod in pods
            if policy.selects(pod, labels)
        ]


def policies_among(
    documents: Iterable[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], Counter[str]]:
    """The policies, and how many objects there are of each other kind.

    What is called a policy and is none of ours is counted with its apiVersion.
    """
    policies: list[Mapping[str, Any]] = []
    others: Counter[str] = Counter()
    for document in documents:
        if kind_of(document, KINDS):
            policies.append(document)
        else:
            others[_called(document)] += 1
    return policies, others


def _called(document: Mapping[str, Any]) -> str:
    kind = str(document.get("kind", "object without a kind"))[:60]
    if not kind.endswith("NetworkPolicy"):
        return kind
    return f"{kind} of {str(document.get('apiVersion', 'no apiVersion'))[:60]}"


def proposal(
    documents: Sequence[Mapping[str, Any]], deleted: Sequence[str], source: str
) -> Proposal:
    """Documents of policies and names, read. Raises ProposalError, which names every mistake.

    deleted: NAMESPACE/NAME for a NetworkPolicy, NAME for a ClusterNetworkPolicy.
    """
    if len(documents) > MAX_POLICIES:
        raise ProposalError(f"{source}: holds more than {MAX_POLICIES} policies")
    policies: dict[tuple[Kind, ObjectName], Policy] = {}
    fields: dict[ObjectName, Sequence[Unread]] = {}
    twice: dict[str, None] = {}
    wrong: list[str] = []
    for document in documents:
        try:
            policy = _decoded(document, source)
        except ObjectError as error:
            wrong.append(str(error))
        else:
            if (type(policy), policy.name) in policies:
                twice[f"{type(policy).__name__} {policy.name}"] = None
            policies[type(policy), policy.name] = policy
            if isinstance(policy, NetworkPolicy):
                fields[policy.name] = unread(document, NetworkPolicy)
    if wrong:
        raise ProposalError("\n".join(wrong))
    gone = tuple(map(_named, deleted))
    return Proposal(tuple(policies.values()), gone, fields, tuple(twice))


def _decoded(document: Mapping[str, Any], source: str) -> Policy:
    kind = kind_of(document, KINDS)
    found = decode(document, kind, source) if kind else None
    if not isinstance(found, NetworkPolicy | ClusterNetworkPolicy):
        what = str(document.get("kind", ""))[:60]
        raise ObjectError(source, what, "", "is no NetworkPolicy and no ClusterNetworkPolicy")
    if (version := document["apiVersion"]) != _VERSIONS[type(found)]:
        label = f"{type(found).__name__} {found.name}"
        advice = f"{version[:80]} is not read here: use {_VERSIONS[type(found)]}"
        raise ObjectError(source, label, "apiVersion", advice)
    return found


def _named(words: str) -> tuple[Kind, ObjectName]:
    namespace, slash, name = words.partition("/")
    if not words or (slash and not (namespace and name)) or "/" in name:
        raise ProposalError(
            f"--delete {words[:80]!r}: write NAMESPACE/NAME for a NetworkPolicy, or NAME for a "
            "ClusterNetworkPolicy"
        )
    if slash:
        return NetworkPolicy, ObjectName(namespace, name)
    return ClusterNetworkPolicy, ObjectName("", words)
