"""What is always there, whatever the policies: one base chain, two dispatch maps, one set.

    hook      priority   why there and nowhere else
    forward   0          after DNAT (prerouting, -100): a Service's packet names the pod behind
                         it; before SNAT (postrouting, 100): the source is still the pod. Only
                         traffic to and from pods' interfaces comes by.

"Traffic to and from the node where a pod is running is always allowed": what the node sends
to its own pods leaves by output, what pods send to their node enters by input, and no chain
of ours hangs there. That is how kubelet's probes pass every policy.

Established connections are accepted before anything is judged, so that replies need no rule
and a new policy cuts nobody off. Related ones are ICMP errors of such connections.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from podwire_core.family import Family
from podwire_core.nft.expressions import CT_STATE, Concat, Field, concat, daddr, saddr
from podwire_core.nft.objects import Chain, Hook, Rule, Set, Table
from podwire_core.nft.statements import ACCEPT, Match, Vmap, jump
from podwire_core.objects import PolicyType
from podwire_policy.isolation import DIRECTIONS
from podwire_policy.sets import Candidate, Members, Row

FORWARD = Hook("filter", "forward", 0)


@dataclass(frozen=True)
class Dispatch:
    """A map from this node's isolated pods to their group's chain."""

    direction: PolicyType

    @property
    def name(self) -> str:
        """`ingress-isolated`."""
        return f"{self.direction.lower()}-isolated"

    @property
    def question(self) -> str:
        """What the lookup asks, in words."""
        whose = "sender" if self.direction is PolicyType.EGRESS else "receiver"
        return f"is the {whose} isolated?"

    def key(self, family: Family) -> Field:
        """The address of the pod whose policies judge: the one that sends, or receives."""
        return saddr(family) if self.direction is PolicyType.EGRESS else daddr(family)

    def declare(self, table: Table) -> Set:
        """See sets.Members."""
        why = f"pods that policies isolate for {self.direction.lower()}"
        return Set(table, self.name, self.key(table.family), why, data="verdict")

    def rows(self, candidate: Candidate) -> Iterable[Row]:
        """Its addresses, each leading to its group of this direction."""
        for group in candidate.groups:
            if group.direction is self.direction:
                for address in candidate.addresses:
                    yield address, (address,), jump(group.chain)


@dataclass(frozen=True)
class Self:
    """Isolated pods of this node that talk to themselves, by way of a Service."""

    name: str = "self"

    @staticmethod
    def key(family: Family) -> Concat:
        """Who sends and who receives."""
        return concat(saddr(family), daddr(family))

    def declare(self, table: Table) -> Set:
        """See sets.Members."""
        return Set(table, self.name, self.key(table.family), "pods that talk to themselves")

    def rows(self, candidate: Candidate) -> Iterable[Row]:
        """Each of its addresses with itself; a pod has one of a family."""
        if candidate.groups:
            for address in candidate.addresses:
                yield address, (address, address), None


SELF = Self()
DISPATCH = tuple(Dispatch(direction) for direction in DIRECTIONS)

#: Sets of the skeleton; the base chain looks into all of them.
SETS: tuple[Members, ...] = (SELF, *DISPATCH)


def base_chain(table: Table) -> Chain:
    """Where every forwarded packet of the family begins.

    A group's chain returns when it allows, so that egress and then ingress are judged where
    both pods run on this node; what no map knows is isolated by nothing and goes on.
    """
    family = table.family
    rules = (
        Rule((Match(CT_STATE, ("established", "related")), ACCEPT), "judged when it began"),
        Rule((Match(SELF.key(family), set=SELF.name), ACCEPT), "a pod always reaches itself"),
        *(Rule((Vmap(each.key(family), each.name),), each.question) for each in DISPATCH),
    )
    return Chain(table, "forward", rules, FORWARD)
