"""What is odd about a policy that comes, though it can be judged; a sentence each. Pure.

a field that nobody reads        a misspelt rule is no rule
a name, an except                a cluster would refuse the object
no namespace, no pod             it changes nothing now
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network

from podwire_core.objects import ClusterNetworkPolicy, Namespace, NetworkPolicy, ObjectName
from podwire_core.objects.policies import IPBlock, PolicyType
from podwire_core.objects.unread import Unread
from podwire_core.snapshot import Snapshot

Policy = NetworkPolicy | ClusterNetworkPolicy

#: What an API server takes for the name of a policy (RFC 1123).
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_REFUSED = "an API server refuses it"


def doubts(
    policy: Policy, unread: Sequence[Unread], selects: int, snapshot: Snapshot
) -> Iterator[str]:
    """unread: what its document says and nobody reads. selects: how many pods are its subjects."""
    who = f"{type(policy).__name__} {policy.name}"
    found = (*_about_text(policy, unread), *_about_subjects(policy, selects, snapshot))
    return (f"{who}: {sentence}" for sentence in found)


def _about_text(policy: Policy, unread: Sequence[Unread]) -> Iterator[str]:
    for field in unread:
        yield f"{field.path} {field.reason(type(policy).__name__)}"
    if not _NAME.fullmatch(policy.metadata.name):
        yield f"metadata.name: {_REFUSED}: use a-z, 0-9, - and ."
    if isinstance(policy, NetworkPolicy):
        yield from _outside(policy)
    else:
        for path in _innermost(policy.unknown):
            yield f"{path} is not known here, {policy.consequence(path)}"


def _innermost(paths: Sequence[str]) -> list[str]:
    """Without a peer's path where there is that of a field in it."""
    return [each for each in paths if not any(other.startswith(f"{each}.") for other in paths)]


def _outside(policy: NetworkPolicy) -> Iterator[str]:
    """Excepts that cut nothing out of their block."""
    for direction, section in ((PolicyType.INGRESS, "from"), (PolicyType.EGRESS, "to")):
        for at, rule in enumerate(policy.rules(direction)):
            for number, peer in enumerate(rule.peers):
                if block := peer.ip_block:
                    path = f"spec.{direction.lower()}[{at}].{section}[{number}].ipBlock.except"
                    yield from (f"{path}: {sentence}" for sentence in _useless(block))


def _useless(block: IPBlock) -> Iterator[str]:
    cidr = ip_network(block.cidr)
    for hole in block.except_ or ():
        if not _is_part(ip_network(hole), cidr):
            yield f"{hole} is no part of {cidr}: {_REFUSED}"


def _is_part(hole: IPv4Network | IPv6Network, cidr: IPv4Network | IPv6Network) -> bool:
    """Whether it is smaller, and inside."""
    inside = hole.network_address in cidr and hole.broadcast_address in cidr
    return inside and hole.prefixlen > cidr.prefixlen


def _about_subjects(policy: Policy, selects: int, snapshot: Snapshot) -> Iterator[str]:
    home = policy.name.namespace
    if home and snapshot.has(Namespace) and not snapshot.get(Namespace, ObjectName("", home)):
        known = [each.metadata.name for each in snapshot.all(Namespace)]
        near = get_close_matches(home, known, n=1)
        yield f"there is no namespace {home} now" + (f": did you mean {near[0]}?" if near else "")
    elif selects == 0:
        yield "it selects no pod now"
