"""NetworkPolicies' allow rules as nft rules, each of which ends in `return`.

That is: allowed in this direction, let the other one judge (see ways.py for the matches).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from podwire_core.errors import ObjectError
from podwire_core.family import Family, family_of
from podwire_core.nft.intervals import Span, span
from podwire_core.nft.statements import RETURN
from podwire_core.objects import (
    EgressRule,
    IngressRule,
    IPBlock,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyType,
)
from podwire_core.selectors import EVERYTHING
from podwire_policy import spans
from podwire_policy.sets import PodPeers
from podwire_policy.ways import ANY, Compiled, Ports, Way, compiled, joined, peer_ways, port_ways


def compile_policy(policy: NetworkPolicy, direction: PolicyType, family: Family) -> Compiled:
    """All allow rules of one policy in one direction for one family."""
    return joined(
        compiled(
            _peers(policy, direction, rule, family),
            port_ways([_ports(row) for row in rule.ports or ()], family),
            RETURN,
            f"{policy.name} {direction.lower()}[{index}]",
        )
        for index, rule in enumerate(policy.rules(direction))
    )


def _peers(
    policy: NetworkPolicy, direction: PolicyType, rule: IngressRule | EgressRule, family: Family
) -> Sequence[Way]:
    if not rule.peers:
        return [ANY]
    blocks = [peer.ip_block for peer in rule.peers if peer.ip_block is not None]
    pods = [pod_peers(policy, peer) for peer in rule.peers if peer.ip_block is None]
    return peer_ways(pods, allowed_spans(blocks, family), direction, family)


def pod_peers(policy: NetworkPolicy, peer: PolicyPeer) -> PodPeers:
    """A peer of pods: without namespaceSelector those of the policy's own namespace."""
    here = policy.name.namespace if peer.namespace_selector is None else ""
    return PodPeers(here, peer.namespace_selector, peer.pod_selector or EVERYTHING)


def _ports(row: PolicyPort) -> Ports:
    if isinstance(row.port, str):
        return Ports(row.protocol, name=row.port)
    return Ports(row.protocol, row.port, row.end_port or row.port)


def allowed_spans(blocks: Iterable[IPBlock], family: Family) -> tuple[Span, ...]:
    """Addresses of one family that any of the blocks holds; an except cuts its own block only."""
    return spans.merged(
        left
        for block in blocks
        if family_of(block.cidr) is family
        for left in spans.without(span(block.cidr), _holes(block, family))
    )


def _holes(block: IPBlock, family: Family) -> list[Span]:
    return [span(hole) for hole in block.except_ or () if family_of(hole) is family]


def useless_excepts(policy: NetworkPolicy, direction: PolicyType) -> Iterable[ObjectError]:
    """Excepts that cut nothing out of their CIDR.

    The API server refuses them today, old objects may have them: the block counts without.
    """
    word = "from" if direction is PolicyType.INGRESS else "to"
    for at, rule in enumerate(policy.rules(direction)):
        for peer_at, peer in enumerate(rule.peers):
            block = peer.ip_block
            for hole_at, hole in enumerate(block.except_ or () if block else ()):
                if block and not _overlap(hole, block.cidr):
                    peer_path = f"spec.{direction.lower()}[{at}].{word}[{peer_at}]"
                    yield ObjectError(
                        "",
                        f"NetworkPolicy {policy.name}",
                        f"{peer_path}.ipBlock.except[{hole_at}]",
                        f"{hole} is not inside {block.cidr} and cuts nothing out of it",
                    )


def _overlap(one: str, other: str) -> bool:
    if family_of(one) is not family_of(other):
        return False
    (first, last), (start, end) = span(one), span(other)
    return first <= end and start <= last
