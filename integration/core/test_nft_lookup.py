"""The kernel itself says what a packet would find, and what its rules have counted."""

from __future__ import annotations

import resource
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from nft_refusals import API, DENIED, JUDGE, POD, SLOT, TABLE, TCP_VIP, TEN, V4, base
from scratch import Netns

from podwire_core.delta import Delta
from podwire_core.errors import NftError
from podwire_core.family import Family
from podwire_core.nft.expressions import L4PROTO, concat, daddr, dport, saddr
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.lookup import Counted, Lookup
from podwire_core.nft.netlink import Absent
from podwire_core.nft.objects import Chain, Element, Hook, Object, Rule, Set, Table
from podwire_core.nft.statements import DROP, Counter, Match, Update
from podwire_core.nft.transaction import transaction

SPANS = Set(TABLE, "spans", concat(saddr(V4), dport("tcp")), "both", interval=True)
WIDE = Element(TABLE, "spans", ("10.1.0.0/16", "80-90"), words="many of both")
SEEN = Set(TABLE, "seen", concat(saddr(V4), daddr(V4), L4PROTO, dport("udp")), "", timeout=60)


def add(kernel: Kernel, *objects: Object) -> None:
    kernel.commit(transaction(Delta(added={each.key: each for each in objects})))


@pytest.fixture
def filled(kernel: Kernel) -> Kernel:
    kernel.commit(base())
    return kernel


@pytest.fixture
def lookup(home: Netns, filled: Kernel) -> Lookup:  # noqa: ARG001 - what there is to look up
    with home.inside():
        return Lookup()


def test_who_closes_it_gives_its_descriptor_back_at_once(home: Netns) -> None:
    with home.inside():
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(10):
            with closing(Lookup()) as lookup:
                lookup.myself = lookup  # type: ignore[attr-defined]  # a cycle, as who uses it may make
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_without_a_free_descriptor_it_says_so(home: Netns) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with home.inside():
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(NftError, match="cannot be asked: Too many open files"):
                Lookup()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("element", [POD, SLOT, API], ids=["set", "map", "map of verdicts"])
def test_an_element_is_found_by_its_key_with_value_and_comment(
    lookup: Lookup, element: Element
) -> None:
    assert lookup.get(TABLE, element.set, element.parts) == element


def test_who_is_in_no_set_is_found_in_none(lookup: Lookup) -> None:
    assert lookup.get(TABLE, "pods", ("10.244.9.9",)) is None
    assert lookup.get(TABLE, "frontends", ("10.96.0.1", "udp", "80")) is None


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.0", "10.0.0.0/8"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("10.255.255.255", "10.0.0.0/8"),
        ("11.0.0.0", "11.0.0.0/24"),
        ("11.0.0.255", "11.0.0.0/24"),
        ("172.16.0.7", "172.16.0.5-172.16.0.9"),
        ("240.0.0.1", "240.0.0.0/4"),
        ("255.255.255.255", "240.0.0.0/4"),
        ("9.255.255.255", ""),
        ("11.0.1.0", ""),
        ("172.16.0.10", ""),
        ("0.0.0.0", ""),
    ],
)
def test_an_interval_is_found_by_any_value_in_it(
    filled: Kernel, lookup: Lookup, address: str, network: str
) -> None:
    others = ("11.0.0.0/24", "172.16.0.5-172.16.0.9", "240.0.0.0/4")
    add(filled, *(Element(TABLE, "cidrs", (each,)) for each in others))
    found = lookup.get(TABLE, "cidrs", (address,))
    assert (found.key_text if found else "") == network


def test_an_intervals_comment_is_told(lookup: Lookup) -> None:
    assert lookup.get(TABLE, "cidrs", ("10.9.9.9",)) == TEN


def test_an_interval_of_several_parts_is_found_by_all_of_them(
    filled: Kernel, lookup: Lookup
) -> None:
    add(filled, SPANS, WIDE)
    assert lookup.get(TABLE, "spans", ("10.1.2.3", "85")) == WIDE
    assert lookup.get(TABLE, "spans", ("10.1.2.3", "91")) is None
    assert lookup.get(TABLE, "spans", ("10.2.0.0", "85")) is None


def test_what_packets_wrote_is_found(home: Netns, filled: Kernel, lookup: Lookup) -> None:
    udp = Match(L4PROTO, ("udp",))
    hook = Hook("filter", "output", 0)
    remember = Chain(TABLE, "remember", (Rule((udp, Update(SEEN.typeof, "seen", 60))),), hook)
    add(filled, SEEN, remember)
    with home.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", 1053))
    key = ("127.0.0.1", "127.0.0.1", "udp", "1053")
    assert lookup.get(TABLE, "seen", key) == Element(TABLE, "seen", key)


def test_the_other_family_has_sets_of_its_own(home: Netns, kernel: Kernel) -> None:
    table = Table(Family.IPV6, "podwire-test")
    pods = Set(table, "pods", saddr(Family.IPV6), "addresses")
    add(kernel, table, pods, Element(table, "pods", ("fd00::5",)))
    with home.inside():
        lookup = Lookup()
    assert lookup.get(table, "pods", ("fd00::5",))
    with pytest.raises(Absent):
        lookup.get(TABLE, "pods", ("10.244.1.5",))


def test_a_set_that_was_made_anew_is_asked_for_its_keys(filled: Kernel, lookup: Lookup) -> None:
    add(filled, Set(TABLE, "more", TCP_VIP), Element(TABLE, "more", ("10.0.0.1", "80")))
    assert lookup.get(TABLE, "more", ("10.0.0.1", "80"))
    lookup.forget()
    with pytest.raises(Absent):
        lookup.get(TABLE, "never", ("10.0.0.1",))


def test_rules_tell_what_they_counted(home: Netns, filled: Kernel, lookup: Lookup) -> None:
    here = replace(JUDGE, hook=Hook("filter", "output", 0), rules=JUDGE.rules[:1])
    counting = Rule((Match(L4PROTO, ("udp",)), Counter(), DROP), "counted")
    add(filled, replace(here, rules=(*here.rules, counting)), DENIED)
    with home.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(3):
            with pytest.raises(PermissionError):
                sender.sendto(b"x" * 10, ("127.0.0.1", 1053))
    first, second = lookup.rules(TABLE, "judge")
    assert first == Counted("judge", here.rules[0].comment)
    assert second == Counted("judge", counting.comment, 3, 3 * 38)
    assert {each.chain for each in lookup.rules(TABLE)} >= {"judge", "denied", "forward"}


def test_a_chain_without_rules_is_not_one_that_is_absent(filled: Kernel, lookup: Lookup) -> None:
    add(filled, Chain(TABLE, "empty"))
    assert lookup.rules(TABLE, "empty") == []
    with pytest.raises(Absent):
        lookup.rules(TABLE, "never")
