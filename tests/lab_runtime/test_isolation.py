"""Which policies a lab has, and whom they isolate."""

from __future__ import annotations

from typing import Any

import small_shop

from podwire_core.feed.decode import decode, kind_of
from podwire_core.objects import ObjectName
from podwire_core.snapshot import Snapshot
from podwire_lab.isolation import PolicyRow, policy_rows
from podwire_lab.workloads import LAB_KINDS


def lab(*policies: dict[str, Any]) -> Snapshot:
    rows = small_shop.documents(policies)
    for row in rows:
        if row["kind"] == "Pod":
            row["spec"] |= {"containers": [{"name": "main"}]}
    kinds = {row["kind"]: kind_of(row, LAB_KINDS) for row in rows}
    return Snapshot([decode(row, kind, "f") for row in rows if (kind := kinds[row["kind"]])])


def test_a_pods_directions_are_those_of_all_its_networkpolicies_together() -> None:
    rows, isolated = policy_rows(lab(*small_shop.POLICIES))
    assert rows == (
        PolicyRow("NetworkPolicy", "data", "closed", ("ingress",), 1),
        PolicyRow("NetworkPolicy", "shop", "api", ("ingress",), 2),
        PolicyRow("NetworkPolicy", "shop", "web", ("egress",), 1),
    )
    assert isolated[ObjectName("shop", "web")] == ("egress",)
    assert ObjectName("shop", "cron") not in isolated


def test_a_clusters_policies_come_first_with_their_tier() -> None:
    rule = {"action": "Deny", "from": [{"namespaces": {}}]}
    lock = small_shop.cluster_policy("lock", 10, ingress=[rule])
    rows, isolated = policy_rows(lab(lock, small_shop.policy("shop/all", None)))
    assert [(row.name, row.pods, row.tier) for row in rows] == [
        ("lock", 5, "Admin 10"),
        ("all", 4, ""),
    ]
    assert ObjectName("data", "db") not in isolated, "a rule of a cluster's isolates nobody"
