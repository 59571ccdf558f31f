"""Which policies judge a pod: its groups, one a level and direction at most.

    level        policies                                       where no group is
    admin        ClusterNetworkPolicies of the tier Admin       on to the next level
    namespaced   NetworkPolicies: they isolate                  on to the next level
    baseline     ClusterNetworkPolicies of the tier Baseline    allowed

Pods that the same policies judge share one chain. A group is known by its level, its direction
and its policies' names in the order in which they are asked; when a policy's rules change, the
chain's rules change in place and no pod's element does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from podwire_core.nft.objects import digest
from podwire_core.objects import (
    ClusterNetworkPolicy,
    NetworkPolicy,
    ObjectName,
    Pod,
    PolicyType,
    Tier,
)

#: Egress first: a connection inside one node is judged where it leaves, then where it arrives.
DIRECTIONS = (PolicyType.EGRESS, PolicyType.INGRESS)

#: Hex digits in names made from content. 64 bits, because users of many tenants choose the
#: content, and none may find another's name by trying.
DIGITS = 16


class Level(StrEnum):
    """Who is asked, in this order."""

    ADMIN = "admin"
    NAMESPACED = "namespaced"
    BASELINE = "baseline"


_LEVELS = {Tier.ADMIN: Level.ADMIN, Tier.BASELINE: Level.BASELINE}


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """The policies that judge some pods of this node, on one level and in one direction.

    chain: `egress-1a2b3c4d5e6f7a8b`, with the level in front where it is a tier.
    """

    level: Level
    direction: PolicyType
    policies: tuple[ObjectName, ...]
    chain: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        tier = "" if self.level is Level.NAMESPACED else f"{self.level}-"
        names = digest(" ".join(map(str, self.policies)), DIGITS)
        object.__setattr__(self, "chain", f"{tier}{self.direction.lower()}-{names}")

    @property
    def why(self) -> str:
        """What the drop at the end of an isolating group says."""
        return f"{self.direction.lower()} isolated by {', '.join(map(str, self.policies))}"


def isolating(policies: Iterable[NetworkPolicy]) -> Iterable[Group]:
    """The groups of a pod that these NetworkPolicies select."""
    policies = list(policies)
    for direction in DIRECTIONS:
        names = sorted(policy.name for policy in policies if direction in policy.directions)
        if names:
            yield Group(Level.NAMESPACED, direction, tuple(names))


def of_tiers(policies: Iterable[ClusterNetworkPolicy]) -> Iterable[Group]:
    """The groups of a pod that these ClusterNetworkPolicies select; they come by their order."""
    policies = list(policies)
    for tier, level in _LEVELS.items():
        for direction in DIRECTIONS:
            names = (
                policy.name
                for policy in policies
                if policy.tier is tier and policy.rules(direction)
            )
            if found := tuple(names):
                yield Group(level, direction, found)


def is_subject(pod: Pod) -> bool:
    """Whether policies can be about it: it owns addresses, or will when it has started.

    A pod that waits for its address has its chain already, so that its start is elements only.
    """
    return bool(pod.ips) or (pod.status.phase == "Pending" and not pod.spec.host_network)
