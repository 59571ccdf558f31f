"""Connections judged twice: what changes, for whom, and who decides it."""

from __future__ import annotations

from collections.abc import Sequence

import small_shop
from small_shop import OUTSIDE, address

from podwire_core.objects import Protocol
from podwire_node.policy_audit.comparison import MAX_ROWS, Compared, compare
from podwire_node.policy_audit.connections import Connection
from podwire_node.policy_audit.proposal import proposal


def dialled(source: str, destination: str, port: int, version: int = 4) -> Connection:
    ends = [
        address(end, version) if end in small_shop.PODS else end for end in (source, destination)
    ]
    return Connection(*ends, Protocol.TCP, port)


SEEN = [
    dialled("shop/web", "shop/api-1", 8080),
    dialled("shop/web", "shop/api-1", 8080, 6),
    dialled("shop/web", "shop/api-2", 8080),
    dialled("shop/cron", "shop/api-1", 8080),
    dialled(OUTSIDE, "shop/cron", 22),
    dialled("shop/cron", "192.168.77.2", 10250),
]


def tried(
    *policies: small_shop.Document, deleted: Sequence[str] = (), seen: Sequence[Connection] = SEEN
) -> Compared:
    before, change = small_shop.snapshot(), proposal(policies, deleted, "f")
    after = change.applied_to(before)
    found = compare(before, after, seen, change.subjects(before))
    assert found == compare(before, after, seen), "leaving out who is no subject changes nothing"
    return found


def test_nothing_changes_where_the_same_is_applied_again() -> None:
    found = tried(*small_shop.POLICIES)
    assert (found.newly_denied, found.newly_allowed) == (0, 0)
    assert (found.still_allowed, found.still_denied) == (5, 1)
    assert not found.denied_rows


def test_what_would_be_denied_is_grouped_counted_and_has_its_policy() -> None:
    found = tried(small_shop.policy("shop/api", "api", ingress=[]))
    assert found.newly_denied == 3
    first, second = found.denied_rows
    assert (first.source, first.destination, first.connections) == ("shop/web", "shop/api-1", 2)
    assert (first.port, first.protocol) == (8080, "TCP")
    assert first.example == "10.244.1.4 → 10.244.2.4"
    assert "shop/api" in first.reason
    assert "no ingress rule" in first.nearest_miss
    assert second.destination == "shop/api-2"


def test_what_would_be_allowed_names_who_allows_it() -> None:
    found = tried(deleted=["shop/api"])
    assert (found.newly_denied, found.newly_allowed) == (0, 1)
    (row,) = found.allowed_rows
    assert (row.source, row.destination) == ("shop/cron", "shop/api-1")
    assert "no policy denies it" in row.reason
    assert row.nearest_miss == ""


def test_an_end_that_is_no_pod_is_its_node_or_outside() -> None:
    found = tried(small_shop.policy("shop/cron", "cron", policyTypes=["Ingress", "Egress"]))
    assert {(row.source, row.destination) for row in found.denied_rows} == {
        ("outside", "shop/cron"),
        ("shop/cron", "node2"),
    }


def test_a_cluster_policy_is_tried_like_any_other() -> None:
    rule = {"name": "no api", "action": "Deny", "from": [{"namespaces": {}}]}
    found = tried(small_shop.cluster_policy("lock", 1, ingress=[rule]))
    assert found.newly_denied == 3
    assert 'ClusterNetworkPolicy lock ingress[0] "no api" denies it' in found.denied_rows[0].reason


def test_rows_are_bounded_and_counts_are_not() -> None:
    many = [dialled(OUTSIDE, "shop/cron", port) for port in range(1, MAX_ROWS + 101)]
    found = tried(small_shop.policy("shop/cron", "cron"), seen=many)
    assert found.newly_denied == MAX_ROWS + 100
    assert len(found.denied_rows) == MAX_ROWS
