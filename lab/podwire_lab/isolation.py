"""Which policies there are, whom each selects, and which pods are isolated by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from podwire_core.objects import ClusterNetworkPolicy, NetworkPolicy, ObjectName, PolicyType
from podwire_core.snapshot import Snapshot
from podwire_lab.workloads import LabPod

#: By pod: the directions in which NetworkPolicies isolate it.
Isolated = dict[ObjectName, tuple[str, ...]]


class PolicyRow(msgspec.Struct, frozen=True):
    """One policy. pods: how many are its subjects now.

    directions: those in which a NetworkPolicy isolates them, or a ClusterNetworkPolicy has rules.
    tier: Admin or Baseline with its priority; "" of a NetworkPolicy.
    """

    kind: str
    namespace: str
    name: str
    directions: tuple[str, ...]
    pods: int
    tier: str = ""


def policy_rows(snapshot: Snapshot) -> tuple[tuple[PolicyRow, ...], Isolated]:
    """All policies, those of the cluster first in the order they are asked; and the pods."""
    pods = [pod for pod in snapshot.all(LabPod) if pod.ips]
    homes: dict[str, list[LabPod]] = {}
    for pod in pods:
        homes.setdefault(pod.name.namespace, []).append(pod)
    rows = _of_the_cluster(snapshot, pods)
    isolated: dict[ObjectName, set[PolicyType]] = {}
    for policy in snapshot.all(NetworkPolicy):
        subjects = [pod for pod in homes.get(policy.name.namespace, ()) if policy.selects(pod)]
        for pod in subjects:
            isolated.setdefault(pod.name, set()).update(policy.directions)
        words = _words(policy.directions)
        rows.append(PolicyRow("NetworkPolicy", *policy.name, words, len(subjects)))
    return tuple(rows), {name: _words(found) for name, found in isolated.items()}


def _of_the_cluster(snapshot: Snapshot, pods: Sequence[LabPod]) -> list[PolicyRow]:
    policies = snapshot.all(ClusterNetworkPolicy)
    return [
        PolicyRow(
            "ClusterNetworkPolicy",
            *policy.name,
            _words(each for each in PolicyType if policy.rules(each)),
            sum(policy.selects(pod, snapshot.namespace_labels(pod.name.namespace)) for pod in pods),
            f"{policy.tier} {policy.priority}",
        )
        for policy in sorted(policies, key=lambda each: (each.tier, each.priority, each.name))
    ]


def _words(directions: Iterable[PolicyType]) -> tuple[str, ...]:
    return tuple(sorted(each.lower() for each in directions))
