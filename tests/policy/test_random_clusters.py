"""Random clusters and random histories: two naive twins hold the compiler to its word.

the compiled rules of every node on the way   ==   the oracle
a thousand small updates                      ==   one fresh compile
"""

from __future__ import annotations

from itertools import product

from hypothesis import event, given, settings
from hypothesis import strategies as st
from policy_model import NODES, OUTSIDE, Cluster, namespace, node, pod, policy
from policy_strategies import IPV4, IPV6, OBJECTS, clusters

from podwire_core.family import family_of
from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change, Snapshot
from podwire_policy.oracle import owner
from podwire_policy.policies import Policies

RANDOM = settings(max_examples=200, deadline=None, print_blob=True)


def everyone(cluster: Cluster) -> list[str]:
    """Pods' addresses that are somebody's, an address outside, the nodes'."""
    owned = [ip for ip in (*IPV4, *IPV6) if owner(cluster.snapshot, ip)]
    return [*owned, *OUTSIDE, *(ip for ips in NODES.values() for ip in ips)]


WAYS = list(product(("TCP", "UDP", "SCTP"), (80, 81, 90)))


@RANDOM
@given(clusters())
def test_the_rules_say_what_the_oracle_says(objects: list[KubernetesObject]) -> None:
    cluster = Cluster(objects)
    ends = everyone(cluster)
    said = set()
    for source, destination in product(ends, ends):
        if family_of(source) is not family_of(destination):
            continue
        for way in WAYS:
            judged = cluster.judge(source, destination, *way)
            said.add(judged.allowed)
            assert cluster.reaches(source, destination, *way) is judged.allowed, (
                source, destination, way, judged,
            )  # fmt: skip
    event(f"answers: {sorted(said)}")


STEPS = st.lists(
    st.lists(st.tuples(OBJECTS, st.integers(0, 3)), min_size=1, max_size=3), max_size=12
)


@RANDOM
@given(clusters(), STEPS)
def test_many_small_updates_are_one_fresh_compile(
    objects: list[KubernetesObject], steps: list[list[tuple[KubernetesObject, int]]]
) -> None:
    cluster = Cluster(objects)
    for step in steps:
        changes = [Change(type(each), each.name, each if keep else None) for each, keep in step]
        known = [each for each in changes if each.new or cluster.snapshot.get(each.kind, each.name)]
        cluster.change(*{(each.kind, each.name): each for each in known}.values())
        check(cluster)


def check(cluster: Cluster) -> None:
    """Every node wants, and has in force, what a new compile of all objects wants."""
    for name, rules_ in cluster.nodes.items():
        fresh = Policies(name)
        fresh.update(cluster.snapshot, everything(cluster.snapshot))
        assert rules_.policies.wanted == fresh.wanted
        assert rules_.policies.problems == fresh.problems
        tables = rules_.policies.tables
        in_force = {key: each.fingerprint for key, each in fresh.wanted.items()}
        assert rules_.nft.read(tables) == in_force
        assert not rules_.owner.replace(fresh.wanted), "a second sync sends nothing"


def everything(snapshot: Snapshot) -> list[Change]:
    kinds = {type(each) for each in (node("n1"), namespace("x"), pod("x/a"), policy("x/p"))}
    return [
        Change(kind, each.name, each)
        for kind in sorted(kinds, key=lambda kind: kind.__name__)
        for each in snapshot.all(kind)
    ]


@RANDOM
@given(clusters())
def test_the_same_objects_give_the_same_text_in_any_order(objects: list[KubernetesObject]) -> None:
    snapshot = Snapshot(objects)
    changes = everything(snapshot)
    one, other = Policies("n1"), Policies("n1")
    forward = one.update(snapshot, changes)
    backward = other.update(snapshot, changes[::-1])
    assert list(forward.items()) == list(backward.items())


@RANDOM
@given(clusters())
def test_news_that_are_none_change_nothing(objects: list[KubernetesObject]) -> None:
    cluster = Cluster(objects)
    for rules_ in cluster.nodes.values():
        assert not rules_.policies.update(cluster.snapshot, everything(cluster.snapshot))
