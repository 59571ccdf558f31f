"""`podwire explain` on two nodes: what it says is what packets meet, and what is wrong shows."""

from __future__ import annotations

import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scratch
import small_shop
from scratch import Netns, until
from shop_stage import Shop, small_shop_stage
from small_shop import CLUSTER_IPS, OUTSIDE, address

ALLOWED, DENIED, ERROR, DIFFERS = 0, 1, 2, 3

Answer = dict[str, Any]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """For tests that change nothing."""
    made: list[Netns] = []

    def new_netns() -> Netns:
        made.append(scratch.make())
        return made[-1]

    try:
        with small_shop_stage(new_netns, tmp_path_factory.mktemp("standing")) as shop:
            yield shop
    finally:
        for each in made:
            scratch.remove(each)


@pytest.fixture
def shop(new_netns: Callable[[], Netns], tmp_path: Path) -> Iterator[Shop]:
    with small_shop_stage(new_netns, tmp_path) as made:
        yield made


def explain(shop: Shop, node: str, *words: str) -> tuple[int, Answer]:
    return shop.json(node, "explain", *words)


def flow(found: Answer, destination: str = "") -> Answer:
    rows: list[Answer] = found["flows"]
    return next(row for row in rows if destination in {"", row["destination"]["address"]})


def test_it_says_what_packets_meet(standing: Shop) -> None:
    rows = [
        ("shop/web", "shop/api-1", 8080),
        ("shop/web", "data/db", 5432),
        ("shop/cron", "shop/api-1", 8080),
        ("shop/cron", "data/db", 5432),
    ]
    for source, destination, port in rows:
        for version in (4, 6):
            target = address(destination, version)
            reached = standing.reaches(source, target, port)
            words = (address(source, version), f"[{target}]:{port}")
            for node in ("node1", "node2"):
                code, found = explain(standing, node, *words)
                assert code == (ALLOWED if reached else DENIED), (words, found)
                assert not flow(found)["differs"]


def test_a_service_is_explained_as_its_endpoints_are_judged(standing: Shop) -> None:
    assert standing.reaches("shop/web", CLUSTER_IPS[0], 80)
    assert not standing.reaches("shop/cron", CLUSTER_IPS[1], 80)
    code, found = explain(standing, "node1", "shop/web", "shop/api:80")
    assert code == ALLOWED
    assert {row["destination"]["pod"] for row in found["flows"]} == {"shop/api-1", "shop/api-2"}
    code, found = explain(standing, "node1", "shop/cron", f"[{CLUSTER_IPS[1]}]:http")
    assert code == DENIED
    assert flow(found)["dialled"] == "Service shop/api [fd00:10:96::13]:80"
    assert flow(found)["port"] == 8080


def test_each_side_has_its_policies_and_the_nearest_miss(standing: Shop) -> None:
    _, found = explain(standing, "node2", "shop/cron", "shop/api-1:8080")
    egress, ingress = flow(found)["egress"], flow(found)["ingress"]
    assert egress["allowed"]
    assert egress["isolatedBy"] == []
    assert not ingress["allowed"]
    assert ingress["kind"] == "isolated"
    assert ingress["isolatedBy"] == ["shop/api"]
    assert "shop/api ingress[0]" in ingress["nearestMiss"]
    assert "app=cron" in ingress["nearestMiss"]


def test_each_node_judges_its_own_pods_alone(standing: Shop) -> None:
    _, here = explain(standing, "node1", "shop/cron", "shop/api-1:8080")
    _, there = explain(standing, "node2", "shop/cron", "shop/api-1:8080")
    assert flow(here)["kernel"]["judges"] == ["egress"]
    assert flow(here)["kernel"]["allowed"], "node1 lets it go: cron is isolated by nothing"
    assert flow(there)["kernel"]["judges"] == ["ingress"]
    assert not flow(there)["kernel"]["allowed"]
    assert not flow(here)["allowed"], "the policies' text is judged for both ends"


def test_the_rule_that_drops_tells_how_much_it_has_dropped(standing: Shop) -> None:
    words = ("explain", "shop/cron", "shop/api-1:8080")

    def dropped() -> int:
        _, found = standing.json("node2", *words)
        steps = flow(found, address("shop/api-1"))["kernel"]["steps"]
        assert steps[-1]["effect"] == "drop"
        packets: int = steps[-1]["packets"]
        return packets

    before = dropped()
    assert not standing.reaches("shop/cron", address("shop/api-1"), 8080)
    assert dropped() > before


def test_what_someone_else_changed_is_mended_before_anyone_is_answered(shop: Shop) -> None:
    """Whatever explain looks at first, it looks again while text and kernel differ.

    The repair is due at once: three of them are far from what Pace lets go without a wait.
    """
    node, agent = shop.nodes["node1"], shop.agents["node1"]
    for _ in range(3):
        agent.send_signal(signal.SIGSTOP)
        where = f"{{ {address('shop/web')} }}"
        node.run("nft", "delete", "element", "ip", "podwire-policy", "egress-isolated", where)
        agent.send_signal(signal.SIGCONT)
        code, found = explain(shop, "node1", "shop/web", "data/db:5432")
        assert code == DENIED, found


def test_a_table_that_cannot_be_mended_is_a_difference(shop: Shop) -> None:
    """Someone owns the table (nft's flag `owner`), so that the kernel refuses ours."""
    agent = shop.agents["node1"]
    agent.send_signal(signal.SIGSTOP)
    thief = shop.nodes["node1"].popen("nft", "-i")
    shop.processes.append(thief)
    assert thief.stdin is not None
    thief.stdin.write("delete table ip podwire-policy\n")
    thief.stdin.write("add table ip podwire-policy { flags owner; }\n")
    thief.stdin.flush()
    listed = ("nft", "list", "table", "ip", "podwire-policy")
    until("it is stolen", lambda: "owner" in shop.nodes["node1"].run(*listed, check=False))
    agent.send_signal(signal.SIGCONT)
    code, found = explain(shop, "node1", address("shop/web"), f"{address('data/db')}:5432")
    assert code == DIFFERS
    assert flow(found)["kernel"]["allowed"], "there is nothing that would stop it"
    wrong = flow(found)["kernel"]["wrong"]
    assert wrong == ["chain forward of table ip podwire-policy is not in the kernel"]
    code, output = shop.run("node1", "explain", "shop/web", "data/db:5432")
    assert code == DIFFERS
    assert "THE KERNEL DIFFERS" in output


def test_a_cluster_policy_is_named_with_its_rule(shop: Shop) -> None:
    rule = {"name": "no web", "action": "Deny", "from": [{"namespaces": {}}]}
    lock = small_shop.cluster_policy("lock", 5, ingress=[rule])
    assert shop.reaches("shop/web", address("shop/api-1"), 8080)
    shop.put(lock)
    shop.settle()
    assert not shop.reaches("shop/web", address("shop/api-1"), 8080)
    code, found = explain(shop, "node2", "shop/web", "shop/api-1:8080")
    assert code == DENIED
    ingress = flow(found)["ingress"]
    assert ingress["kind"] == "denied"
    assert ingress["decision"] == {
        "tier": "Admin",
        "rule": 'ClusterNetworkPolicy lock ingress[0] "no web"',
        "action": "Deny",
    }
    assert not flow(found)["differs"]


def test_an_address_that_nobody_has_is_denied_and_said_to_be(standing: Shop) -> None:
    for words in (("10.244.1.99", "shop/api-1:8080"), (OUTSIDE, "10.244.1.99:80")):
        code, found = explain(standing, "node1", *words)
        assert code == DENIED, found
        assert not flow(found)["differs"], found
        kinds = {flow(found)[side]["kind"] for side in ("egress", "ingress")}
        assert "unknown" in kinds


def test_a_pod_and_its_own_node_reach_each_other(standing: Shop) -> None:
    for words in (("shop/web", "192.168.77.1:10250"), ("192.168.77.1", "shop/web:80")):
        code, found = explain(standing, "node1", *words)
        assert code == ALLOWED, found
        assert not flow(found)["differs"], found


def test_a_person_reads_both_columns(standing: Shop) -> None:
    code, output = standing.run("node1", "explain", "shop/web", "data/db:5432")
    assert code == DENIED
    for words in ("DENIED", "The policies' text", "The kernel of node1", "nearest:", "✗ dropped"):
        assert words in output, output
    code, output = standing.run("node1", "explain", "shop/wep", "data/db:5432")
    assert code == ERROR
    assert "did you mean shop/web?" in output


def test_only_root_may_ask(standing: Shop) -> None:
    for node in ("node1", "node2"):
        assert stat.S_IMODE(standing.socket(node).stat().st_mode) == 0o600


def test_an_agent_that_ended_is_told_apart_from_a_denial(shop: Shop) -> None:
    shop.stop("node1")
    code, output = shop.run("node1", "explain", "shop/web", "data/db:5432")
    assert code == ERROR
    assert "agent" in output
