"""Judge answers as the naive oracle does, and a hundred thousand questions in seconds."""

from itertools import product
from time import process_time

from cluster_policy_strategies import attachments, cluster_policies, described_nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_model import NODES, OUTSIDE, namespace, namespaces, pod, policy, port
from policy_strategies import IPV4, IPV6, clusters

from podwire_core.family import family_of
from podwire_core.objects import KubernetesObject, ObjectName, PolicyType
from podwire_core.snapshot import Snapshot
from podwire_policy.oracle import Judge, judge, misses, owner

ENDS = (*IPV4[:4], *IPV6[:2], *OUTSIDE, *(ip for ips in NODES.values() for ip in ips))
WAYS = (("TCP", 80), ("UDP", 81), ("SCTP", 90), ("ICMP", 0))


@settings(max_examples=60, deadline=None, print_blob=True)
@given(
    st.tuples(
        clusters(),
        st.lists(cluster_policies(), max_size=3),
        st.lists(attachments(), max_size=2),
        described_nodes(),
    )
)
def test_judge_by_index_is_the_naive_judge(parts: tuple[list[KubernetesObject], ...]) -> None:
    snapshot = Snapshot(each for part in parts for each in part)
    indexed = Judge(snapshot)
    for address in ENDS:
        assert indexed.owner(address) == owner(snapshot, address)
    for source, destination in product(ENDS, ENDS):
        if family_of(source) is family_of(destination):
            for way in WAYS:
                said = indexed.judge(source, destination, *way)
                assert said == judge(snapshot, source, destination, *way)
                explained = misses(indexed, said)
                assert bool(explained) is not said.allowed
                for direction in PolicyType:
                    side = indexed.side(source, destination, *way, direction)
                    assert side == said.side(direction)
                    assert side.reason
                    assert side.allowed is (side.denial is None)


def test_a_hundred_thousand_questions_over_ten_thousand_pods_take_seconds() -> None:
    pods = [
        pod(f"ns{at % 100}/p{at}", f"10.{1 + at // 65536}.{at // 256}.{at % 256}",
            labels={"app": f"a{at % 9}"})
        for at in range(10_000)
    ]  # fmt: skip
    rule = {"from": [namespaces({"matchLabels": {"team": "t1"}})], "ports": [port(80)]}
    snapshot = Snapshot([
        *pods,
        *(namespace(f"ns{at}", team=f"t{at % 5}") for at in range(100)),
        *(policy(f"ns{at % 100}/q{at}", podSelector={"matchLabels": {"app": f"a{at % 9}"}},
                 ingress=[rule]) for at in range(1_000)),
    ])  # fmt: skip
    addresses = [each.ips[0] for each in pods]
    began = process_time()
    by_index = Judge(snapshot)
    for at in range(100_000):
        by_index.judge(addresses[at % 10_000], addresses[at * 7919 % 10_000], "TCP", 80 + at % 2)
    assert process_time() - began < 20, "about 3 s on a machine with nothing else to do"


def test_addresses_of_the_world_are_not_remembered_for_ever() -> None:
    by_index = Judge(Snapshot([pod("x/a", "10.0.0.1"), policy("x/p")]))
    for at in range(70_000):
        by_index.judge(f"198.18.{at // 256 % 256}.{at % 256}", ObjectName("x", "a"), "TCP", at)
    assert len(by_index._homes) <= 65_536
    assert by_index._owners.keys() == {"10.0.0.1"}
