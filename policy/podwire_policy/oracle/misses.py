"""For a connection that was denied: the rule that came closest to allowing it, and what it lacked.

    closest   it means the other end, but not the port
    then      it means the port, but not the other end
    last      neither

Of two that came as close, a rule about the same protocol comes first, then the one that stands
first. What a cluster policy denies was not missed: then the answer is the rule that denies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from podwire_core.objects import EgressRule, IngressRule, NetworkPolicy, PolicyType
from podwire_policy.oracle import words
from podwire_policy.oracle.judgement import Decision, Judgement, RuleName, Side, policies
from podwire_policy.oracle.peers import any_peer
from podwire_policy.oracle.ports import any_port
from podwire_policy.oracle.question import Question
from podwire_policy.oracle.world import World


@dataclass(frozen=True, slots=True)
class _Miss:
    """A rule that did not allow it, and which of its halves would have."""

    policy: NetworkPolicy
    name: RuleName
    rule: IngressRule | EgressRule
    peer: bool
    port: bool
    protocol: bool

    @property
    def nearness(self) -> tuple[bool, bool, bool]:
        return self.peer, self.port, self.protocol


def misses(world: World, judgement: Judgement, direction: PolicyType | None = None) -> str:
    """What it would have taken, one sentence without its full stop; "" when it is allowed.

    direction: the side to explain; without it the first one that denies. world: of the snapshot
    that the judgement was made from; a Judge is one.
    """
    side = judgement.denied if direction is None else judgement.side(direction)
    if side is None or side.allowed:
        return ""
    if side.decision is not None:
        return _denying(world, side.decision)
    return side.unknown or _nearest(world, judgement.question, side)


def _denying(world: World, decision: Decision) -> str:
    policy = world.cluster_policy(decision.policy)
    if policy is None:
        return f"{decision} denies it"
    rule = policy.rules(decision.direction)[decision.rule]
    if rule.unknown:
        return f"{decision} denies everything, because {rule.unknown[0]} is not known here"
    return f"{decision} denies {words.cluster_rule(rule, decision.direction)}"


def _nearest(world: World, asked: Question, side: Side) -> str:
    found = max(_tried(world, asked, side.direction), key=lambda miss: miss.nearness, default=None)
    if found is None:
        have = "has" if len(side.isolated_by) == 1 else "have"
        rules = f"{side.direction.lower()} rule, and so nobody is allowed"
        return f"{policies(side.isolated_by)} {have} no {rules}"
    _, peer = asked.ends(side.direction)
    lacks = []
    if not found.peer:
        by_namespace = any(each.namespace_selector for each in found.rule.peers)
        who = words.end(world, peer, with_namespace=by_namespace)
        lacks.append(f"the {words.OTHER_END[side.direction]} is {who}")
    if not found.port:
        lacks.append(f"this is {words.port(asked)}")
    allows = words.rule(found.policy.name, found.rule, side.direction)
    return f"NetworkPolicy {found.name} allows {allows}, but {' and '.join(lacks)}"


def _tried(world: World, asked: Question, direction: PolicyType) -> Iterator[_Miss]:
    subject, peer = asked.ends(direction)
    for policy in world.isolating(subject.pod, direction) if subject.pod else ():
        for index, rule in enumerate(policy.rules(direction)):
            yield _Miss(
                policy,
                RuleName(policy.name, direction, index),
                rule,
                peer=any_peer(world, policy.name.namespace, rule.peers, peer),
                port=any_port(rule.ports, asked),
                protocol=any(row.protocol == asked.protocol for row in rule.ports or ()),
            )
