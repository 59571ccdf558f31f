"""What a change costs: what is sent to the kernel, and how many objects are looked at."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pytest
from cluster_policy_model import accept, cluster_policy, deny, networks, nodes, udp
from policy_model import (
    OUTSIDE,
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
    sizes,
)

from podwire_core.nft.desired import Desired
from podwire_core.nft.fake import Fake
from podwire_core.objects import Attached, KubernetesObject, Node, ObjectName
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


LEVELS = [
    f"{way}{level}" for way in ("egress", "ingress") for level in ("", "-namespaced", "-baseline")
]
CHAINS = [
    *LEVELS,
    "forward",
    "input",
    "egress-own-node",
    "unknown-egress",
    "unknown-ingress",
]
MAPS = [
    f"{way}-{level}" for way in ("egress", "ingress") for level in ("admin", "isolated", "baseline")
]
SETS = [*MAPS, "egress-self", "ingress-self", "egress-isolated-pods", "known", "pod-cidrs", "seen"]


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
    assert {key[2:] for key in answer if key[0] == "ip"} == {
        (),
        *(("chain", name) for name in CHAINS),
        *(("set", name) for name in SETS),
    }
    ip, ip6 = ({key[2:] for key in answer if key[0] == family} for family in ("ip", "ip6"))
    assert ip == ip6


def test_connections_are_cut_only_where_that_is_asked_for() -> None:
    made = Policies("n1", recheck=True)
    rules = [str(each) for each in made.update(Snapshot(), []).values()]
    assert any("cut" in each for each in rules)
    assert "cut" in made.reasons
    assert "cut" not in Policies("n1").reasons


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
    counts = cluster.apply(started)["n1"].counts()
    assert counts == {("add", "element"): 3}, "dispatch, self, and its own node"


def test_a_replica_on_a_node_with_pod_addresses_is_elements_only(cluster: Cluster) -> None:
    cluster.apply(node("n1", "10.244.1.0/24"))
    second = pod("shop/web2", "10.244.1.2", labels={"app": "web"})
    assert cluster.apply(second)["n1"].counts() == {("add", "element"): 3}, "it is known, too"


def test_a_pod_of_a_new_group_touches_no_other_chain(cluster: Cluster) -> None:
    cluster.apply(policy("shop/db", podSelector=match(app="db"), ingress=[{"ports": [port(5432)]}]))
    counts = cluster.apply(pod("shop/db", "10.244.1.9", labels={"app": "db"}))["n1"].counts()
    assert counts == {("add", "chain"): 2, ("add", "rule"): 6, ("add", "element"): 2}


def test_the_last_pod_of_a_group_takes_its_chain_and_its_sets(cluster: Cluster) -> None:
    rules = cluster.nodes["n1"]
    before = rules.nft.read(rules.policies.tables)
    lonely = policy("shop/db", podSelector=match(app="db"), egress=[{"to": [block("10.7.0.0/16")]}])
    db = pod("shop/db", "10.244.1.9", labels={"app": "db"})
    cluster.apply(lonely, db)
    assert len(rules.nft.read(rules.policies.tables)) > len(before)
    cluster.remove(db)
    assert rules.nft.read(rules.policies.tables) == before


def test_a_policy_without_pods_here_compiles_nothing(cluster: Cluster) -> None:
    elsewhere = policy("other/p", ingress=[{"from": [block("10.7.0.0/16", "10.8.0.0/16")]}])
    assert not cluster.apply(elsewhere)["n1"]
    assert not cluster.nodes["n1"].policies.problems


def test_a_changed_policy_writes_the_chains_that_it_is_in_and_no_other(cluster: Cluster) -> None:
    cluster.apply(
        policy("shop/db", podSelector=match(app="db")),
        pod("shop/db", "10.244.1.9", labels={"app": "db"}),
    )
    changed = policy("shop/db", podSelector=match(app="db"), ingress=[{"ports": [port(1)]}])
    assert cluster.apply(changed)["n1"].counts() == {("flush", "chain"): 2, ("add", "rule"): 6}


def test_a_cluster_policy_that_changes_its_mind_writes_in_place(cluster: Cluster) -> None:
    cluster.apply(cluster_policy("lock", ingress=[deny()]))
    counts = cluster.apply(cluster_policy("lock", ingress=[deny(), accept()]))["n1"].counts()
    assert ("add", "element") not in counts
    assert counts["flush", "chain"] == 2


def test_a_node_that_comes_is_elements_of_the_sets_of_nodes(cluster: Cluster) -> None:
    cluster.apply(cluster_policy("metal", egress=[deny(nodes(match(kind="metal")))]))
    assert cluster.apply(node("n2", kind="metal"))["n1"].counts() == {("add", "element"): 2}
    assert cluster.apply(node("n2"))["n1"].counts() == {("delete", "element"): 2}


def test_pod_addresses_are_closed_only_while_there_are_policies() -> None:
    cluster = Cluster([node("n1", "10.244.1.0/24")], nodes=["n1"])
    assert cluster.reaches("10.244.1.7", OUTSIDE[0])
    cluster.apply(FRIENDS)
    assert not cluster.reaches("10.244.1.7", OUTSIDE[0])
    cluster.remove(FRIENDS)
    assert cluster.reaches("10.244.1.7", OUTSIDE[0])


def in_pod_cidrs(name: str, *addresses: str) -> KubernetesObject:
    """A Node with no podCIDR, and an address of its own inside another's."""
    rows = [{"type": "InternalIP", "address": address} for address in addresses]
    document = {"metadata": {"name": name}, "status": {"addresses": rows}}
    return msgspec.convert(document, Node)


def known(cluster: Cluster) -> set[str]:
    wanted = cluster.nodes["n1"].policies.wanted
    return {key[4] for key in wanted if len(key) == 5 and key[3] == "known"}


def test_new_pod_addresses_know_the_nodes_that_are_among_them(cluster: Cluster) -> None:
    """Or what they send would be denied as nobody's."""
    cluster.apply(in_pod_cidrs("n3", "10.244.1.200", "10.99.0.1"))
    assert known(cluster) == set()
    cluster.apply(node("n1", "10.244.1.0/24"))
    assert known(cluster) == {"10.244.1.1", "10.244.1.200"}
    cluster.apply(node("n1", "10.99.0.0/16"))
    assert known(cluster) == {"10.99.0.1"}
    cluster.remove(node("n1"))
    assert known(cluster) == set()


def test_a_pod_that_goes_while_pod_addresses_change_is_known_no_more(cluster: Cluster) -> None:
    """Or its address stood open to whoever comes, when they change back."""
    cluster.apply(node("n1", "10.244.1.0/24"))
    assert known(cluster) == {"10.244.1.1"}
    away = node("n1", "10.99.0.0/16")
    cluster.change(Change(Node, away.name, away), Change(type(WEB), WEB.name, None))
    assert known(cluster) == set()
    cluster.apply(node("n1", "10.244.1.0/24"))
    assert known(cluster) == set()
    assert not cluster.reaches("10.244.1.1", OUTSIDE[0])


def test_without_policies_a_pod_that_comes_sends_nothing() -> None:
    cluster = Cluster([node("n1", "10.244.1.0/24")], nodes=["n1"])
    assert not cluster.apply(WEB, Attached.of("eth0", WEB.name, WEB.ips))["n1"]


def test_an_address_opens_with_the_first_word_about_its_pod(cluster: Cluster) -> None:
    late = pod("shop/late", "10.244.1.7", meta={"uid": "u1"})
    cluster.apply(Attached.of("eth0", late.name, ("10.244.1.7",), "u1"))
    assert not cluster.reaches("10.244.1.7", OUTSIDE[0])
    assert not cluster.reaches(OUTSIDE[0], "10.244.1.7")
    cluster.apply(late)
    assert cluster.reaches("10.244.1.7", OUTSIDE[0])
    assert cluster.reaches(OUTSIDE[0], "10.244.1.7")


@pytest.mark.parametrize("others", [1, 300])
def test_a_local_pod_costs_the_same_however_many_groups_there_are(others: int) -> None:
    """New sets are filled from the namespaces that hold such pods, and no group is looked at."""
    crowd: list[KubernetesObject] = []
    for n in range(others):
        crowd += [
            namespace(f"ns{n}"),
            policy(
                f"ns{n}/p", ingress=[{"from": [pods(match(app="web"))], "ports": [port(n + 1)]}]
            ),
            pod(f"ns{n}/web", f"10.1.{n // 250}.{n % 250}", labels={"app": "web"}),
        ]
    snapshot = Counting([*BASE, *crowd])
    desired = Policies("n1")
    desired.update(snapshot, snapshot.changes())
    db = pod("shop/db", "10.244.1.9", labels={"app": "db"})
    lonely = policy("shop/db", podSelector=match(app="db"), ingress=[{"from": [pods({})]}])
    changes = [Change(type(each), each.name, each) for each in (lonely, db)]
    for change in changes:
        snapshot.apply(change)
    snapshot.asked = 0
    assert len(desired.update(snapshot, changes)) == 9, "two chains, two sets, and five elements"
    assert snapshot.asked <= 4


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


MIXED = policy(
    "shop/mixed",
    policyTypes=["Ingress", "Egress"],
    egress=[{"to": [namespaces({}), block("::/0", "fd00::/8")], "ports": [port(1, end=9)]}],
)
EVERYONE = cluster_policy(
    "everyone", egress=[deny(nodes({}), networks("10.6.0.0/16"), on=[udp(53)])]
)


@pytest.mark.parametrize("flapping", [MIXED, EVERYONE], ids=lambda each: type(each).__name__)
def test_a_policy_that_comes_and_goes_leaves_nothing_behind(
    cluster: Cluster, flapping: KubernetesObject
) -> None:
    rules = cluster.nodes["n1"]
    before = rules.nft.read(rules.policies.tables)
    for _ in range(3):
        assert cluster.apply(flapping)["n1"]
        cluster.remove(flapping)
        assert rules.nft.read(rules.policies.tables) == before


@pytest.mark.parametrize("flapping", [MIXED, EVERYONE], ids=lambda each: type(each).__name__)
def test_a_policy_that_flaps_a_thousand_times_leaves_no_index_longer(
    flapping: KubernetesObject,
) -> None:
    snapshot = Snapshot([node("n2"), *BASE, FRIEND])
    desired = Policies("n1")
    desired.update(snapshot, snapshot.changes())
    before, held = dict(desired.wanted), sizes(desired)
    for _ in range(1000):
        for new in (flapping, None):
            change = Change(type(flapping), flapping.name, new)
            snapshot.apply(change)
            assert desired.update(snapshot, [change])
    assert dict(desired.wanted) == before
    assert sizes(desired) == held


def test_objects_of_other_kinds_change_nothing(cluster: Cluster) -> None:
    assert not cluster.apply(node("n2"))["n1"]
