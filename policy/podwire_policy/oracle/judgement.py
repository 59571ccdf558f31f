"""What the oracle answers: both sides of a connection, who decided each, and a sentence.

Side.allowed   because …                                      fields that are set
yes            nobody has a say                               none, or `exempt`
yes            it is itself, or its own node                  isolated_by, exempt
yes            a rule of a NetworkPolicy                      isolated_by, allowed_by
yes or no      a rule of a ClusterNetworkPolicy               decision
no             NetworkPolicies isolate, and none allows       isolated_by
no             nobody knows whose address it is               unknown
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from podwire_core.objects import Action, ObjectName, PolicyType, Tier
from podwire_policy.oracle.question import Question
from podwire_policy.reasons import Kind


class RuleName(NamedTuple):
    """One allow rule: `namespace/policy ingress[0]`."""

    policy: ObjectName
    direction: PolicyType
    rule: int

    def __str__(self) -> str:
        return f"{self.policy} {self.direction.lower()}[{self.rule}]"


class Decision(NamedTuple):
    """A rule of a ClusterNetworkPolicy that matched: `ClusterNetworkPolicy NAME egress[0] "why"`.

    name: the rule's own, "" where it has none.
    """

    tier: Tier
    policy: ObjectName
    direction: PolicyType
    rule: int
    name: str
    action: Action

    def __str__(self) -> str:
        quoted = f' "{self.name}"' if self.name else ""
        return f"ClusterNetworkPolicy {self.policy} {self.direction.lower()}[{self.rule}]{quoted}"


@dataclass(frozen=True, slots=True)
class Side:
    """One direction of a judgement: the source's egress, or the destination's ingress.

    subject: the pod whose policies judge, or an address that is no pod's.
    isolated_by: NetworkPolicies that isolate the pod, where the tier Admin left it to them.
    allowed_by: their rules that allow this. exempt: why policies do not matter here, or "".
    decision: a cluster policy's rule that decided; passed: those that left it to the next tier.
    unknown: why nobody knows whose address it is, although that matters, or "".
    """

    direction: PolicyType
    subject: ObjectName | str
    isolated_by: tuple[ObjectName, ...] = ()
    allowed_by: tuple[RuleName, ...] = ()
    exempt: str = ""
    decision: Decision | None = None
    passed: tuple[Decision, ...] = ()
    unknown: str = ""

    @property
    def isolated(self) -> bool:
        """Whether NetworkPolicies let pass only what they allow."""
        return bool(self.isolated_by)

    @property
    def denial(self) -> Kind | None:
        """What kind of decision denied this; None when it is allowed."""
        if self.unknown:
            return Kind.UNKNOWN
        if self.decision is not None:
            return Kind.DENIED if self.decision.action is Action.DENY else None
        allowed = self.allowed_by or self.exempt or not self.isolated_by
        return None if allowed else Kind.ISOLATED

    @property
    def allowed(self) -> bool:
        """Whether this side lets the connection be."""
        return self.denial is None

    @property
    def reason(self) -> str:
        """Why, in one sentence without its full stop."""
        if self.unknown or self.exempt:
            return self.unknown or self.exempt
        if self.decision is not None:
            does = "denies" if self.decision.action is Action.DENY else "accepts"
            return f"{self.decision} {does} it ({self.decision.tier} tier)"
        if self.allowed_by:
            verb = "allows" if len(self.allowed_by) == 1 else "allow"
            return f"NetworkPolicy {listed(self.allowed_by)} {verb} it"
        if self.isolated_by:
            one = len(self.isolated_by) == 1
            verbs = ("isolates", "does") if one else ("isolate", "do")
            return (
                f"{policies(self.isolated_by)} {verbs[0]} pod {self.subject} for "
                f"{self.direction.lower()} and {verbs[1]} not allow it"
            )
        if isinstance(self.subject, str):
            return f"{self.subject} is no pod's address, so that no policy speaks for it"
        return f"no policy denies it to pod {self.subject}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Both sides of what was asked; a connection needs both."""

    question: Question
    egress: Side
    ingress: Side

    @property
    def allowed(self) -> bool:
        """Whether the connection may be made."""
        return self.egress.allowed and self.ingress.allowed

    def side(self, direction: PolicyType) -> Side:
        """One of the two."""
        return self.egress if direction is PolicyType.EGRESS else self.ingress

    @property
    def denied(self) -> Side | None:
        """The side that denies first, on the packet's way; None when both allow."""
        return next((side for side in (self.egress, self.ingress) if not side.allowed), None)


_NAMED = 5  # a sentence names at most so many policies


def policies(names: tuple[ObjectName, ...]) -> str:
    """`NetworkPolicy shop/web`, `NetworkPolicies shop/a, shop/b`."""
    return f"NetworkPolic{'y' if len(names) == 1 else 'ies'} {listed(names)}"


def listed(names: tuple[object, ...]) -> str:
    """The first of them, and how many there are more."""
    shown = ", ".join(map(str, names[:_NAMED]))
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown
