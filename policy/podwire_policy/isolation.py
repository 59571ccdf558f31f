"""Which policies isolate a pod, in which direction.

Pods that the same policies isolate are judged by the same rules, so they share one chain:
their isolation group. A group is known by its direction and its policies' names; when a
policy's rules change, the chain's rules change in place and no pod's element does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from podwire_core.nft.objects import digest
from podwire_core.objects import NetworkPolicy, ObjectName, Pod, PolicyType

#: Egress first: a connection inside one node is judged where it leaves, then where it arrives.
DIRECTIONS = (PolicyType.EGRESS, PolicyType.INGRESS)

#: Hex digits in names made from content. 64 bits, because users of many tenants choose the
#: content, and none may find another's name by trying.
DIGITS = 16


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """The policies, sorted by name, that isolate some pods of this node in one direction."""

    direction: PolicyType
    policies: tuple[ObjectName, ...]

    @property
    def chain(self) -> str:
        """`ingress-1a2b3c4d5e6f7a8b`."""
        names = " ".join(map(str, self.policies))
        return f"{self.direction.lower()}-{digest(names, DIGITS)}"

    @property
    def why(self) -> str:
        """What the drop at its end says."""
        return f"{self.direction.lower()} isolated by {', '.join(map(str, self.policies))}"


def groups_of(pod: Pod, policies: Iterable[NetworkPolicy]) -> tuple[Group, ...]:
    """The pod's groups: one a direction at most, none where nothing isolates it."""
    selecting = [policy for policy in policies if policy.selects(pod)]
    groups = []
    for direction in DIRECTIONS:
        names = sorted(policy.name for policy in selecting if direction in policy.directions)
        if names:
            groups.append(Group(direction, tuple(names)))
    return tuple(groups)


def is_subject(pod: Pod) -> bool:
    """Whether policies can isolate it: it owns addresses, or will when it has started.

    A pod that waits for its address has its chain already, so that its start is elements only.
    """
    return bool(pod.ips) or (pod.status.phase == "Pending" and not pod.spec.host_network)
