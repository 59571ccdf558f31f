"""ClusterNetworkPolicies of a real API server, whose definition may come and go at any time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cluster_policy_kind as kind
import pytest
from control_plane import ADDRESS, TOKEN, ControlPlane, control_plane
from feed_reader import Reader

from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.cluster import FOUND_WITHIN_S, RESOURCES, ClusterFeed
from podwire_core.objects import (
    Action,
    ClusterNetworkPolicy,
    Namespace,
    NetworkPolicy,
    ObjectMeta,
    ObjectName,
    PolicyType,
    Protocol,
    Tier,
)

#: What an agent of the component policy reads, but for Pods and Nodes.
OF_POLICY = [
    replace(row, absent_s=1.0)
    for row in RESOURCES
    if row.kind in {Namespace, NetworkPolicy, ClusterNetworkPolicy}
]
EVERYONE: dict[str, Any] = {"namespaces": {}}
SPEC = {
    "tier": "Admin",
    "priority": 7,
    "subject": {"pods": {"podSelector": {"matchLabels": {"app": "web"}}}},
    "egress": [
        {
            "name": "to the nodes",
            "action": "Deny",
            "to": [{"nodes": {}}, {"networks": ["10.0.0.7/8"]}],
            "protocols": [{"tcp": {"destinationPort": {"range": {"start": 1, "end": 9}}}}],
        }
    ],
}


@contextmanager
def following(plane: ControlPlane, kubeconfig: Path | None = None) -> Iterator[Reader]:
    with plane.netns.inside():
        feed = ClusterFeed(ApiServer.connect(kubeconfig or plane.kubeconfig), OF_POLICY)
    with feed:
        yield Reader(feed)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as made:
        yield made


def test_a_new_kind_is_looked_for_often_enough() -> None:
    (row,) = (row for row in RESOURCES if row.kind is ClusterNetworkPolicy)
    assert row.optional
    assert row.absent_s == FOUND_WITHIN_S <= 30


def test_the_kind_comes_and_goes_while_the_agent_runs(plane: ControlPlane) -> None:
    with following(plane) as reader:
        reader.until("everything was read", lambda: reader.synced)
        assert reader.has(Namespace, "default", "")
        kind.teach(plane)
        kind.apply(plane, "guard", SPEC)
        reader.until("it was found", lambda: reader.has(ClusterNetworkPolicy, "guard", ""))
        _is_read_whole(reader.snapshot.get(ClusterNetworkPolicy, ObjectName("", "guard")))
        plane.request("DELETE", f"{kind.POLICIES}/guard")
        reader.until("it went", lambda: not reader.has(ClusterNetworkPolicy, "guard", ""))
        kind.apply(plane, "again", SPEC)
        reader.until("another came", lambda: reader.has(ClusterNetworkPolicy, "again", ""))
        kind.unteach(plane)
        reader.until("it went with it", lambda: not reader.has(ClusterNetworkPolicy, "again", ""))
        kind.teach(plane)
        kind.apply(plane, "anew", SPEC)
        reader.until("the kind is back", lambda: reader.has(ClusterNetworkPolicy, "anew", ""))
        assert reader.unread == {}
        kind.unteach(plane)


def _is_read_whole(found: ClusterNetworkPolicy | None) -> None:
    assert found is not None
    assert (found.tier, found.priority, found.unknown) == (Tier.ADMIN, 7, ())
    (rule,) = found.rules(PolicyType.EGRESS)
    assert (rule.action, rule.name) == (Action.DENY, "to the nodes")
    assert rule.peers[1].networks == ("10.0.0.0/8",)
    (port,) = rule.ports
    assert (port.protocol, port.first, port.last) == (Protocol.TCP, 1, 9)


def test_policies_go_with_a_kind_that_went_while_the_server_was_away(
    plane: ControlPlane, tmp_path: Path
) -> None:
    kind.teach(plane)
    kind.apply(plane, "stale", SPEC)
    other_way = f"https://{ADDRESS}:6443"
    config = plane.write_kubeconfig(tmp_path / "config", {"token": TOKEN}, other_way)
    with following(plane, config) as reader:
        reader.until("it is read", lambda: reader.has(ClusterNetworkPolicy, "stale", ""))
        plane.netns.run("nft", _NO_NEW_CONNECTIONS)
        plane.stop("kube-apiserver")
        plane.start_api_server()
        kind.unteach(plane)
        reader.read()
        assert reader.has(ClusterNetworkPolicy, "stale", ""), "nobody has told that it went"
        plane.netns.run("nft", "delete table ip away")
        reader.until("it went", lambda: not reader.has(ClusterNetworkPolicy, "stale", ""))
        reader.until("and nothing is wrong", lambda: reader.standing == ())


_NO_NEW_CONNECTIONS = (
    "add table ip away; "
    "add chain ip away output { type filter hook output priority 0; }; "
    f"add rule ip away output ip daddr {ADDRESS} tcp dport 6443 ct state new reject"
)


def test_a_kind_that_is_forbidden_is_unread_and_not_absent(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """Nothing is known of its policies; what they have put in force must not be taken for wrong."""
    kind.teach(plane)
    kind.apply(plane, "unseen", SPEC)
    token = plane.account("no-administrators", _RULES)
    config = plane.write_kubeconfig(tmp_path / "config", {"token": token})
    with following(plane, config) as reader:
        reader.until("the rest was read", lambda: reader.synced)
        assert list(reader.unread) == [ClusterNetworkPolicy]
        assert 'resource "clusternetworkpolicies"' in reader.unread[ClusterNetworkPolicy]
        more = {"apiGroups": ["policy.networking.k8s.io"], "resources": ["clusternetworkpolicies"]}
        rules = [*_RULES, {**more, "verbs": ["list", "watch"]}]
        path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/no-administrators"
        plane.request("PATCH", path, {"rules": rules})
        reader.until("it is read", lambda: reader.has(ClusterNetworkPolicy, "unseen", ""))
        assert reader.unread == {}
    kind.unteach(plane)


_RULES = [
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]},
    {
        "apiGroups": ["networking.k8s.io"],
        "resources": ["networkpolicies"],
        "verbs": ["list", "watch"],
    },
]


def test_what_the_server_refuses_is_what_podwire_refuses(plane: ControlPlane) -> None:
    kind.teach(plane)
    for name, spec in _WRONG.items():
        with pytest.raises(OSError, match="422"):
            kind.apply(plane, name.replace(" ", "-"), {**SPEC, **spec})
        with pytest.raises(ValueError, match="spec"):
            ClusterNetworkPolicy(ObjectMeta(name.replace(" ", "-")), {**SPEC, **spec})
    kind.unteach(plane)


def _egress(**changes: Any) -> dict[str, Any]:
    return {"egress": [{"action": "Deny", "to": [EVERYONE], **changes}]}


_WRONG: dict[str, dict[str, Any]] = {
    "a priority above": {"priority": 1001},
    "another tier": {"tier": "Middle"},
    "no subject": {"subject": None},
    "two subjects": {"subject": {"namespaces": {}, "pods": {"podSelector": {}}}},
    "too many rules": {"egress": _egress()["egress"] * 26},
    "another action": _egress(action="Log"),
    "a long name": _egress(name="n" * 101),
    "no peers": _egress(to=[]),
    "too many peers": _egress(to=[EVERYONE] * 26),
    "no protocols": _egress(protocols=[]),
    "two in one peer": _egress(to=[{"namespaces": {}, "nodes": {}}]),
    "no network": _egress(to=[{"networks": ["10.0.0.0"]}]),
    "a port of zero": _egress(protocols=[{"tcp": {"destinationPort": {"number": 0}}}]),
    "an empty range": _egress(
        protocols=[{"tcp": {"destinationPort": {"range": {"start": 9, "end": 9}}}}]
    ),
    "a name of a network's port": _egress(
        to=[{"networks": ["10.0.0.0/8"]}], protocols=[{"destinationNamedPort": "web"}]
    ),
}
