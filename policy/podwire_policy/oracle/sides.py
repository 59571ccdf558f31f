"""One side of a connection: the six decisions, in their order (see the package)."""

from __future__ import annotations

from podwire_core.objects import (
    Action,
    ClusterRule,
    ObjectName,
    Pod,
    PolicyType,
    Tier,
)
from podwire_policy.oracle.judgement import Decision, Judgement, RuleName, Side
from podwire_policy.oracle.peers import any_cluster_peer, any_peer
from podwire_policy.oracle.ports import any_cluster_port, any_port
from podwire_policy.oracle.question import End, Question
from podwire_policy.oracle.world import World

ITSELF = "NetworkPolicies always let a pod reach itself"
OWN_NODE = "NetworkPolicies always let a pod reach its own node"
FROM_OWN_NODE = "a node always reaches its own pods"


def answer(world: World, asked: Question) -> Judgement:
    """Judge both sides of a connection."""
    egress = side(world, asked, PolicyType.EGRESS)
    return Judgement(asked, egress, side(world, asked, PolicyType.INGRESS))


def side(world: World, asked: Question, direction: PolicyType) -> Side:
    """Judge one side of it."""
    subject, peer = asked.ends(direction)
    own_node = peer.pod is None and peer.address in world.own_node(subject)
    if own_node and direction is PolicyType.INGRESS:
        return Side(direction, subject.name, exempt=FROM_OWN_NODE)
    if subject.pod is None:
        return Side(direction, subject.address, unknown=world.unknown(subject))
    admin = _first_match(world, asked, direction, Tier.ADMIN)
    if admin is not None and admin.action is not Action.PASS:
        return Side(direction, subject.name, decision=admin)
    passed = () if admin is None else (admin,)
    isolated_by, allowed_by = _allowing(world, asked, direction)
    if isolated_by:
        exempt = _exempt(subject.pod, peer, own_node=own_node)
        return Side(direction, subject.name, isolated_by, allowed_by, exempt, passed=passed)
    baseline = _first_match(world, asked, direction, Tier.BASELINE)
    if baseline is not None and baseline.action is Action.PASS:  # to nobody: it is the last tier
        return Side(direction, subject.name, passed=(*passed, baseline))
    return Side(direction, subject.name, decision=baseline, passed=passed)


def _exempt(subject: Pod, peer: End, *, own_node: bool) -> str:
    """What NetworkPolicies cannot forbid: a pod and itself, a pod and the node it runs on."""
    if peer.pod is not None and peer.pod.name == subject.name:
        return ITSELF
    return OWN_NODE if own_node else ""


def _allowing(
    world: World, asked: Question, direction: PolicyType
) -> tuple[tuple[ObjectName, ...], tuple[RuleName, ...]]:
    """NetworkPolicies that isolate the subject, and their rules that allow this: any will do."""
    subject, peer = asked.ends(direction)
    isolated_by: list[ObjectName] = []
    allowed_by: list[RuleName] = []
    for policy in world.isolating(subject.pod, direction) if subject.pod else ():
        name = policy.name
        isolated_by.append(name)
        for index, rule in enumerate(policy.rules(direction)):
            if any_peer(world, name.namespace, rule.peers, peer) and any_port(rule.ports, asked):
                allowed_by.append(RuleName(name, direction, index))
    return tuple(isolated_by), tuple(allowed_by)


def _first_match(
    world: World, asked: Question, direction: PolicyType, tier: Tier
) -> Decision | None:
    """The first rule of a tier that means this connection."""
    subject, _ = asked.ends(direction)
    for policy in world.concerning(subject.pod, tier) if subject.pod else ():
        for index, rule in enumerate(policy.rules(direction)):
            if _means(world, rule, asked, direction):
                action = Action.DENY if rule.unknown else rule.action
                return Decision(tier, policy.name, direction, index, rule.name, action)
    return None


def _means(world: World, rule: ClusterRule, asked: Question, direction: PolicyType) -> bool:
    """A rule with a field that is not known here accepts nothing; else it denies everything."""
    if rule.unknown:
        return rule.action is not Action.ACCEPT
    _, peer = asked.ends(direction)
    return any_cluster_peer(world, rule.peers, peer) and any_cluster_port(rule.ports, asked)
