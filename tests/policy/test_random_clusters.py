"""Random clusters and random histories: two naive twins hold the compiler to its word.

the compiled rules of every node on the way   ==   the oracle
a thousand small updates                      ==   one fresh compile
"""

from __future__ import annotations

import random
from itertools import product

import pytest
from cluster_policy_strategies import (
    attachments,
    cluster_policies,
    described_nodes,
    moving_nodes,
    whole_clusters,
)
from hypothesis import event, given, settings
from hypothesis import strategies as st
from policy_model import NODES, OUTSIDE, Cluster, sizes
from policy_strategies import IPV4, IPV6, OBJECTS

from podwire_core.family import family_of
from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change, Snapshot
from podwire_policy.oracle import Judge, Side
from podwire_policy.policies import Policies

RANDOM = settings(deadline=None, print_blob=True)
QUESTIONS = 60  # asked of each cluster, of the thousands that there are


ENDS = [*IPV4, *IPV6, *OUTSIDE, *(ip for ips in NODES.values() for ip in ips)]
EVERY_QUESTION = [
    (source, destination, *way)
    for source, destination in product(ENDS, ENDS)
    if family_of(source) is family_of(destination)
    for way in product(("TCP", "UDP", "SCTP"), (80, 81, 90))
]


@pytest.mark.timeout(1200)
@settings(RANDOM, max_examples=1200)
@given(whole_clusters(), st.integers(0, 1 << 30))
def test_the_rules_say_what_the_oracle_says(objects: list[KubernetesObject], seed: int) -> None:
    cluster = Cluster(objects)
    judge = Judge(cluster.snapshot)
    said = set()
    for question in random.Random(seed).sample(EVERY_QUESTION, QUESTIONS):
        judged = judge.judge(*question)
        said.add(judged.allowed)
        assert cluster.reaches(*question) is judged.allowed, (question, judged)
        check_reason(cluster, question, judged.denied)
    event(f"answers: {sorted(said)}")


def check_reason(
    cluster: Cluster, question: tuple[str, str, str, int], denied: Side | None
) -> None:
    """What is dropped is logged by a chain that stands for the same decision."""
    if denied is None:
        return
    last = cluster.traces(*question)[-1]
    logged = [each.effect for each in last.steps if each.effect.startswith("logged ")]
    (prefix,) = {each.removeprefix("logged ") for each in logged}
    reasons = [rules.policies.reasons.get(prefix) for rules in cluster.nodes.values()]
    found = {(each.kind, each.direction) for each in reasons if each}
    assert found == {(denied.denial, denied.direction)}, (question, prefix, denied)


STEPS = st.lists(
    st.lists(
        st.tuples(
            st.one_of(OBJECTS, cluster_policies(), attachments(), moving_nodes()),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=3,
    ),
    max_size=12,
)


@settings(RANDOM, max_examples=250)
@given(whole_clusters(), STEPS, described_nodes())
def test_many_small_updates_are_one_fresh_compile(
    objects: list[KubernetesObject],
    steps: list[list[tuple[KubernetesObject, int]]],
    nodes: list[KubernetesObject],
) -> None:
    cluster = Cluster(objects)
    for step in [*steps, [(each, 1) for each in nodes]]:
        changes = [Change(type(each), each.name, each if keep else None) for each, keep in step]
        known = [each for each in changes if each.new or cluster.snapshot.get(each.kind, each.name)]
        cluster.change(*{(each.kind, each.name): each for each in known}.values())
        check(cluster)


def check(cluster: Cluster) -> None:
    """Every node wants, and has in force, what a new compile of all objects wants."""
    for name, rules_ in cluster.nodes.items():
        fresh = Policies(name)
        fresh.update(cluster.snapshot, cluster.snapshot.changes())
        assert dict(rules_.policies.wanted) == dict(fresh.wanted)
        assert rules_.policies.problems == fresh.problems
        assert rules_.policies.reasons == fresh.reasons
        assert sizes(rules_.policies) == sizes(fresh), "nothing is left over in an index"
        tables = rules_.policies.tables
        in_force = {key: each.fingerprint for key, each in fresh.wanted.items()}
        assert rules_.nft.read(tables) == in_force
        assert not rules_.owner.replace(fresh.wanted), "a second sync sends nothing"


@settings(RANDOM, max_examples=300)
@given(whole_clusters())
def test_the_same_objects_give_the_same_text_in_any_order(objects: list[KubernetesObject]) -> None:
    snapshot = Snapshot(objects)
    changes = snapshot.changes()
    one, other = Policies("n1"), Policies("n1")
    forward = one.update(snapshot, changes)
    backward = other.update(snapshot, changes[::-1])
    assert list(forward.items()) == list(backward.items())


@settings(RANDOM, max_examples=300)
@given(whole_clusters())
def test_news_that_are_none_change_nothing(objects: list[KubernetesObject]) -> None:
    cluster = Cluster(objects)
    for rules_ in cluster.nodes.values():
        assert not rules_.policies.update(cluster.snapshot, cluster.snapshot.changes())
