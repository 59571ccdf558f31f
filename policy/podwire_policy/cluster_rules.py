"""ClusterNetworkPolicies' rules as nft rules, in the order in which they are asked.

    action   in the tier Admin           in the tier Baseline
    Accept   return: allowed             return
    Deny     goto denied-…               goto denied-…
    Pass     goto egress-namespaced      return: there is nobody to pass it to

A rule with unknown fields fails closed, as the API says: Accept matches nothing, Deny and Pass
are a Deny of everything. Each Deny has a chain of its own, so that its log says which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec import structs

from podwire_core.errors import ObjectError
from podwire_core.family import Family, family_of
from podwire_core.nft.intervals import span
from podwire_core.nft.objects import digest
from podwire_core.nft.statements import RETURN, Verdict, goto
from podwire_core.objects import (
    Action,
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterPort,
    ClusterRule,
    PolicyType,
    Tier,
)
from podwire_core.selectors import EVERYTHING
from podwire_policy import spans
from podwire_policy.groups import DIGITS
from podwire_policy.reasons import Kind, PolicyName, Reason
from podwire_policy.sets import NodePeers, PodPeers
from podwire_policy.ways import ANY, Compiled, Ports, Way, compiled, joined, peer_ways, port_ways


@dataclass(frozen=True)
class Named:
    """One rule, and where it stands."""

    policy: ClusterNetworkPolicy
    direction: PolicyType
    index: int
    rule: ClusterRule

    @property
    def why(self) -> str:
        """Where it stands, and its own name, without quotes, which nft's comments take none of."""
        words = f"{self.policy.name} {self.direction.lower()}[{self.index}]"
        return f"{words} {self.rule.name}" if self.rule.name else words

    @property
    def action(self) -> Action:
        """What it does, which for one that is not understood is to deny."""
        failed = self.rule.unknown and self.rule.action is Action.PASS
        return Action.DENY if failed else self.rule.action

    @property
    def denied(self) -> Reason:
        """What the chain of its own stands for."""
        way = self.direction.lower()
        quoted = f' "{self.rule.name}"' if self.rule.name else ""
        return Reason(
            f"denied-{way}-{digest(f'{self.policy.name} {self.index}', DIGITS)}",
            Kind.DENIED,
            self.direction,
            (PolicyName("ClusterNetworkPolicy", self.policy.name),),
            f"ClusterNetworkPolicy {self.policy.name} {way}[{self.index}]{quoted}",
        )


def compile_cluster_policy(
    policy: ClusterNetworkPolicy, direction: PolicyType, family: Family
) -> Compiled:
    """All rules of one policy in one direction for one family."""
    return joined(_compile(each, family) for each in _rules(policy, direction))


def denials(policy: ClusterNetworkPolicy, direction: PolicyType) -> Iterable[Reason]:
    """The chains that its Deny rules lead to."""
    return (each.denied for each in _rules(policy, direction) if each.action is Action.DENY)


def refuse(
    policy: ClusterNetworkPolicy, direction: PolicyType
) -> tuple[Compiled, tuple[Reason, ...]]:
    """A policy that is too large: its first rule that would not accept denies everything."""
    for index, rule in enumerate(policy.rules(direction)):
        if rule.action is not Action.ACCEPT:
            failed = Named(policy, direction, index, structs.replace(rule, unknown=("",)))
            verdict = _verdict(failed)
            return compiled([ANY], [ANY], verdict, failed.why), (failed.denied,)
    return Compiled(), ()


def unknown_fields(policy: ClusterNetworkPolicy) -> Iterable[ObjectError]:
    """What it says that is not understood."""
    who = f"ClusterNetworkPolicy {policy.name}"
    for path in policy.unknown:
        yield ObjectError("", who, path, f"is not known here, {policy.consequence(path)}")


def _rules(policy: ClusterNetworkPolicy, direction: PolicyType) -> Iterator[Named]:
    for index, rule in enumerate(policy.rules(direction)):
        if not (rule.unknown and rule.action is Action.ACCEPT):
            yield Named(policy, direction, index, rule)


def _compile(each: Named, family: Family) -> Compiled:
    if each.rule.unknown:
        return compiled([ANY], [ANY], _verdict(each), each.why)
    peers = _peers(each.rule.peers, each.direction, family)
    ports = port_ways([_ports(row) for row in each.rule.ports], family)
    return compiled(peers, ports, _verdict(each), each.why)


def _verdict(each: Named) -> Verdict:
    if each.action is Action.DENY:
        return goto(each.denied.chain)
    if each.action is Action.PASS and each.policy.tier is Tier.ADMIN:
        return goto(f"{each.direction.lower()}-namespaced")
    return RETURN


def _peers(peers: Iterable[ClusterPeer], direction: PolicyType, family: Family) -> Sequence[Way]:
    selected: list[PodPeers | NodePeers] = []
    cidrs: list[str] = []
    for peer in peers:
        cidrs += [cidr for cidr in peer.networks or () if family_of(cidr) is family]
        if peer.namespaces is not None:
            selected.append(PodPeers("", peer.namespaces, EVERYTHING))
        if peer.pods is not None:
            pods = peer.pods
            selected.append(PodPeers("", pods.namespace_selector, pods.pod_selector))
        if peer.nodes is not None:
            selected.append(NodePeers(peer.nodes))
    return peer_ways(selected, spans.merged(map(span, cidrs)), direction, family)


def _ports(row: ClusterPort) -> Ports:
    return Ports(row.protocol, row.first, row.last, row.name)
