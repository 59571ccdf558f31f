"""What a change costs: what is sent to the kernel, and how many objects are looked at."""

from __future__ import annotations

from typing import TypeVar

import pytest
from policy_model import (
    Cluster,
    block,
    match,
    namespace,
    namespaces,
    node,
    pod,
    pods,
    policy,
    port,
)

from podwire_core.nft.desired import Desired
from podwire_core.nft.fake import Fake
from podwire_core.objects import KubernetesObject, ObjectName
from podwire_core.snapshot import Change, Snapshot
from podwire_policy.policies import Policies

O = TypeVar("O", bound=KubernetesObject)  # noqa: E741 - as in podwire_core.snapshot

WEB = pod("shop/web", "10.244.1.1", "fd00:1::1", labels={"app": "web"})
FRIENDS = policy(
    "shop/friends",
    podSelector=match(app="web"),
    ingress=[
        {
            "from": [{**namespaces({}), **pods(match(friend="yes"))}, block("10.9.0.0/16")],
            "ports": [port(80), port(443), port("http")],
        }
    ],
)
FRIEND = pod("other/friend", "10.244.2.1", "fd00:2::1", node="n2", labels={"friend": "yes"})
BASE = [namespace("shop"), namespace("other"), WEB, FRIENDS]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(BASE, nodes=["n1"])


class Counting(Snapshot):
    """A snapshot that knows how often it was asked for objects."""

    asked = 0

    def get(self, kind: type[O], name: ObjectName) -> O | None:
        self.asked += 1
        return super().get(kind, name)

    def all(self, kind: type[O]) -> tuple[O, ...]:
        found = super().all(kind)
        self.asked += len(found)
        return found


def test_it_is_what_the_agent_asks_for() -> None:
    desired: Desired = Policies("n1")
    assert [table.text for table in desired.tables] == ["ip podwire-policy", "ip6 podwire-policy"]


def test_without_objects_the_skeleton_is_wanted() -> None:
    desired = Policies("n1")
    answer = desired.update(Snapshot(), [])
    assert answer == desired.wanted
    assert {key[2:] for key in answer} == {
        (),
        ("chain", "forward"),
        ("set", "self"),
        ("set", "egress-isolated"),
        ("set", "ingress-isolated"),
    }


def test_a_remote_pod_that_comes_is_elements_only(cluster: Cluster) -> None:
    assert cluster.apply(FRIEND)["n1"].counts() == {("add", "element"): 2}


def test_a_remote_pod_that_goes_is_elements_only(cluster: Cluster) -> None:
    cluster.apply(FRIEND)
    assert cluster.remove(FRIEND)["n1"].counts() == {("delete", "element"): 2}


def test_a_remote_pod_that_nobody_names_sends_nothing(cluster: Cluster) -> None:
    assert not cluster.apply(pod("other/stranger", "10.244.2.2", node="n2"))["n1"]


@pytest.mark.parametrize("others", [0, 500])
def test_a_remote_pod_costs_the_same_however_many_there_are(others: int) -> None:
    crowd = [pod(f"other/p{n}", f"10.1.{n // 250}.{n % 250}", node="n2") for n in range(others)]
    snapshot = Counting([*BASE, *crowd])
    desired = Policies("n1")
    desired.update(snapshot, [Change(type(each), each.name, each) for each in (*BASE, *crowd)])
    change = Change(type(FRIEND), FRIEND.name, FRIEND)
    snapshot.apply(change)
    snapshot.asked = 0
    assert len(desired.update(snapshot, [change])) == 2
    assert snapshot.asked <= 4


def test_a_local_pod_of_a_known_group_is_elements_only(cluster: Cluster) -> None:
    second = pod("shop/web2", "10.244.1.2", labels={"app": "web"})
    assert cluster.apply(second)["n1"].counts() == {("add", "element"): 2}, "dispatch, self"


def test_a_pod_that_waits_for_its_address_has_its_chain_already(cluster: Cluster) -> None:
    lonely = policy("shop/lonely", podSelector=match(app="db"), policyTypes=["Egress"])
    waiting = pod("shop/db", labels={"app": "db"}, phase="Pending")
    assert ("add", "chain") in cluster.apply(lonely, waiting)["n1"].counts()
    started = pod("shop/db", "10.244.1.9", labels={"app": "db"}, phase="Pending")
    assert cluster.apply(started)["n1"].counts() == {("add", "element"): 2}


def test_a_policys_new_rules_are_written_in_place(cluster: Cluster) -> None:
    """No pod's element moves: its chain is flushed and filled within the transaction."""
    counts = cluster.apply(policy("shop/friends", podSelector=match(app="web")))["n1"].counts()
    assert counts[("flush", "chain")] == 2
    assert ("add", "chain") not in counts
    fake = cluster.nodes["n1"].nft
    assert isinstance(fake, Fake)
    isolated = [key for key in fake.read(cluster.nodes["n1"].policies.tables)
                if key[3:4] == ("ingress-isolated",) and key[2] == "element"]  # fmt: skip
    assert len(isolated) == 2


def test_a_namespaces_labels_touch_its_own_pods_only(cluster: Cluster) -> None:
    blue = policy("shop/blue", ingress=[{"from": [namespaces(match(team="blue"))]}])
    cluster.apply(blue, FRIEND, pod("third/p", "10.244.2.7", node="n2"))
    sent = cluster.apply(namespace("other", team="blue"))["n1"]
    assert sent.counts() == {("add", "element"): 2}


def test_a_new_policy_leaves_the_sets_that_stay_alone(cluster: Cluster) -> None:
    cluster.apply(FRIEND)
    also = policy("shop/also", ingress=[{"from": [pods(match(app="web"))]}])
    lines = str(cluster.apply(also)["n1"]).splitlines()
    stay = ("cidrs-", "ports-", "named-")
    keys = cluster.nodes["n1"].policies.wanted
    kept = {key[3] for key in keys if key[2:3] == ("set",) and key[3].startswith(stay)}
    assert len(kept) == 3
    assert not [line for line in lines if " element " in line and kept & {*line.split()}]


def test_a_policy_that_comes_and_goes_leaves_nothing_behind(cluster: Cluster) -> None:
    rules = cluster.nodes["n1"]
    before = rules.nft.read(rules.policies.tables)
    mixed = policy(
        "shop/mixed",
        policyTypes=["Ingress", "Egress"],
        egress=[{"to": [namespaces({}), block("::/0", "fd00::/8")], "ports": [port(1, end=9)]}],
    )
    for _ in range(3):
        assert cluster.apply(mixed)["n1"]
        cluster.remove(mixed)
        assert rules.nft.read(rules.policies.tables) == before


def test_objects_of_other_kinds_change_nothing(cluster: Cluster) -> None:
    assert not cluster.apply(node("n2"))["n1"]
