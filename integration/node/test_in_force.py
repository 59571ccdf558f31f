"""What explain finds in a real kernel whose sets are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
import small_shop
from scratch import Netns
from small_shop import address

from podwire_core.family import Family, family_of
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.lookup import Lookup
from podwire_core.nft.owner import Owner
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate
from podwire_core.objects import Protocol
from podwire_node.explain.in_force import InForce, Walked
from podwire_policy.oracle import Judge
from podwire_policy.policies import Policies

V4, V6 = Family.IPV4, Family.IPV6
LOCAL = ("192.168.77.1", "fd00:77::1")


@dataclass
class Node:
    """A namespace with node1's tables."""

    netns: Netns
    policies: Policies
    tables: InForce

    def walk(self, source: str, destination: str, port: int, version: int = 4) -> Walked:
        ends = (address(source, version), address(destination, version))
        return self.tables.walk(Packet(V4 if version == 4 else V6, *ends, "tcp", port))

    def element(self, verb: str, name: str, words: str) -> None:
        self.netns.run("nft", verb, "element", "ip", "podwire-policy", name, f"{{ {words} }}")


@pytest.fixture
def node(new_netns: Callable[[], Netns]) -> Node:
    netns, policies = new_netns(), Policies("node1")
    snapshot = small_shop.snapshot()
    policies.update(snapshot, snapshot.changes())
    with netns.inside():
        owner, lookup = Owner(Kernel(), policies.tables), Lookup()
    owner.sync(policies.wanted)
    return Node(netns, policies, InForce(policies.tables, policies.wanted.get, lookup, LOCAL))


def fate(found: Walked) -> Fate:
    assert found.way is not None, found.wrong
    return found.way.fate


@pytest.mark.parametrize("version", [4, 6])
def test_in_order_there_is_nothing_wrong(node: Node, version: int) -> None:
    allowed = node.walk("shop/web", "shop/api-1", 8080, version)
    denied = node.walk("shop/web", "data/db", 5432, version)
    assert (fate(allowed), fate(denied)) == (Fate.ACCEPT, Fate.DROP)
    assert (allowed.wrong, denied.wrong) == ((), ())


CLUSTER_POLICIES = [
    small_shop.cluster_policy(
        "fence",
        3,
        egress=[
            {
                "action": "Deny",
                "to": [{"networks": ["203.0.113.0/24", "2001:db8::/32", "10.244.2.6/32"]}],
                "protocols": [{"tcp": {"destinationPort": {"range": {"start": 50, "end": 90}}}}],
            },
            {"action": "Pass", "to": [{"namespaces": {}}]},
            {"action": "Deny", "to": [{"nodes": {}}]},
        ],
    ),
    small_shop.cluster_policy(
        "floor",
        1,
        tier="Baseline",
        ingress=[
            {
                "action": "Accept",
                "from": [{"pods": {"podSelector": {"matchLabels": {"app": "web"}}}}],
                "protocols": [{"destinationNamedPort": "sql"}],
            },
            {"action": "Deny", "from": [{"namespaces": {}}]},
        ],
    ),
]


def test_every_question_has_the_oracles_answer(new_netns: Callable[[], Netns]) -> None:
    """Sets of every kind: hash and interval, one part and several, names, nodes, networks."""
    blocks = {"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.1.4/31"]}}
    rows = [
        *small_shop.documents((*small_shop.POLICIES, *CLUSTER_POLICIES)),
        small_shop.policy(
            "shop/cron",
            "cron",
            ingress=[{"from": [blocks], "ports": [{"port": 70, "endPort": 90}]}],
        ),
    ]
    snapshot = small_shop.snapshot(rows)
    netns, policies = new_netns(), Policies("node1")
    policies.update(snapshot, snapshot.changes())
    with netns.inside():
        owner, lookup = Owner(Kernel(), policies.tables), Lookup()
    owner.sync(policies.wanted)
    tables = InForce(policies.tables, policies.wanted.get, lookup, LOCAL)
    judge = Judge(snapshot)
    asked = 0
    for source, destination in product(_ends(), _ends()):
        if family_of(source) is not family_of(destination) or source == destination:
            continue
        for protocol, port in product(Protocol, (53, 80, 5432, 8080)):
            judged = judge.judge(source, destination, protocol, port)
            sides = ((judged.egress, source), (judged.ingress, destination))
            expected = all(side.allowed for side, end in sides if _is_here(end))
            local = source in LOCAL
            family = family_of(source)
            packet = Packet(family, source, destination, protocol.nft, port, from_node=local)
            found = tables.walk(packet)
            assert found.wrong == ()
            assert (fate(found) is Fate.ACCEPT) == expected, (packet, judged)
            asked += 1
    assert asked > 1000


def _ends() -> list[str]:
    """Pods, a node of each kind, outsiders, and addresses that nobody has."""
    pods = [address(name, version) for name in small_shop.PODS for version in (4, 6)]
    nodes = ["192.168.77.1", "192.168.77.2", "fd00:77::2"]
    return [*pods, *nodes, small_shop.OUTSIDE, "2001:db8:1::7", "10.244.1.99", "fd00:10:244:2::99"]


def _is_here(end: str) -> bool:
    return end.startswith(("10.244.1.", "fd00:10:244:1::"))


def test_an_element_that_is_missing_is_named(node: Node) -> None:
    web = address("shop/web")
    node.element("delete", "egress-isolated", web)
    found = node.walk("shop/web", "data/db", 5432)
    assert fate(found) is Fate.ACCEPT, "the kernel would let it pass"
    assert found.wrong == (f"{web} is not in egress-isolated in the kernel, and should be",)


def test_an_element_too_many_is_named(node: Node) -> None:
    before = node.walk("shop/web", "data/db", 5432)
    assert before.way is not None
    chain = before.way.steps[-1].chain
    cron = address("shop/cron")
    node.element("add", "egress-isolated", f"{cron} : goto {chain}")
    found = node.walk("shop/cron", "data/db", 5432)
    assert fate(found) is Fate.DROP
    assert found.wrong == (f"{cron} is in egress-isolated in the kernel, and should not be",)


def test_an_element_that_leads_elsewhere_is_named(node: Node) -> None:
    web = address("shop/web")
    node.element("delete", "egress-isolated", web)
    node.element("add", "egress-isolated", f"{web} : return")
    (wrong,) = node.walk("shop/web", "data/db", 5432).wrong
    assert wrong.startswith(f"{web} leads to return by egress-isolated in the kernel, not to goto")


def test_what_leads_to_a_chain_of_someone_else_cannot_be_told(node: Node) -> None:
    web = address("shop/web")
    node.netns.run("nft", "add", "chain", "ip", "podwire-policy", "theirs")
    node.element("delete", "egress-isolated", web)
    node.element("add", "egress-isolated", f"{web} : goto theirs")
    found = node.walk("shop/web", "data/db", 5432)
    assert found.way is None
    assert "a set in the kernel leads to chain theirs, which is none of ours" in found.wrong


def test_a_rule_too_many_cannot_be_told_and_is_said(node: Node) -> None:
    node.netns.run("nft", "insert", "rule", "ip", "podwire-policy", "forward", "accept")
    found = node.walk("shop/web", "data/db", 5432)
    assert found.way is None
    assert len(found.wrong) == 1
    assert found.wrong[0].startswith("chain forward: its ")


def test_without_our_table_packets_pass(node: Node) -> None:
    node.netns.run("nft", "delete", "table", "ip", "podwire-policy")
    found = node.walk("shop/web", "data/db", 5432)
    assert fate(found) is Fate.ACCEPT
    assert found.wrong == ("chain forward of table ip podwire-policy is not in the kernel",)
    assert fate(node.walk("shop/web", "data/db", 5432, 6)) is Fate.DROP, "the other one stands"


def test_every_base_chain_is_named_after_its_hook(node: Node) -> None:
    """Explain finds base chains by that name."""
    chains = [each for key, each in node.policies.wanted.items() if key[2:3] == ("chain",)]
    based = [each for each in chains if getattr(each, "hook", None)]
    assert based
    assert {each.name for each in based} == {each.hook.hook for each in based}
