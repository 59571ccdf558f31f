"""The tracer takes a packet through chains as nf_tables does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nft_refusals import DENIED, JUDGE, POD, PODS, TABLE, TCP_VIP, V4

from podwire_core.nft.expressions import (
    DADDR_TYPE,
    IIFNAME,
    SADDR_TYPE,
    Field,
    Numgen,
    concat,
    constant,
    daddr,
    dport,
    hashed,
    original_saddr,
    saddr,
)
from podwire_core.nft.objects import Chain, Element, Hook, Object, Rule, Set
from podwire_core.nft.packet import Packet
from podwire_core.nft.statements import (
    ACCEPT,
    DROP,
    Dnat,
    Masquerade,
    Match,
    Statement,
    Update,
    Vmap,
    jump,
)
from podwire_core.nft.tracer import Fate, Ruleset, Trace, trace

SYN = Packet(V4, "10.1.1.1", "10.96.0.1", "tcp", 80, iif="eth0")
CLIENT = concat(saddr(V4), constant(4_000_000_000))
CLIENTS = Set(TABLE, "clients", CLIENT, "", TCP_VIP, timeout=60, size=2)
SLOTS = Set(TABLE, "slots", concat(dport("tcp"), Numgen(2)), "", TCP_VIP)
BACKENDS = ("10.244.1.1", "8080"), ("10.244.1.2", "8080")
SLOT_ELEMENTS = [
    Element(TABLE, "slots", ("80", str(slot)), backend) for slot, backend in enumerate(BACKENDS)
]


def chain(name: str, *rules: tuple[Statement, ...], hook: Hook | None = None) -> Chain:
    return Chain(TABLE, name, tuple(Rule(each) for each in rules), hook)


def nat(*rules: tuple[Statement, ...]) -> Chain:
    return chain("nat", *rules, hook=Hook("nat", "prerouting", -100))


def fates(objects: list[Object], packet: Packet = SYN, local: tuple[str, ...] = ()) -> set[Fate]:
    return {each.fate for each in trace(Ruleset(objects, local), packet)}


def one(objects: list[Object], packet: Packet = SYN) -> Trace:
    (only,) = trace(Ruleset(objects), packet)
    return only


def drops(match: Match, packet: Packet = SYN, local: tuple[str, ...] = ()) -> bool:
    hook = Hook("filter", "prerouting", -110)
    return fates([chain("filter", (match, DROP), hook=hook)], packet, local) == {Fate.DROP}


# ------------------------------------------------------------------------------ the way


def test_chains_of_a_hook_are_met_by_priority_and_a_drop_before_nat_is_final() -> None:
    late = nat((Dnat(V4, concat(dport("tcp"), constant(0)), "slots"),))
    early = chain("early", (DROP,), hook=Hook("filter", "prerouting", -110))
    raw = chain("raw", (ACCEPT,), hook=Hook("filter", "prerouting", -300))
    traced = one([late, early, raw, SLOTS, *SLOT_ELEMENTS])
    assert traced.fate is Fate.DROP
    assert [step.chain for step in traced.steps] == ["raw", "early"]
    assert not traced.packet.dnat


@pytest.mark.parametrize("nested", [False, True], ids=["at once", "after a jump"])
def test_a_map_may_say_drop(nested: bool) -> None:
    fields = concat(daddr(V4), dport("tcp"))
    verdicts = Set(TABLE, "verdicts", fields, "", "verdict")
    drop = Element(TABLE, "verdicts", ("10.96.0.1", "80"), DROP)
    look = chain("look", (Vmap(fields, "verdicts"),))
    first = nat((jump("look"),)) if nested else nat((Vmap(fields, "verdicts"),))
    objects = [verdicts, drop, look, first]
    assert fates(objects) == {Fate.DROP}
    assert fates(objects, replace(SYN, dport=81)) == {Fate.ACCEPT}


def test_masquerading_keeps_the_original_source() -> None:
    traced = one(
        [
            chain("post", (Masquerade(),), hook=Hook("nat", "postrouting", 100)),
            chain(
                "late",
                (Match(original_saddr(V4), values=("10.1.1.1",)), DROP),
                hook=Hook("filter", "postrouting", 200),
            ),
        ]
    )
    assert traced.packet.masqueraded
    assert traced.fate is Fate.DROP


# ------------------------------------------------------------------------------ the fields


@pytest.mark.parametrize(
    ("names", "interface", "matches"),
    [
        (("eth0",), "eth0", True),
        (("eth",), "eth0", False),
        (("eth*",), "eth0", True),
        (("cali*",), "eth0", False),
        (("eth*",), "", False),
    ],
)
def test_an_interface_is_named_whole_or_by_a_prefix(
    names: tuple[str, ...], interface: str, matches: bool
) -> None:
    packet = replace(SYN, iif=interface)
    assert drops(Match(IIFNAME, values=names), packet) is matches
    assert drops(Match(IIFNAME, values=names, negated=True), packet) is not matches


@pytest.mark.parametrize(
    ("field", "local", "matches"),
    [
        (SADDR_TYPE, "10.1.1.1", True),
        (SADDR_TYPE, "10.96.0.1", False),
        (DADDR_TYPE, "10.96.0.1", True),
        (DADDR_TYPE, "10.1.1.1", False),
    ],
)
def test_an_address_is_local_when_it_is_the_nodes_own(
    field: Field, local: str, matches: bool
) -> None:
    assert drops(Match(field, values=("local",)), local=(local,)) is matches


# ------------------------------------------------------------------------------ numbers


def test_a_constant_is_no_choice() -> None:
    key = concat(dport("tcp"), constant(4_294_967_295))
    slots = Set(TABLE, "slots", key, "", TCP_VIP)
    element = Element(TABLE, "slots", ("80", "4294967295"), BACKENDS[0])
    assert one([slots, element, nat((Dnat(V4, key, "slots"),))]).packet.daddr == "10.244.1.1"


def test_a_random_number_may_begin_anywhere() -> None:
    key = concat(dport("tcp"), Numgen(2, 7))
    elements = [
        Element(TABLE, "slots", ("80", str(7 + n)), backend) for n, backend in enumerate(BACKENDS)
    ]
    traced = trace(Ruleset([SLOTS, *elements, nat((Dnat(V4, key, "slots"),))]), SYN)
    assert [each.packet.daddr for each in traced] == ["10.244.1.1", "10.244.1.2"]


# ------------------------------------------------------------------------------ memory

REMEMBER = Update(CLIENT, "clients", 30, concat(daddr(V4), dport("tcp")))
FROM_MEMORY = Dnat(V4, CLIENT, "clients")


def test_an_update_is_told_and_is_what_the_next_packet_meets() -> None:
    chains = [nat((FROM_MEMORY,), (REMEMBER,))]
    first = one([CLIENTS, *chains])
    assert first.updates == (
        Element(TABLE, "clients", ("10.1.1.1", "4000000000"), ("10.96.0.1", "80")),
    )
    assert not first.packet.dnat
    again = one([CLIENTS, *chains, *first.updates], replace(SYN, daddr="10.96.0.9"))
    assert again.packet.daddr == "10.96.0.1"
    assert again.updates == ()


def test_an_update_is_in_force_for_the_rest_of_the_packets_way() -> None:
    traced = one([CLIENTS, nat((REMEMBER,), (FROM_MEMORY,))])
    assert traced.packet.daddr == "10.96.0.1"
    assert traced.packet.dnat


def test_what_is_remembered_keeps_its_value_and_is_told_again() -> None:
    old = Element(TABLE, "clients", ("10.1.1.1", "4000000000"), BACKENDS[1])
    traced = one([CLIENTS, old, nat((REMEMBER,))])
    assert traced.updates == (old,)


def test_where_memory_is_full_the_rule_ends_and_the_next_goes_on() -> None:
    full = [Element(TABLE, "clients", (f"10.1.1.{n}", "4000000000"), BACKENDS[0]) for n in (8, 9)]
    after = (REMEMBER, DROP)
    traced = one([CLIENTS, *full, nat(after, (Match(dport("tcp"), values=("80",)), ACCEPT))])
    assert traced.fate is Fate.ACCEPT
    assert traced.updates == ()
    known = replace(SYN, saddr="10.1.1.8")
    assert one([CLIENTS, *full, nat(after)], known).fate is Fate.DROP


def test_each_random_choice_remembers_its_own() -> None:
    pick = Dnat(V4, concat(dport("tcp"), Numgen(2)), "slots")
    learn = chain("learn", (REMEMBER,), hook=Hook("filter", "forward", 0))
    traced = trace(Ruleset([CLIENTS, SLOTS, *SLOT_ELEMENTS, nat((pick,)), learn]), SYN)
    assert [each.updates[0].data for each in traced] == [*BACKENDS]


def test_a_hashed_client_is_known_by_it_and_returns_by_two_maps() -> None:
    key = concat(*hashed(original_saddr(V4)), constant(7))
    addresses = Set(TABLE, "addresses", key, "", daddr(V4), timeout=60)
    ports = Set(TABLE, "ports", key, "", dport("tcp"), timeout=60)
    back = (Dnat(V4, key, "addresses", ports="ports"),)
    both = (
        Update(key, "addresses", 60, daddr(V4)),
        Update(key, "ports", 60, dport("tcp")),
    )
    objects = [addresses, ports, nat(back, both)]
    first = one([*objects])
    assert [each.data for each in first.updates] == [("10.96.0.1",), ("80",)]
    again = one([*objects, *first.updates], replace(SYN, daddr="10.96.0.9", dport=81)).packet
    assert (again.daddr, again.dport) == ("10.96.0.1", 80)
    other = one([*objects, *first.updates], replace(SYN, saddr="10.1.1.2", daddr="10.96.0.9"))
    assert not other.packet.dnat
    half = one([*objects, first.updates[0]], replace(SYN, daddr="10.96.0.9"))
    assert not half.packet.dnat


def test_a_set_remembers_keys_alone() -> None:
    seen = Set(TABLE, "seen", saddr(V4), timeout=5)
    traced = one([seen, nat((Update(saddr(V4), "seen", 5),))])
    assert traced.updates == (Element(TABLE, "seen", ("10.1.1.1",)),)


# ------------------------------------------------------------------------ what is denied

JUDGED: list[Object] = [PODS, POD, JUDGE, DENIED]
HERE = ("10.96.0.1",)
FROM_POD = replace(SYN, saddr="10.244.1.5", iif="podwire1")


def judged(packet: Packet) -> Trace:
    (only,) = trace(Ruleset(JUDGED, HERE), packet)
    return only


def test_a_packet_without_a_way_out_is_the_nodes_own() -> None:
    assert judged(SYN).fate is Fate.ACCEPT
    elsewhere = replace(JUDGE, hook=Hook("filter", "forward", 0))
    assert fates([PODS, POD, elsewhere, DENIED]) == {Fate.DROP}  # of a source in no set
    assert fates([PODS, POD, elsewhere, DENIED], FROM_POD) == {Fate.ACCEPT}


def test_a_bit_of_the_connections_mark_is_seen_among_others() -> None:
    assert judged(replace(FROM_POD, mark=0x2000_0003)).fate is Fate.DROP
    assert judged(replace(FROM_POD, mark=0x1000_0003)).fate is Fate.ACCEPT


def test_what_is_logged_says_its_prefix_before_it_is_dropped() -> None:
    effects = [step.effect for step in judged(replace(FROM_POD, mark=0x2000_0000)).steps]
    assert effects == ["goto denied", "logged denied", "drop"]


def test_a_borrowed_address_is_seen_by_the_way_back() -> None:
    chain_ = replace(JUDGE, hook=Hook("filter", "prerouting", -150), rules=JUDGE.rules[2:])
    objects: list[Object] = [PODS, POD, chain_, DENIED]
    assert fates(objects, FROM_POD) == {Fate.ACCEPT}
    assert fates(objects, replace(FROM_POD, borrowed=True)) == {Fate.DROP}
