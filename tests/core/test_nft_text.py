"""What our values look like as nft text, and how transactions are ordered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from nft_refusals import (
    API,
    BASE,
    CIDRS,
    CLIENTS,
    DENIED,
    FORWARD,
    FRONTENDS,
    JUDGE,
    PICK,
    POD,
    SLOT,
    TABLE,
    TCP_VIP,
    V4,
)

from podwire_core.delta import Delta
from podwire_core.family import Family
from podwire_core.nft.expressions import (
    CT_MARK,
    DPORT,
    IIFNAME,
    Numgen,
    concat,
    constant,
    daddr,
    dport,
    hashed,
    original_saddr,
    saddr,
)
from podwire_core.nft.objects import (
    MAX_COMMENT,
    Chain,
    Element,
    Key,
    Object,
    Rule,
    Set,
    Table,
    comment_text,
)
from podwire_core.nft.statements import (
    DROP,
    AnyBit,
    Dnat,
    Limit,
    Log,
    Match,
    Update,
    Verdict,
    VerdictKind,
)
from podwire_core.nft.transaction import Transaction, sweep, transaction

V6 = Family.IPV6


def adding(*objects: Object) -> Transaction:
    return transaction(Delta(added={each.key: each for each in objects}))


def lines(sent: Transaction) -> list[str]:
    return sent.text.splitlines()


def test_a_map_says_what_it_is_for() -> None:
    (line,) = lines(adding(FRONTENDS))
    kind = "typeof ip daddr . meta l4proto . th dport : verdict;"
    comment = f'comment "{FRONTENDS.comment}";'
    assert line == f"add map ip podwire-test frontends {{ {kind} {comment} }}"
    assert FRONTENDS.comment.startswith("what a client dials #")


def test_an_interval_set_says_so() -> None:
    assert "flags interval;" in adding(CIDRS).text


def test_a_base_chain_is_made_before_its_rules() -> None:
    made = lines(adding(FORWARD))
    hook = "{ type filter hook forward priority 0; policy accept; }"
    assert made[0] == f"add chain ip podwire-test forward {hook}"
    start = "add rule ip podwire-test forward ct state established,related accept comment"
    assert made[1].startswith(start)


def test_elements_of_one_map_share_a_command() -> None:
    other = Element(TABLE, "endpoints", ("10.96.0.2", "53"), ("10.244.1.9", "53"))
    (line,) = lines(adding(SLOT, other))
    assert line == (
        "add element ip podwire-test endpoints { 10.96.0.1 . 80 : 10.244.1.5 . 8080, "
        "10.96.0.2 . 53 : 10.244.1.9 . 53 }"
    )


def test_elements_carry_names() -> None:
    (line,) = lines(adding(API))
    assert '10.96.0.1 . tcp . 80 comment "shop/api:http" : goto pick' in line


def test_a_transaction_prints_one_command_a_line_and_counts_them() -> None:
    sent = adding(*BASE)
    assert len(str(sent).splitlines()) == len(sent)
    assert sent.counts() == {
        ("add", "table"): 1,
        ("add", "map"): 2,
        ("add", "set"): 3,
        ("add", "chain"): 4,
        ("add", "rule"): 6,
        ("add", "element"): 5,
    }


def test_equal_input_gives_equal_bytes() -> None:
    shuffled = adding(*reversed(BASE)).text.splitlines()
    assert sorted(shuffled) == sorted(adding(*BASE).text.splitlines())
    assert adding(*BASE).text == adding(*BASE).text


def test_a_changed_chain_is_flushed_and_written_anew() -> None:
    changed = Chain(TABLE, "pick", (Rule((DROP,), "none"),))
    made = lines(transaction(Delta(changed={PICK.key: changed})))
    assert made[0] == "flush chain ip podwire-test pick"
    assert made[1].startswith("add rule ip podwire-test pick drop comment")
    assert len(made) == 2


def test_a_changed_element_is_deleted_first() -> None:
    moved = Element(TABLE, "endpoints", SLOT.parts, ("10.244.1.6", "8080"))
    made = lines(transaction(Delta(changed={SLOT.key: moved})))
    assert [line.split()[0] for line in made] == ["delete", "add"]


def test_chains_are_swept_in_a_transaction_of_their_own() -> None:
    change: Delta[Key, Object] = Delta(removed=frozenset({PICK.key, POD.key}))
    assert lines(transaction(change)) == ["delete element ip podwire-test pods { 10.244.1.5 }"]
    swept = sweep({PICK.key, FRONTENDS.key}, {PICK.key: ""})
    assert lines(swept) == [
        "flush chain ip podwire-test pick",
        "delete chain ip podwire-test pick",
        "delete set ip podwire-test frontends",
    ]


def test_nothing_to_do_is_false() -> None:
    assert not transaction(Delta())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("plain", "plain"),
        ('a "quoted\\ word', "a ?quoted? word"),
        ("line\nbreak\0", "line?break?"),
        ("größe", "gr??e"),
    ],
)
def test_comments_hold_nothing_that_nft_could_misread(words: str, expected: str) -> None:
    assert comment_text(words) == expected


def test_long_comments_are_cut_and_keep_their_digest() -> None:
    rule = Rule((DROP,), "x" * 500)
    assert len(rule.comment) == MAX_COMMENT - 1
    assert rule.comment != Rule((DROP, DROP), "x" * 500).comment


def test_impossible_values_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="jump"):
        Verdict(VerdictKind.JUMP)
    with pytest.raises(ValueError, match="values or with one set"):
        Match(FRONTENDS.typeof)


def test_a_dynamic_map_says_how_long_and_how_much() -> None:
    (line,) = lines(adding(CLIENTS))
    kind = "typeof ip saddr . numgen random mod 1 offset 7 : ip daddr . tcp dport;"
    limits = "flags dynamic,timeout; timeout 60s; size 100;"
    assert line.startswith(f"add map ip podwire-test clients {{ {kind} {limits} comment")
    assert replace(CLIENTS, timeout=61).fingerprint != CLIENTS.fingerprint


def test_an_update_names_key_time_and_value() -> None:
    assert Update(concat(saddr(V4), constant(0)), "clients", 10800, TCP_VIP).text == (
        "update @clients { ip saddr . numgen random mod 1 timeout 10800s : ip daddr . tcp dport }"
    )
    assert Update(saddr(V4), "seen", 5).text == "update @seen { ip saddr timeout 5s }"


def test_sixteen_bytes_of_key_and_value_are_not_too_wide() -> None:
    client = concat(*hashed(original_saddr(V6)), constant(1), constant(2))
    assert Update(client, "m", 9, daddr(V6)).text == (
        "update @m { jhash ct original ip6 saddr mod 4294967295 seed 0x1"
        " . jhash ct original ip6 saddr mod 4294967295 seed 0x2"
        " . numgen random mod 1 offset 1 . numgen random mod 1 offset 2 timeout 9s : ip6 daddr }"
    )
    assert Update(concat(saddr(V6), constant(1)), "without data", 9)


def test_a_type_is_told_without_hashes() -> None:
    table = Table(V6, "t")
    hashes = Set(table, "m", concat(*hashed(saddr(V6)), dport("tcp")), "", daddr(V6))
    number = "numgen random mod 1"
    assert hashes.definition == f"typeof {number} . {number} . tcp dport : ip6 daddr;"
    assert hashes.width == 3


def test_dnat_takes_address_and_port_from_one_map_or_from_two() -> None:
    assert Dnat(V6, dport("tcp"), "m").text == "dnat ip6 addr . port to tcp dport map @m"
    two = Dnat(V6, dport("tcp"), "addresses", ports="ports")
    assert two.text == "dnat ip6 to tcp dport map @addresses : tcp dport map @ports"


def test_names_of_interfaces_are_quoted() -> None:
    assert Match(IIFNAME, values=("cali*",)).text == 'meta iifname "cali*"'
    assert Match(IIFNAME, values=("eth0",), negated=True).text == 'meta iifname != "eth0"'


def test_what_is_denied_is_spelled_as_nft_has_it() -> None:
    assert [" ".join(each.text for each in rule.statements) for rule in JUDGE.rules] == [
        "ct mark & 0x20000000 != 0 goto denied",
        "meta oif 0 accept",
        'meta iifname "podwire*" fib saddr . iif oif 0 goto denied',
        "ip saddr != @pods goto denied",
    ]
    limit, log = DENIED.rules[0].statements
    assert limit.text == "limit rate 10/second burst 20 packets"
    assert log.text == 'log prefix "denied" group 28791 snaplen 128'


@pytest.mark.parametrize(
    "name",
    ["", "*", 'a"b', "a b", "a/b", "a\\", "a*b", "a**", "x" * 16, "x" * 15 + "*", "a\n", "ä"],
)
def test_what_is_no_interface_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of an interface"):
        Match(IIFNAME, values=(name,))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Numgen(0), "32 bits"),
        (lambda: constant(-1), "32 bits"),
        (lambda: constant(1 << 32), "32 bits"),
        (lambda: Update(saddr(V4), "seen", 0), "timeout 0"),
        (lambda: Update(concat(saddr(V6), constant(1)), "m", 9, DPORT), "more than 16 bytes"),
        (lambda: Update(saddr(V6), "m", 9, concat(daddr(V6), DPORT)), "more than 16 bytes"),
        (lambda: Set(TABLE, "s", saddr(V4), interval=True, timeout=1), "intervals"),
        (lambda: AnyBit(CT_MARK, 0), "no bits"),
        (lambda: AnyBit(CT_MARK, 1 << 32), "no bits"),
        (lambda: Limit(0, 1), "limit of 0"),
        (lambda: Limit(1, 0), "burst 0"),
        (lambda: Log("", 1), "prefix ''"),
        (lambda: Log('a"b', 1), "prefix"),
        (lambda: Log("a\nb", 1), "prefix"),
        (lambda: Log("x" * 128, 1), "prefix"),
        (lambda: Log("x", 1 << 16), "group 65536"),
        (lambda: Log("x", 1, 0), "snaplen 0"),
    ],
)
def test_what_nft_cannot_say_cannot_be_made(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()
