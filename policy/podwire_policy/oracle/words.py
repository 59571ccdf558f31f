"""Rules and ends in words: `port 80/TCP from app=web`, `data/db (app=db)`. All of it bounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podwire_core.objects import (
    NAMESPACE_NAME_LABEL,
    ClusterPeer,
    ClusterPort,
    ClusterRule,
    EgressRule,
    IngressRule,
    IPBlock,
    ObjectName,
    PolicyPeer,
    PolicyPort,
    PolicyType,
    Protocol,
)
from podwire_core.selectors import LabelSelector
from podwire_policy.oracle.question import End, Question
from podwire_policy.oracle.world import World

_LISTED = 3  # peers, ports, CIDRs or labels; the others are counted
_LONGEST = 100  # characters of a selector

#: How a rule and a sentence name the other end.
PREPOSITION = {PolicyType.INGRESS: "from", PolicyType.EGRESS: "to"}
OTHER_END = {PolicyType.INGRESS: "source", PolicyType.EGRESS: "destination"}


def rule(policy: ObjectName, each: IngressRule | EgressRule, direction: PolicyType) -> str:
    """What a rule of a NetworkPolicy allows."""
    peers = _or(_peer(policy, peer) for peer in each.peers) or "anyone"
    return f"{_or(map(_port, each.ports or ())) or 'every port'} {PREPOSITION[direction]} {peers}"


def cluster_rule(each: ClusterRule, direction: PolicyType) -> str:
    """What a rule of a ClusterNetworkPolicy means."""
    peers = _or(map(_cluster_peer, each.peers))
    return f"{_or(map(_cluster_port, each.ports)) or 'every port'} {PREPOSITION[direction]} {peers}"


def port(asked: Question) -> str:
    """What was asked for: `port 81/TCP`, `ICMP`."""
    if asked.protocol not in set(Protocol):
        return asked.protocol
    return f"port {asked.port}/{asked.protocol}"


def end(world: World, each: End, *, with_namespace: bool = False) -> str:
    """An end, with what selectors would find in it."""
    if each.pod is None:
        return each.address
    labels = _labels(each.pod.labels)
    if with_namespace:
        of_namespace = world.namespace_labels(each.pod.name.namespace)
        others = {key: of_namespace[key] for key in of_namespace if key != NAMESPACE_NAME_LABEL}
        labels = f"{labels}; its namespace: {_labels(others)}"
    return f"{each.pod.name} ({labels})"


def _labels(labels: Mapping[str, str]) -> str:
    rows = [f"{key}={value}" for key, value in sorted(labels.items())]
    return _listed(rows, ", ") or "no labels"


def _peer(policy: ObjectName, peer: PolicyPeer) -> str:
    if peer.ip_block is not None:
        return _block(peer.ip_block)
    if peer.namespace_selector is None:
        return _pods(peer.pod_selector, f"pod of {policy.namespace}")
    where = _namespaces(peer.namespace_selector)
    return f"{_pods(peer.pod_selector, 'pod')} in {where}"


def _cluster_peer(peer: ClusterPeer) -> str:
    if peer.networks is not None:
        return _or(peer.networks)
    if peer.nodes is not None:
        return f"nodes with {_short(peer.nodes)}" if _says(peer.nodes) else "every node"
    if peer.pods is not None:
        where = _namespaces(peer.pods.namespace_selector)
        return f"{_pods(peer.pods.pod_selector, 'pod')} in {where}"
    return f"every pod in {_namespaces(peer.namespaces)}"


def _pods(selector: LabelSelector | None, pod: str) -> str:
    return _short(selector) if selector and _says(selector) else f"every {pod}"


def _namespaces(selector: LabelSelector | None) -> str:
    if selector is None or not _says(selector):
        return "every namespace"
    return f"namespaces with {_short(selector)}"


def _says(selector: LabelSelector) -> bool:
    return bool(selector.match_labels or selector.match_expressions)


def _short(selector: LabelSelector) -> str:
    text = selector.text
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _block(block: IPBlock) -> str:
    holes = _listed(list(block.except_ or ()), ", ")
    return f"{block.cidr} except {holes}" if holes else block.cidr


def _port(row: PolicyPort) -> str:
    if row.port is None:
        return f"every {row.protocol} port"
    if row.end_port and row.end_port != row.port:
        return f"ports {row.port}-{row.end_port}/{row.protocol}"
    return f"port {row.port}/{row.protocol}"


def _cluster_port(row: ClusterPort) -> str:
    if row.name:
        return f"port {row.name}"
    if row.first is None:
        return f"every {row.protocol} port"
    if row.last and row.last != row.first:
        return f"ports {row.first}-{row.last}/{row.protocol}"
    return f"port {row.first}/{row.protocol}"


def _or(rows: Iterable[str]) -> str:
    return _listed(list(dict.fromkeys(rows)), " or ")


def _listed(rows: list[str], between: str) -> str:
    more = f"{between}{len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
    return between.join(rows[:_LISTED]) + more
