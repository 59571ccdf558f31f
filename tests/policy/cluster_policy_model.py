"""ClusterNetworkPolicies in short spelling; what they mean is in test_cluster_policies.

cluster_policy("lock", subject=pods(match(app="web")), ingress=[deny(on=[tcp(80)])])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from podwire_core.objects import ClusterNetworkPolicy

Row = dict[str, Any]


def cluster_policy(
    name: str,
    *,
    tier: str = "Admin",
    priority: int = 0,
    subject: Row | None = None,
    ingress: Sequence[Row] = (),
    egress: Sequence[Row] = (),
    **others: Any,
) -> ClusterNetworkPolicy:
    """About every pod, unless a subject is named. others: further fields of spec."""
    spec = {
        "tier": tier,
        "priority": priority,
        "subject": {"namespaces": {}} if subject is None else subject,
        "ingress": [_with_ends(row, "from") for row in ingress],
        "egress": [_with_ends(row, "to") for row in egress],
        **others,
    }
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterNetworkPolicy)


def _with_ends(rule: Row, ends: str) -> Row:
    return {ends if key == "peers" else key: value for key, value in rule.items()}


def _rule(action: str, peers: Sequence[Row], on: Sequence[Row], others: Row) -> Row:
    ports = {"protocols": list(on)} if on else {}
    return {"action": action, "peers": list(peers) or [of_namespaces({})], **ports, **others}


def accept(*peers: Row, on: Sequence[Row] = (), **others: Any) -> Row:
    """A rule; without peers about every pod. on: ports. others: its name, or unknown fields."""
    return _rule("Accept", peers, on, others)


def deny(*peers: Row, on: Sequence[Row] = (), **others: Any) -> Row:
    """See accept."""
    return _rule("Deny", peers, on, others)


def pass_(*peers: Row, on: Sequence[Row] = (), **others: Any) -> Row:
    """See accept."""
    return _rule("Pass", peers, on, others)


def of_namespaces(selector: Row) -> Row:
    """Every pod of some namespaces: a peer, or a subject."""
    return {"namespaces": selector}


def of_pods(selector: Row, namespaces: Row | None = None) -> Row:
    """Some pods of some namespaces, or of all of them: a peer, or a subject."""
    where = {} if namespaces is None else {"namespaceSelector": namespaces}
    return {"pods": {"podSelector": selector, **where}}


def nodes(selector: Row) -> Row:
    return {"nodes": selector}


def networks(*cidrs: str) -> Row:
    return {"networks": list(cidrs)}


def tcp(first: int | None = None, last: int | None = None) -> Row:
    """A port, a range, or without any the whole protocol."""
    return _transport("tcp", first, last)


def udp(first: int | None = None, last: int | None = None) -> Row:
    return _transport("udp", first, last)


def sctp(first: int | None = None, last: int | None = None) -> Row:
    return _transport("sctp", first, last)


def _transport(protocol: str, first: int | None, last: int | None) -> Row:
    if first is None:
        return {protocol: {}}
    ports = {"number": first} if last is None else {"range": {"start": first, "end": last}}
    return {protocol: {"destinationPort": ports}}


def named_port(name: str) -> Row:
    return {"destinationNamedPort": name}
