"""Real packets fill a dynamic map: no commit of ours loses it, no reading calls it drift."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from itertools import count

import pytest
from scratch import Netns, until

from podwire_core.delta import Delta
from podwire_core.family import FAMILIES, Family
from podwire_core.nft import entries
from podwire_core.nft.expressions import (
    IIFNAME,
    L4PROTO,
    SADDR_TYPE,
    concat,
    constant,
    daddr,
    dport,
    hashed,
    original_saddr,
    saddr,
)
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.objects import Chain, Element, Hook, Key, Object, Rule, Set, Table
from podwire_core.nft.owner import Owner
from podwire_core.nft.statements import DROP, Dnat, Match, Update
from podwire_core.nft.transaction import Command, Gone, Transaction, Verb, transaction

V4, V6 = FAMILIES
TABLE = Table(V4, "podwire-test")
_KINDS = {V4: socket.AF_INET, V6: socket.AF_INET6}
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}
NUMBERS = (0, 1, 255, 1 << 31, (1 << 32) - 1)
MANY = 50_000


UDP = Match(L4PROTO, values=("udp",))
TO = concat(daddr(V4), dport("udp"))


def clients(*, size: int = 100_000) -> Set:
    """Which client (and two numbers) went where."""
    key = concat(saddr(V4), constant(1), constant(2))
    return Set(TABLE, "clients", key, "clients", TO, timeout=10_800, size=size)


def remembering(*numbers: int, timeout: int = 60) -> Chain:
    """Whatever leaves by UDP is remembered, once with each of the numbers."""
    keys = [concat(saddr(V4), constant(each), constant(9)) for each in numbers]
    rules = tuple(Rule((UDP, Update(key, "clients", timeout, TO)), "who") for key in keys)
    return Chain(TABLE, "remember", rules, Hook("filter", "output", 0))


def world(*objects: Object) -> dict[Key, Object]:
    return {each.key: each for each in objects}


WANTED = world(TABLE, clients(), remembering(7))
MET = {"127.0.0.1 . 7 . 9": "127.0.0.1 . 99"}


@pytest.fixture
def owner(kernel: Kernel) -> Owner:
    made = Owner(kernel, [TABLE])
    made.sync(WANTED)
    made.commits = 0
    return made


@pytest.fixture
def monitor(home: Netns, owner: Owner) -> Iterator[Monitor]:
    del owner  # what its fixture commits is not news
    with home.inside():
        made = Monitor([TABLE])
    yield made
    made.close()


def send(home: Netns, family: Family = V4, port: int = 99) -> None:
    """One packet to ourselves, which no one takes."""
    with home.inside(), socket.socket(_KINDS[family], socket.SOCK_DGRAM) as made:
        made.sendto(b"hello", (LOOPBACK[family], port))


def put(kernel: Kernel, elements: Sequence[Element]) -> None:
    kernel.commit(transaction(Delta(added={each.key: each for each in elements})))


def some(letter: int, number: int) -> list[Element]:
    """As if packets had written them."""
    return [
        Element(
            TABLE,
            "clients",
            (f"10.{letter}.{n >> 8}.{n & 255}", str(n * 80_000), "5"),
            ("10.244.1.5", str(n)),
        )
        for n in range(number)
    ]


def texts(elements: Sequence[Element]) -> dict[str, str]:
    return {each.key_text: each.data_text for each in elements}


# ------------------------------------------------------------------------------ not ours


def test_what_packets_wrote_is_no_drift(home: Netns, owner: Owner, monitor: Monitor) -> None:
    send(home)
    assert owner.entries(TABLE, "clients") == MET
    assert not monitor.foreign(0)
    owner.adopt()
    assert owner.in_force == {key: each.fingerprint for key, each in WANTED.items()}
    assert not owner.sync(WANTED)
    assert owner.commits == 0


def test_what_packets_wrote_survives_other_changes(home: Netns, owner: Owner) -> None:
    send(home)
    more = Set(TABLE, "more", saddr(V4))
    changed = remembering(8)
    assert owner.replace({**WANTED, changed.key: changed, more.key: more})
    send(home)
    assert owner.sync(WANTED), "the other set goes, the chain is as it was"
    assert owner.entries(TABLE, "clients") == {**MET, "127.0.0.1 . 8 . 9": "127.0.0.1 . 99"}


def test_what_packets_wrote_survives_a_new_owner(home: Netns, owner: Owner, kernel: Kernel) -> None:
    send(home)
    restarted = Owner(kernel, owner.tables)
    restarted.adopt()
    assert not restarted.sync(WANTED)
    assert restarted.entries(TABLE, "clients") == MET


def test_what_is_remembered_keeps_its_value(home: Netns, owner: Owner) -> None:
    send(home, port=99)
    send(home, port=100)
    assert owner.entries(TABLE, "clients") == MET


def test_an_entry_whose_time_is_over_is_gone_and_no_one_is_told(
    home: Netns, owner: Owner, monitor: Monitor
) -> None:
    short = remembering(7, timeout=1)
    owner.change({short.key: short})

    def is_met() -> bool:
        send(home)
        return bool(owner.entries(TABLE, "clients") == MET)

    until("it is remembered", is_met)
    until("the entry is gone", lambda: not owner.entries(TABLE, "clients"))
    assert not monitor.foreign(owner.commits)


def test_a_full_map_stops_the_rule_and_no_packet(home: Netns, kernel: Kernel) -> None:
    owner = Owner(kernel, [TABLE])
    owner.sync(world(TABLE, clients(size=2), remembering(1, 2, 3)))
    with home.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 99))
        there.settimeout(5)
        send(home)
        assert there.recv(9) == b"hello"
    assert set(owner.entries(TABLE, "clients")) == {"127.0.0.1 . 1 . 9", "127.0.0.1 . 2 . 9"}


# ------------------------------------------------------------------------------ spelling


def test_any_number_of_a_key_is_read_as_written(
    home: Netns, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "listed", None)  # libnftables is not asked
    owner = Owner(kernel, [TABLE])
    owner.sync(world(TABLE, clients(), remembering(*NUMBERS)))
    send(home)
    expected = {f"127.0.0.1 . {each} . 9": "127.0.0.1 . 99" for each in NUMBERS}
    assert owner.entries(TABLE, "clients") == expected
    assert owner.forget(TABLE, ("clients",), expected) == len(NUMBERS)
    assert owner.entries(TABLE, "clients") == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hashed_client_returns_by_two_maps_to_where_it_went(
    home: Netns, kernel: Kernel, family: Family
) -> None:
    table = Table(family, "podwire-test")
    key = concat(*hashed(original_saddr(family)), constant(7), constant((1 << 32) - 1))
    data = {"addresses": daddr(family), "ports": dport("udp")}
    maps = [Set(table, name, key, name, what, timeout=60) for name, what in data.items()]
    back = Rule((UDP, Dnat(family, key, "addresses", ports="ports")), "where it went before")
    who = Rule((UDP, *(Update(key, name, 60, what) for name, what in data.items())), "who")
    first = Chain(table, "output", (back,), Hook("nat", "output", -100))
    last = Chain(table, "remember", (who,), Hook("filter", "postrouting", 0))
    owner = Owner(kernel, [table])
    owner.sync(world(table, *maps, first, last))
    with home.inside():
        there = socket.socket(_KINDS[family], socket.SOCK_DGRAM)
    with there:
        there.bind((LOOPBACK[family], 99))
        there.settimeout(5)
        for port in (99, 100):
            send(home, family, port)
            assert there.recv(9) == b"hello"
    found = [owner.entries(table, name) for name in data]
    assert [list(each.values()) for each in found] == [[LOOPBACK[family]], ["99"]]
    assert found[0].keys() == found[1].keys()
    (text,) = found[0]
    assert text.endswith(" . 7 . 4294967295")
    assert owner.forget(table, tuple(data), [text]) == 2
    restarted = Owner(kernel, [table])
    restarted.adopt()
    assert not restarted.sync(world(table, *maps, first, last))


def test_a_map_that_is_not_there_has_no_entries(owner: Owner) -> None:
    assert owner.entries(TABLE, "nothing") == {}
    assert owner.entries(Table(V6, "podwire-test"), "clients") == {}
    assert owner.forget(TABLE, ("nothing",), ["10.1.1.1 . 1 . 1", "10.1.1.2 . 1 . 1"]) == 0


def test_a_comment_of_someone_elses_is_no_part_of_the_data(home: Netns, owner: Owner) -> None:
    home.run(
        "nft",
        'add element ip podwire-test clients { 10.1.1.1 . 1 . 2 comment "x" : 10.2.2.2 . 80 }',
    )
    assert owner.entries(TABLE, "clients") == {"10.1.1.1 . 1 . 2": "10.2.2.2 . 80"}


@pytest.mark.parametrize(
    ("match", "dropped"),
    [
        (Match(IIFNAME, values=("lo",)), True),
        (Match(IIFNAME, values=("l*",)), True),
        (Match(IIFNAME, values=("eth*",)), False),
        (Match(IIFNAME, values=("eth*",), negated=True), True),
        (Match(SADDR_TYPE, values=("local",)), True),
        (Match(SADDR_TYPE, values=("local",), negated=True), False),
        (Match(original_saddr(V4), values=("127.0.0.1",)), True),
        (Match(original_saddr(V4), values=("127.0.0.2",)), False),
    ],
    ids=lambda value: value.text if isinstance(value, Match) else "",
)
def test_the_kernel_sees_what_the_tracer_sees(
    home: Netns, kernel: Kernel, match: Match, *, dropped: bool
) -> None:
    chain = Chain(TABLE, "in", (Rule((match, DROP)),), Hook("filter", "prerouting", -110))
    Owner(kernel, [TABLE]).sync(world(TABLE, chain))
    with home.inside():
        there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with there:
        there.bind(("127.0.0.1", 99))
        there.setblocking(False)
        send(home)  # through the loopback before it returns
        try:
            assert there.recv(9) == b"hello"
            assert not dropped
        except BlockingIOError:
            assert dropped


# ------------------------------------------------------------------------------ forgetting


def test_forgetting_is_ours_and_takes_nothing_else(
    home: Netns, owner: Owner, kernel: Kernel, monitor: Monitor
) -> None:
    send(home)
    put(kernel, some(1, 2500))
    assert monitor.foreign(0)
    assert owner.forget(TABLE, ("clients",), texts(some(1, 2500))) == 2500
    assert owner.commits == -(-2500 // entries.PART)
    assert not monitor.foreign(owner.commits)
    assert owner.entries(TABLE, "clients") == MET


def test_entries_that_went_meanwhile_are_no_error(owner: Owner, kernel: Kernel) -> None:
    put(kernel, some(1, 900))
    assert owner.forget(TABLE, ("clients",), texts([*some(1, 900), *some(2, 2000)])) == 900
    assert owner.entries(TABLE, "clients") == {}


def test_entries_that_stay_are_all_read_while_others_come_and_go(
    home: Netns, owner: Owner, kernel: Kernel
) -> None:
    with home.inside():
        other = Kernel()
    stay = texts(some(1, 5000))
    put(kernel, some(1, 5000))
    stop = threading.Event()

    def work() -> None:
        for letter in (2 + n % 200 for n in count()):
            if stop.is_set():
                return
            put(other, some(letter, 50))
            doomed = (Command(Verb.DELETE, Gone(each.key)) for each in some(letter, 50))
            other.commit(Transaction(tuple(doomed)))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(100):
            found = owner.entries(TABLE, "clients")
            assert stay.items() <= found.items()
    finally:
        stop.set()
        thread.join()


def test_fifty_thousand_entries_of_several_timeouts_are_read_whole(
    owner: Owner, kernel: Kernel
) -> None:
    put(kernel, some(1, MANY - 1000))
    rows = ", ".join(
        f"{each.key_text} timeout {600 + n}s : {each.data_text}"
        for n, each in enumerate(some(3, 1000))
    )
    kernel.commit(_Text(f"add element ip podwire-test clients {{ {rows} }}"))  # type: ignore[arg-type]  # anything with a text commits
    assert owner.entries(TABLE, "clients") == texts([*some(1, MANY - 1000), *some(3, 1000)])


class _Text:
    commands = ()

    def __init__(self, text: str) -> None:
        self.text = text
