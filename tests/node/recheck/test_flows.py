"""Which connections a change concerns, and which may go on: as the oracle says of our own pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from itertools import product

from cluster_policy_strategies import attachments, cluster_policies, described_nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_model import NODES, OUTSIDE, namespace, node, pod, policy
from policy_strategies import IPV4, IPV6, OBJECTS, clusters

from podwire_core.conntrack import Entry
from podwire_core.conntrack.entry import packed, unpacked
from podwire_core.family import family_of
from podwire_core.objects import Attached, KubernetesObject, Node, ObjectName, Pod
from podwire_core.snapshot import Change, Snapshot
from podwire_node.recheck.flows import Flows
from podwire_node.recheck.mirror import Mirror
from podwire_policy.oracle import Judge, owner
from podwire_policy.reasons import Kind

HERE = "n1"
OWN = frozenset(packed(each, family_of(each)) for each in NODES[HERE])
ENDS = (*IPV4, *IPV6[:3], *OUTSIDE, *(ip for ips in NODES.values() for ip in ips))
WAYS = ((6, "TCP", 80), (17, "UDP", 81), (132, "SCTP", 90), (1, "ICMP", 0))
A, B = "10.0.0.1", "10.0.0.2"

Asked = tuple[str, str, str, int]


def entry(source: str, server: str, protocol: int = 6, port: int = 80) -> Entry:
    family = family_of(source)
    client, there = packed(source, family), packed(server, family)
    return Entry(family, protocol, client, 40000, there, port, there, port)


def questions() -> Iterator[tuple[Entry, Asked]]:
    for source, server in product(ENDS, ENDS):
        if family_of(source) is family_of(server):
            for number, word, port in WAYS:
                yield entry(source, server, number, port), (source, server, word, port)


def mirrored(*objects: KubernetesObject) -> Mirror:
    made = Mirror(HERE)
    made.apply(came(objects))
    return made


def came(objects: Sequence[KubernetesObject]) -> list[Change]:
    return [Change(type(each), each.name, each) for each in objects]


def here(snapshot: Snapshot) -> set[str]:
    """The addresses that this node speaks for, looked up the slow way."""
    mine = snapshot.get(Node, ObjectName("", HERE))
    networks = [ip_network(cidr) for cidr in (mine.pod_cidrs if mine else ())]
    found = set()
    for address in ENDS:
        pod_, ip = owner(snapshot, address), ip_address(address)
        given = any(address in each.addresses for each in snapshot.all(Attached))
        is_nobodys = pod_ is None and (given or any(ip in each for each in networks))
        if ip.packed not in OWN and (is_nobodys or (pod_ and pod_.spec.node_name == HERE)):
            found.add(address)
    return found


def verdicts(snapshot: Snapshot) -> dict[Asked, bool]:
    """What the oracle says of the sides that this node speaks for."""
    ours, judge = here(snapshot), Judge(snapshot)
    found = {}
    for _, asked in questions():
        sides = judge.judge(*asked)
        source, server, *_ = asked
        denials = {sides.egress.denial} if source in ours else set()
        denials |= {sides.ingress.denial} if server in ours else set()
        if ip_address(server).packed in OWN:
            denials.discard(Kind.ISOLATED)
        found[asked] = denials <= {None} or ip_address(source).packed in OWN
    return found


worlds = st.tuples(
    clusters(),
    st.lists(cluster_policies(), max_size=2),
    st.lists(attachments(), max_size=2),
    described_nodes(),
)


@settings(max_examples=40, deadline=None, print_blob=True)
@given(worlds)
def test_a_connection_may_go_on_when_the_oracle_would_let_it_begin(
    parts: tuple[list[KubernetesObject], ...],
) -> None:
    objects = [each for part in parts for each in part]
    snapshot, flows = Snapshot(objects), Flows(mirrored(*objects), OWN)
    said, ours = verdicts(snapshot), here(snapshot)
    for each, asked in questions():
        assert flows.allows(each) == said[asked], asked
        concerns_us = not ours.isdisjoint(asked[:2])
        assert flows.is_to_be_cut(each) == (concerns_us and not said[asked]), asked


@settings(max_examples=60, deadline=None, print_blob=True)
@given(
    worlds, st.lists(st.one_of(OBJECTS, attachments(), cluster_policies()), max_size=3), st.data()
)
def test_no_connection_is_missed_by_what_a_change_concerns(
    parts: tuple[list[KubernetesObject], ...], news: list[KubernetesObject], data: st.DataObject
) -> None:
    objects = [each for part in parts for each in part]
    snapshot, mirror = Snapshot(objects), mirrored(*objects)
    before = verdicts(snapshot)
    changes = came(news)
    if data.draw(st.booleans()):
        gone = data.draw(st.sampled_from(objects))
        if not any(each.name == gone.name and each.kind is type(gone) for each in changes):
            changes.append(Change(type(gone), gone.name, None))
    flows = Flows(mirror, OWN, mirror.apply(changes))
    for each in changes:
        snapshot.apply(each)
    after = verdicts(snapshot)
    for each, asked in questions():
        if before[asked] and not after[asked]:
            assert flows.is_to_be_cut(each), (asked, changes)


@given(st.lists(st.one_of(OBJECTS, attachments()), max_size=12))
def test_a_mirror_knows_whose_an_address_is_whatever_came_before(
    history: list[KubernetesObject],
) -> None:
    mirror, snapshot = Mirror(HERE), Snapshot()
    for each in history:
        for change in came([each]):
            mirror.apply([change])
            snapshot.apply(change)
    for address in (*IPV4, *IPV6):
        claimants = {each.name for each in snapshot.all(Pod) if address in each.ips}
        assert {each.name for each in mirror.claimants(address)} == claimants
    assert owner(mirror.snapshot, A) == owner(snapshot, A)
    for change in snapshot.changes():
        mirror.apply([Change(change.kind, change.name, None)])
    assert not list(mirror.local)
    assert not any(mirror.claimants(address) for address in (*IPV4, *IPV6))


# ------------------------------------------------------------------- what changes concern

PODS = pod("shop/a", A), pod("shop/b", B), pod("data/c", "10.0.1.1", node="n2")


def test_what_says_nothing_new_concerns_nobody() -> None:
    mirror = mirrored(*PODS, node(HERE, "10.0.0.0/24"), namespace("shop", k="1"))
    assert mirror.apply(came([*PODS, node(HERE, "10.0.0.0/24")])) == frozenset()


def test_a_pod_concerns_its_addresses_old_and_new() -> None:
    mirror = mirrored(*PODS)
    assert mirror.apply(came([pod("shop/a", "10.0.0.3")])) == {A, "10.0.0.3"}


def test_a_policy_concerns_its_namespaces_pods_of_this_node() -> None:
    mirror = mirrored(*PODS, policy("data/other"))
    assert mirror.apply(came([policy("shop/p")])) == {A, B}
    assert mirror.apply(came([policy("data/p")])) == frozenset()


def test_the_first_and_the_last_policy_concern_everyone() -> None:
    mirror = mirrored(*PODS)
    first = came([policy("shop/p")])
    assert mirror.apply(first) is None
    assert mirror.apply([Change(first[0].kind, first[0].name, None)]) is None


def test_a_namespaces_labels_concern_everyone() -> None:
    mirror = mirrored(*PODS, namespace("data", k="1"))
    assert mirror.apply(came([namespace("data", k="1")])) == frozenset()
    assert mirror.apply(came([namespace("data", k="2")])) is None


# -------------------------------------------------------------------------- what is judged


def test_a_connection_that_another_announced_is_left_alone() -> None:
    flows = Flows(mirrored(*PODS, policy("shop/p", ingress=[])), frozenset())
    plain, expected = entry("10.9.9.9", B), entry("10.9.9.9", B)
    status = b"\x08\x00\x03\x00" + (0x9).to_bytes(4, "big")
    assert flows.is_to_be_cut(plain)
    assert not flows.is_to_be_cut(expected._replace(raw=b"\x02\0\0\0" + status))


def test_who_is_judged_is_who_answers_not_who_was_dialled() -> None:
    flows = Flows(mirrored(*PODS, policy("shop/p", ingress=[])), frozenset())
    vip = packed("10.96.0.1", family_of(A))
    through = entry("10.9.9.9", B)._replace(destination=vip, destination_port=443)
    assert flows.is_to_be_cut(through)
    assert unpacked(through.destination) == "10.96.0.1"
    elsewhere = entry("10.9.9.9", "10.0.1.1")._replace(destination=vip)
    assert not flows.is_to_be_cut(elsewhere)


def test_the_nodes_own_connections_are_not_judged() -> None:
    mirror = mirrored(*PODS, policy("shop/p", ingress=[], policyTypes=["Ingress", "Egress"]))
    flows = Flows(mirror, frozenset({packed("192.168.5.5", family_of(A))}))
    assert not flows.is_to_be_cut(entry("192.168.5.5", B))
    assert not flows.is_to_be_cut(entry(B, "192.168.5.5"))
    assert flows.is_to_be_cut(entry(B, "192.168.5.6"))


def test_a_cut_connection_of_nobody_may_go_on() -> None:
    flows = Flows(mirrored(*PODS, policy("shop/p", ingress=[])), frozenset())
    assert flows.may_go_on(entry("10.9.9.9", "10.9.9.8"))
    assert not flows.may_go_on(entry("10.9.9.9", B))
