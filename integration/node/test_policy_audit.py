"""`podwire policy audit` on real connections: what a policy would do, before it does it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import small_shop
from scratch import Netns
from shop_stage import Shop, small_shop_stage
from small_shop import CLUSTER_IPS, address

NOTHING, DENIES, ERROR = 0, 1, 2

DENY_API = small_shop.policy("shop/api", "api", ingress=[])
OPEN_DB = small_shop.policy("data/open", None, ingress=[{"from": [{"namespaceSelector": {}}]}])


@pytest.fixture
def shop(new_netns: Callable[[], Netns], tmp_path: Path) -> Iterator[Shop]:
    with small_shop_stage(new_netns, tmp_path) as made:
        yield made


def audit(
    shop: Shop, node: str, *policies: small_shop.Document, options: Sequence[str] = ()
) -> tuple[int, dict[str, Any]]:
    file = shop.folder / "policies.json"
    file.write_text(json.dumps(policies))
    return shop.json(node, "policy", "audit", *([str(file)] if policies else []), *options)


def ends(rows: Sequence[dict[str, Any]]) -> set[tuple[str, str, int, int]]:
    return {(row["source"], row["destination"], row["port"], row["connections"]) for row in rows}


def test_a_node_that_has_seen_nothing_says_so(shop: Shop) -> None:
    code, found = audit(shop, "node1", DENY_API)
    assert (code, found["connections"]) == (NOTHING, 0)
    file = shop.folder / "policies.json"
    _, output = shop.run("node1", "policy", "audit", str(file))
    assert "node1 has seen no connection" in output


def test_what_it_foretells_is_what_happens(shop: Shop) -> None:
    tried = [
        ("shop/web", "shop/api-1", 8080),
        ("shop/web", "shop/api-2", 8080),
        ("shop/cron", "shop/api-1", 8080),
        ("shop/cron", "data/db", 5432),
        ("shop/web", "data/db", 5432),
    ]

    def reached() -> set[tuple[str, str, int]]:
        return {each for each in tried if shop.reaches(each[0], address(each[1]), each[2])}

    before = reached()
    _, found = audit(shop, "node2", DENY_API, OPEN_DB)
    assert found["connections"] == 4, "node2 has not seen what node1 dropped"
    foretold = before - {row[:3] for row in ends(found["deniedRows"])}
    foretold |= {row[:3] for row in ends(found["allowedRows"])}
    assert shop.objects.joinpath("NetworkPolicy.shop.api.json").exists(), "nothing is applied"
    shop.put(DENY_API, OPEN_DB)
    shop.settle()
    assert reached() == foretold
    code, found = audit(shop, "node2", DENY_API, OPEN_DB)
    assert code == NOTHING
    assert (found["newlyDenied"], found["newlyAllowed"]) == (0, 0)
    assert {row["change"] for row in found["policies"]} == {"unchanged"}


def test_connections_by_a_service_are_those_to_its_endpoints(shop: Shop) -> None:
    for address_ in CLUSTER_IPS:
        assert shop.reaches("shop/web", address_, 80)
    code, found = audit(shop, "node1", DENY_API)
    assert code == DENIES
    assert found["newlyDenied"] == 2
    for row in found["deniedRows"]:
        assert row["source"] == "shop/web"
        assert row["destination"] in {"shop/api-1", "shop/api-2"}
        assert row["port"] == 8080


def test_both_families_of_a_pair_are_one_row(shop: Shop) -> None:
    for version in (4, 6):
        assert shop.reaches("shop/web", address("shop/api-1", version), 8080)
    _, found = audit(shop, "node1", DENY_API)
    assert ends(found["deniedRows"]) == {("shop/web", "shop/api-1", 8080, 2)}


def test_what_was_denied_is_remembered_too_and_shows_when_it_would_be_allowed(shop: Shop) -> None:
    assert not shop.reaches("shop/cron", address("shop/api-1"), 8080)
    code, found = audit(shop, "node2", options=["--delete", "shop/api"])
    assert code == NOTHING
    assert ends(found["allowedRows"]) == {("shop/cron", "shop/api-1", 8080, 1)}


def test_a_connection_that_is_open_longer_than_an_hour_counts(shop: Shop) -> None:
    """The set forgets after an hour; as if that were over, it is emptied."""
    assert shop.reaches("shop/web", address("shop/api-1"), 8080)
    node = shop.nodes["node1"]
    node.run("nft", "flush", "set", "ip", "podwire-policy", "seen")
    _, found = audit(shop, "node1", DENY_API)
    assert ends(found["deniedRows"]) == {("shop/web", "shop/api-1", 8080, 1)}, "from conntrack"


def test_a_person_reads_what_would_be_denied_first(shop: Shop) -> None:
    assert shop.reaches("shop/web", address("shop/api-1"), 8080)
    file = shop.folder / "deny.yaml"
    file.write_text(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        "metadata: {name: closed, namespace: shop}\n"
        "spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}\n---\n"
        + json.dumps(DENY_API)
    )
    for words in ([str(file)], ["-"]):
        stdin = file.read_text() if words == ["-"] else ""
        code, output = shop.run("node1", "policy", "audit", *words, stdin=stdin)
        assert code == DENIES, output
        for sentence in (
            "left out: 1 Namespace",
            "NetworkPolicy shop/closed (new) selects 1 pod",
            "NetworkPolicy shop/api (changed) selects 2 pods",
            "Would be denied",
            "shop/web → shop/api-1:8080/TCP",
            "1 would be denied, 0 would be allowed",
        ):
            assert sentence in output, output


def test_a_cluster_policy_is_tried_before_it_is_applied(shop: Shop) -> None:
    assert shop.reaches("shop/web", address("shop/api-1"), 8080)
    rule = {"name": "no web", "action": "Deny", "from": [{"namespaces": {}}]}
    code, found = audit(shop, "node2", small_shop.cluster_policy("lock", 5, ingress=[rule]))
    assert code == DENIES
    (row,) = found["deniedRows"]
    assert 'ClusterNetworkPolicy lock ingress[0] "no web" denies it' in row["reason"]


def test_a_large_file_is_sent_whole(shop: Shop) -> None:
    assert shop.reaches("shop/web", address("shop/api-1"), 8080)
    many = [
        small_shop.policy(f"shop/p{number}", "api", ingress=[{"from": [small_shop.peer("web")]}])
        for number in range(2000)
    ]
    code, found = audit(shop, "node1", *many)
    assert code == NOTHING
    assert len(found["policies"]) == 2000


def test_a_name_that_nobody_has_is_an_error(shop: Shop) -> None:
    code, output = shop.run("node1", "policy", "audit", "--delete", "shop/nothing")
    assert code == ERROR
    assert "there is no policy shop/nothing" in output


def test_the_agent_works_on_while_a_full_table_is_judged(shop: Shop) -> None:
    """60,000 connections are judged for seconds; changes of objects do not wait for that."""
    rows = ", ".join(
        f"10.244.1.4 . 10.244.2.4 . tcp . {port} timeout 1h" for port in range(1, 60_001)
    )
    command = f"add element ip podwire-policy seen {{ {rows} }}"
    file = shop.folder / "seen.nft"
    file.write_text(command)
    shop.nodes["node1"].run("nft", "-f", str(file))
    policies = shop.folder / "policies.json"
    policies.write_text(json.dumps([DENY_API]))
    waits, began = [], time.monotonic()
    with shop.asking("node1", "policy", "audit", str(policies)) as auditing:
        while auditing.poll() is None:
            before = time.monotonic()
            shop.put(small_shop.document("Namespace", f"late{len(waits)}"))
            shop.settle("node1")
            waits.append(time.monotonic() - before)
        took = time.monotonic() - began
        output = auditing.communicate(timeout=60)[0]
    assert "1 would be denied, 0 would be allowed" in output
    print(f"{len(waits)} changes in {took:.1f} s, the longest took {max(waits):.2f} s")
    assert max(waits) < took / 2, "one of them has waited for all to be judged"
