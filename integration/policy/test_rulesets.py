"""The kernel takes every ruleset that is compiled, and lists it as it was given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cluster_policy_model import (
    accept,
    cluster_policy,
    deny,
    named_port,
    networks,
    nodes,
    of_namespaces,
    of_pods,
    pass_,
    sctp,
    tcp,
    udp,
)
from cluster_policy_strategies import whole_clusters
from hypothesis import HealthCheck, given, settings
from policy_model import (
    NodeRules,
    block,
    expression,
    match,
    namespace,
    namespaces,
    node,
    pod,
    pods,
    policy,
    port,
)
from scratch import Netns

from podwire_core.nft.kernel import Kernel
from podwire_core.nft.objects import Chain
from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change, Snapshot

EVERY_PORT = [port(), port(protocol="UDP"), port(protocol="SCTP")]
SOME_PORTS = [
    port(80), port(81), port(8000, end=8100), port(8101), port(65535), port(1, end=9),
    port(53, "UDP"), port("http"), port("dns", "UDP"), port(9, "SCTP"), port(7, "SCTP", 70),
]  # fmt: skip
SOME_PEERS = [
    pods(match(app="web")),
    namespaces({}),
    {**namespaces(expression("team", "In", "a", "b")), **pods(expression("app", "Exists"))},
    block("10.0.0.0/8", "10.1.0.0/16", "10.2.3.4/32"),
    block("10.1.128.0/17"),
    block("0.0.0.0/1"),
    block("255.255.255.255/32"),
    block("255.0.0.0/8", "255.0.0.0/32"),
    block("fd00::/8", "fd00:1::/64"),
    block("ffff::/16"),
    block("::/128"),
]
ANYONE = [block("0.0.0.0/0"), block("::/0")]
ANYONE_BUT = [block("0.0.0.0/0", "169.254.169.254/32"), block("::/0", "fd00:ec2::254/128")]
RULES = [
    {"peers": peers, "ports": ports}
    for peers in ([], SOME_PEERS, ANYONE, ANYONE_BUT)
    for ports in ([], EVERY_PORT, SOME_PORTS, [port("http")], [port(443)])
]
ROWS = (accept, deny, pass_)
LONG = "a" * 60 + "." + "b" * 60  # longer than the kernel's comments and chains' names may be


def mixed() -> list[KubernetesObject]:
    """Every shape of rule, on pods of both families, in groups of several policies."""
    policies = [
        policy(
            f"ns{number % 3}/{LONG}.{number}",
            podSelector=match(app="web") if number % 2 else {},
            policyTypes=["Ingress", "Egress"],
            ingress=[{"from": rule["peers"], "ports": rule["ports"]}],
            egress=[{"to": rule["peers"], "ports": rule["ports"]}],
        )
        for number, rule in enumerate(RULES)
    ]
    everyone = [
        pod(
            f"ns{ns}/{LONG}-{number}", f"10.244.{ns}.{number}", f"fd00:{ns}::{number}",
            labels={"app": "web" if number % 3 else "db"},
            ports=[("http", "TCP", 8000 + number), ("dns", "UDP", 53)],
            node=f"n{1 + number % 2}",
        )
        for ns in range(3)
        for number in range(1, 9)
    ]  # fmt: skip
    return [
        node("n1", "10.244.0.0/24", "fd00:0::/64"),
        *(namespace(f"ns{n}", team="abc"[n]) for n in range(3)),
        *everyone,
        *policies,
        *tiers(),
    ]


def tiers() -> list[KubernetesObject]:
    """Every shape of a cluster policy's rule, under names that nft would not take as they are."""
    others = [networks("10.0.0.0/8", "fd00::/8", "192.0.2.7/32"), nodes({}), nodes(match(k="v"))]
    insiders = [of_namespaces({}), of_pods(match(app="web")), of_namespaces(match(team="a"))]
    ports = [tcp(80), udp(), sctp(9, 20), named_port("http")]
    rows = [row(*insiders, on=on, name='say "ön"') for row in ROWS for on in ([], ports)]
    more = [row(*insiders, *others, on=[tcp(1, 9)], telepathy=True) for row in ROWS]
    return [
        cluster_policy(f"{LONG}-{tier}", tier=tier, ingress=rows, egress=[*rows, *more])
        for tier in ("Admin", "Baseline")
    ]


@pytest.fixture
def rules(new_netns: Callable[[], Netns]) -> NodeRules:
    with new_netns().inside():
        return NodeRules("n1", Kernel())


def update(rules: NodeRules, snapshot: Snapshot, objects: list[KubernetesObject]) -> None:
    rules.update(snapshot, [Change(type(each), each.name, each) for each in objects])


def assert_in_force(rules: NodeRules) -> None:
    """The kernel lists what is wanted, and a second sync sends nothing."""
    wanted = {key: each.fingerprint for key, each in rules.policies.wanted.items()}
    assert rules.nft.read(rules.policies.tables) == wanted
    rules.owner.adopt()
    assert not rules.owner.sync(rules.policies.wanted)


def test_every_shape_is_accepted_and_listed_as_given(rules: NodeRules) -> None:
    objects = mixed()
    update(rules, Snapshot(objects), objects)
    assert len(rules.policies.wanted) > 400
    assert_in_force(rules)


def test_nothing_is_anonymous(rules: NodeRules) -> None:
    """Not as we write it, nor as nft lists it."""
    objects = mixed()
    update(rules, Snapshot(objects), objects)
    chains = [each for each in rules.policies.wanted.values() if isinstance(each, Chain)]
    texts = [rule.text for chain in chains for rule in chain.rules]
    assert len(texts) > 100
    assert not [text for text in texts if "{" in text.replace("update @seen {", "")]


def test_ranges_of_both_families_are_listed_as_given(rules: NodeRules) -> None:
    """Blocks with holes: ranges where no CIDR fits, to the very ends of both families."""
    v4 = ["0.0.0.0/32", "10.0.0.1/32", "10.0.0.4/32", "10.0.1.0/24", "255.255.255.254/32"]
    v6 = ["::/128", "::1.2.3.4/128", "fd00::/16", "fd01::8/125", "ffff::/17"]
    halves = ["10.0.0.0/9", "10.128.0.0/10"]
    update_with = policy(
        "ns0/holes",
        ingress=[
            {"from": [block("0.0.0.0/0", *v4), block("::/0", *v6)], "ports": [port(80)]},
            {"from": [*map(block, halves), block("fd00::/16", "fd00::/128")]},
        ],
    )
    objects = [pod("ns0/web", "10.244.0.1", "fd00::1"), update_with]
    update(rules, Snapshot(objects), objects)
    listed = [key[4] for key in rules.policies.wanted if len(key) == 5 and key[3][:6] == "cidrs-"]
    assert sum("-" in each for each in listed) > 6
    assert_in_force(rules)


@settings(
    max_examples=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(objects=whole_clusters())
def test_random_rulesets_follow_each_other(
    rules: NodeRules, objects: list[KubernetesObject]
) -> None:
    """One namespace for all: each example is a change of everything from the one before."""
    following = NodeRules("n1", rules.nft)
    following.owner.adopt()
    following.policies.update(Snapshot(objects), [Change(type(e), e.name, e) for e in objects])
    following.owner.sync(following.policies.wanted)
    assert_in_force(following)


def test_a_policy_that_flaps_leaves_nothing_behind(rules: NodeRules) -> None:
    objects = mixed()
    snapshot = Snapshot(objects)
    update(rules, snapshot, objects)
    before = rules.nft.read(rules.policies.tables)
    flapping = policy(
        "ns0/flapping",
        policyTypes=["Ingress", "Egress"],
        ingress=[{"from": [pods(match(app="db")), block("192.0.2.0/24")], "ports": [port("http")]}],
        egress=[{"ports": [port(5000, end=5999)]}],
    )
    for _ in range(50):
        for new in (flapping, None):
            change = Change(type(flapping), flapping.name, new)
            snapshot.apply(change)
            assert rules.update(snapshot, [change])
    assert rules.nft.read(rules.policies.tables) == before
    assert rules.owner.in_force == before
