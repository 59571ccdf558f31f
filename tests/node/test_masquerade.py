"""What leaves the cluster takes the node's address: the table over the fake and the tracer."""

from __future__ import annotations

import pytest

from podwire_core.family import FAMILIES, Family, family_of
from podwire_core.feed.decode import decode
from podwire_core.nft.fake import Fake
from podwire_core.nft.owner import Owner
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Ruleset, trace
from podwire_core.objects import Node
from podwire_core.snapshot import Change, Snapshot
from podwire_node.masquerade import OWN_PODS, Masquerade

V4, V6 = Family.IPV4, Family.IPV6


def node(name: str, *cidrs: str) -> Node:
    document = {"metadata": {"name": name}, "spec": {"podCIDRs": list(cidrs)}}
    made = decode(document, Node, "test")
    assert isinstance(made, Node)
    return made


ONE = node("one", "10.244.1.0/24", "fd00:1::/64")
TWO = node("two", "10.244.2.0/24", "fd00:2::/64")
EXCLUDED = ("192.168.7.0/24", "10.244.0.0/16", "10.0.0.0/30", "fd77::/64")


class Site:
    """A Masquerade, and the fake that holds what it wants."""

    def __init__(self, *nodes: Node, excluded: tuple[str, ...] = EXCLUDED) -> None:
        self.masquerade = Masquerade("one", excluded)
        self.fake = Fake()
        self.owner = Owner(self.fake, self.masquerade.tables)
        self.snapshot = Snapshot()
        self.take(*nodes)

    def take(self, *nodes: Node) -> None:
        changes = [Change(Node, each.name, each) for each in nodes]
        self.tell([change for change in changes if self.snapshot.apply(change)])

    def forget(self, each: Node) -> None:
        change = Change(Node, each.name, None)
        self.snapshot.apply(change)
        self.tell([change])

    def tell(self, changes: list[Change]) -> None:
        self.sent = self.owner.change(self.masquerade.update(self.snapshot, changes))
        assert self.owner.in_force == {
            key: each.fingerprint for key, each in self.masquerade.wanted.items()
        }

    def masquerades(self, source: str, target: str) -> bool:
        packet = Packet(family_of(source), source, target, "tcp", 443)
        (way,) = trace(Ruleset(self.fake.objects()), packet)
        return way.packet.masqueraded


@pytest.mark.parametrize(
    ("promise", "source", "target", "masqueraded"),
    [
        ("a pod to the world", "10.244.1.5", "8.8.8.8", True),
        ("a pod to the world in IPv6", "fd00:1::5", "2001:db8::8", True),
        ("a pod to another node", "10.244.1.5", "192.168.8.3", True),
        ("a pod to a pod of the same node", "10.244.1.5", "10.244.1.6", False),
        ("a pod to a pod of another node", "10.244.1.5", "10.244.2.6", False),
        ("a pod to a pod of another node in IPv6", "fd00:1::5", "fd00:2::6", False),
        ("a pod to an excluded network", "10.244.1.5", "192.168.7.9", False),
        ("a pod to an excluded network in IPv6", "fd00:1::5", "fd77::9", False),
        ("a pod to a small excluded network", "10.244.1.5", "10.0.0.2", False),
        ("a pod to what is beside it", "10.244.1.5", "10.0.0.4", True),
        ("a pod to a link-local address", "10.244.1.5", "169.254.169.254", False),
        ("a pod to a link-local address in IPv6", "fd00:1::5", "fe80::1", False),
        ("a pod to a group", "10.244.1.5", "239.1.2.3", False),
        ("a pod to a group in IPv6", "fd00:1::5", "ff05::1", False),
        ("a pod to everyone on the link", "10.244.1.5", "255.255.255.255", False),
        ("another node's pod that passes through", "10.244.2.5", "8.8.8.8", False),
        ("someone else who passes through", "192.168.7.9", "8.8.8.8", False),
    ],
)
def test_who_is_masqueraded(promise: str, source: str, target: str, masqueraded: bool) -> None:
    assert Site(ONE, TWO).masquerades(source, target) is masqueraded, promise


def test_nothing_is_masqueraded_before_our_pod_cidr_is_known() -> None:
    site = Site(TWO, node("one"))
    assert not site.masquerades("10.244.1.5", "8.8.8.8")
    site.take(ONE)
    assert site.masquerades("10.244.1.5", "8.8.8.8")


def test_the_tables_stand_before_any_node_does() -> None:
    site = Site()
    assert site.sent
    assert not site.masquerades("10.244.1.5", "8.8.8.8")


def test_a_node_that_comes_or_goes_is_elements() -> None:
    site = Site(ONE, excluded=())
    site.take(TWO)
    assert {noun for _, noun in site.sent.counts()} == {"element"}
    site.forget(TWO)
    assert {noun for _, noun in site.sent.counts()} == {"element"}
    assert site.masquerades("10.244.1.5", "10.244.2.6"), "no one's pods any more"


def test_what_changes_nothing_sends_nothing() -> None:
    site = Site(ONE, TWO)
    site.tell([Change(Node, TWO.name, TWO)])
    assert not site.sent
    assert not site.owner.sync(site.masquerade.wanted)


def test_overlaps_of_all_kinds_become_disjoint() -> None:
    neighbours = node("three", "10.244.3.0/24"), node("four", "10.244.3.128/25", "fd00:1::/48")
    site = Site(ONE, TWO, *neighbours, excluded=("10.244.0.0/15", "0.0.0.0/1", "fd00::/16"))
    assert not site.masquerades("10.244.1.5", "10.244.3.7")
    assert not site.masquerades("10.244.1.5", "8.8.8.8"), "the operator said so"
    assert site.masquerades("10.244.1.5", "200.1.1.1")


def test_a_pod_cidr_of_everything_is_left_out_and_named() -> None:
    site = Site(ONE, node("bad", "0.0.0.0/0", "::/0"))
    assert site.masquerades("10.244.1.5", "8.8.8.8")
    assert {problem.object for problem in site.masquerade.problems} == {"Node bad"}
    site = Site(node("one", "0.0.0.0/0"))
    assert not any(key[3:4] == (OWN_PODS,) and "element" in key for key in site.masquerade.wanted)


def test_an_exclusion_that_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="everyone"):
        Masquerade("one", ["everyone"])


def test_each_family_has_a_table_alike() -> None:
    wanted = Masquerade("one", []).wanted
    names = {
        family: {key[2:4] for key in wanted if key[0] == family.nft and "element" not in key}
        for family in FAMILIES
    }
    assert names[V4] == names[V6]
