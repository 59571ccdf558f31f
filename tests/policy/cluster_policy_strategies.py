"""Hypothesis strategies, beside policy_strategies: ClusterNetworkPolicies, attachments, podCIDRs.

Everything here concerns the pods, namespaces and addresses of policy_strategies.
"""

from __future__ import annotations

from typing import Any

import msgspec
from cluster_policy_model import (
    Row,
    cluster_policy,
    named_port,
    networks,
    nodes,
    of_namespaces,
    of_pods,
    sctp,
    tcp,
    udp,
)
from hypothesis import strategies as st
from policy_model import NODES
from policy_strategies import CIDRS, IPV4, IPV6, NAMES, NUMBERS, UIDS, clusters, selectors

from podwire_core.objects import Attached, KubernetesObject, Node, ObjectName

POD_CIDRS = {"n1": ["10.0.0.0/24", "fd00::/64"], "n2": ["10.0.1.0/24", "fd00:1::/64"]}
UNKNOWN = {"telepathy": True}

_PODS = st.one_of(
    st.builds(of_namespaces, selectors()),
    st.builds(of_pods, selectors(), st.none() | selectors()),
)
_NETWORKS = st.lists(st.sampled_from(CIDRS), min_size=1, max_size=3).map(lambda row: networks(*row))
_ADDRESSES = st.one_of(st.builds(nodes, selectors()), _NETWORKS)
_UNKNOWN_PEER = st.just({"domainNames": ["*.example.org"]})
_TRANSPORTS = st.sampled_from([tcp, udp, sctp])
_PORTS = st.one_of(
    _TRANSPORTS.map(lambda transport: transport()),
    st.builds(lambda transport, port: transport(port), _TRANSPORTS, NUMBERS),
    st.builds(lambda transport, port: transport(port, port + 9), _TRANSPORTS, NUMBERS),
)
_NAMED_PORTS = st.builds(named_port, st.sampled_from(["web", "dns", "none"]))


@st.composite
def _rules(draw: st.DrawFn, *, egress: bool) -> Row:
    """A rule that the API takes: named ports go with pods only."""
    named = draw(st.booleans())
    peers = _PODS if named or not egress else st.one_of(_PODS, _ADDRESSES)
    ports = st.one_of(_PORTS, _NAMED_PORTS) if named else _PORTS
    rule: Row = {
        "action": draw(st.sampled_from(["Accept", "Deny", "Pass"])),
        "peers": draw(st.lists(peers, min_size=1, max_size=2)),
    }
    if rows := draw(st.lists(ports, max_size=2)):
        rule["protocols"] = rows
    match draw(st.integers(0, 19)):
        case 0:
            rule.update(UNKNOWN)
        case 1:
            rule["peers"] = [draw(_UNKNOWN_PEER)]
    return rule


@st.composite
def cluster_policies(draw: st.DrawFn) -> KubernetesObject:
    """Of both tiers; priorities meet often."""
    subject = draw(_PODS) if draw(st.integers(0, 19)) else UNKNOWN
    return cluster_policy(
        draw(st.sampled_from(["c1", "c2", "c3"])),
        tier=draw(st.sampled_from(["Admin", "Baseline"])),
        priority=draw(st.integers(0, 2)),
        subject=subject,
        ingress=draw(st.lists(_rules(egress=False), max_size=2)),
        egress=draw(st.lists(_rules(egress=True), max_size=2)),
    )


@st.composite
def attachments(draw: st.DrawFn) -> KubernetesObject:
    """An address that a node gave to a pod, known or not, or to something that is no pod."""
    name = draw(st.sampled_from("abcd"))
    pod = draw(st.sampled_from([ObjectName(draw(NAMES), name), None]))
    addresses = tuple(draw(st.sampled_from(pool)) for pool in (IPV4, IPV6))
    return Attached.of(f"eth0-{name}", pod, addresses, draw(st.sampled_from(UIDS)))


@st.composite
def described_nodes(draw: st.DrawFn) -> list[KubernetesObject]:
    """Both nodes, with labels; mostly with podCIDRs."""
    found: list[KubernetesObject] = []
    for name, addresses in NODES.items():
        rows = [{"type": "InternalIP", "address": address} for address in addresses]
        labels = {"k": draw(st.sampled_from("12"))}
        spec: dict[str, Any] = {"podCIDRs": POD_CIDRS[name]} if draw(st.integers(0, 3)) else {}
        document = {"metadata": {"name": name, "labels": labels}, "spec": spec,
                    "status": {"addresses": rows}}  # fmt: skip
        found.append(msgspec.convert(document, Node))
    return found


@st.composite
def moving_nodes(draw: st.DrawFn) -> KubernetesObject:
    """A Node as it may become: with other podCIDRs, and addresses of its own inside someone's."""
    name = draw(st.sampled_from(sorted(NODES)))
    addresses = [*NODES[name], *draw(st.lists(st.sampled_from([*IPV4, *IPV6]), max_size=2))]
    document = {
        "metadata": {"name": name, "labels": {"k": draw(st.sampled_from("12"))}},
        "spec": {"podCIDRs": draw(st.sampled_from([[], *POD_CIDRS.values(), ["10.0.0.0/23"]]))},
        "status": {"addresses": [{"type": "InternalIP", "address": each} for each in addresses]},
    }
    return msgspec.convert(document, Node)


@st.composite
def whole_clusters(draw: st.DrawFn) -> list[KubernetesObject]:
    """With Nodes' podCIDRs, attachments and cluster policies, each in some of them."""
    objects = list(draw(clusters()))
    if draw(st.booleans()):
        objects += draw(described_nodes())
    if draw(st.booleans()):
        objects += draw(st.lists(cluster_policies(), min_size=1, max_size=3))
    if draw(st.booleans()):
        objects += draw(st.lists(attachments(), min_size=1, max_size=3))
    return objects
