"""What is read straight from nf_tables is what libnftables lists, also while others commit."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import kernel_features
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nft_elements import filled, sets
from nft_refusals import ROWS, Row, add, base
from packet_flows import NODE, world
from scratch import Netns

from podwire_core.delta import Delta
from podwire_core.errors import NftError
from podwire_core.family import FAMILIES, Family
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.netlink import GETCHAIN, GETSETELEM, Questions, name
from podwire_core.nft.objects import Chain, Element, Key, Object, State, Table
from podwire_core.nft.transaction import Command, Gone, Transaction, Verb, transaction
from podwire_core.snapshot import Change, Snapshot
from podwire_node import masquerade
from podwire_policy.policies import Policies
from podwire_proxy.services import Services

V4, V6 = FAMILIES
READS = 20  # while others commit
OURS = Table(V4, "podwire-test")


class Text:
    """A transaction in nft's own words."""

    commands = ()

    def __init__(self, text: str) -> None:
        self.text = text


def commit(kernel: Kernel, text: str) -> None:
    kernel.commit(Text(text))  # type: ignore[arg-type]  # anything with a text commits


def put(kernel: Kernel, objects: Sequence[Object]) -> None:
    kernel.commit(transaction(Delta(added={each.key: each for each in objects})))


def assert_read_as_listed(kernel: Kernel, *tables: Table) -> State:
    read = dict(kernel.read(tables))
    listed: State = {}
    for table in tables:
        listed.update(kernel.listed(f"table {table.text}"))
    assert read == listed
    return read


# ------------------------------------------------------------------------------ conformance


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.refused is None], ids=lambda row: row.promise
)
def test_every_transaction_of_the_table_is_read_as_listed(kernel: Kernel, row: Row) -> None:
    kernel.commit(base())
    kernel.commit(row.transaction)
    assert_read_as_listed(kernel, OURS)


def test_services_policies_and_masquerade_are_read_as_listed(kernel: Kernel) -> None:
    changes = [Change(type(each), each.name, each) for each in world()]
    snapshot = Snapshot()
    for change in changes:
        snapshot.apply(change)
    for desired in (Services(NODE), Policies(NODE), masquerade.Masquerade(NODE)):
        wanted = {k: v for k, v in desired.update(snapshot, changes).items() if v is not None}
        kernel.commit(transaction(Delta(added=wanted)))
        read = assert_read_as_listed(kernel, *desired.tables)
        assert read == {key: each.fingerprint for key, each in wanted.items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("words", sets(V4))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example empties the table
)
@given(data=st.data())
def test_any_elements_of_any_type_are_read_as_listed(
    kernel: Kernel, family: Family, words: str, data: st.DataObject
) -> None:
    home = sets(family)[words]
    elements = data.draw(filled(family, words))
    put(kernel, [home.table, Chain(home.table, "there"), home, *elements])
    try:
        read = assert_read_as_listed(kernel, home.table)
        if not home.interval and "proto" not in words and words != "four":
            assert read == {
                each.key: each.fingerprint
                for each in (home.table, Chain(home.table, "there"), home, *elements)
            }
    finally:
        kernel.commit(Transaction((Command(Verb.DELETE, Gone(home.table.key)),)))


STRANGE = [
    "set x { type ipv4_addr; flags timeout; elements = { 1.2.3.4 timeout 1h } }",
    "set x { type ipv4_addr; counter; elements = { 1.2.3.4, 1.2.3.5 } }",
    "set x { type ipv4_addr . inet_service; flags dynamic; size 9; elements = { 1.2.3.4 . 5 } }",
    "set x { type ipv4_addr; elements = { * , 1.2.3.4 } }",
    "map x { type ipv4_addr : verdict; elements = { * : drop, 1.2.3.4 : accept } }",
    "set x { typeof ct status; elements = { snat | dnat } }",
    "set x { type ifname; flags interval; elements = { eth* } }",
    "set x { type ifname . ipv4_addr; elements = { eth0 . 1.2.3.4 } }",
    "set x { type ether_addr; elements = { 02:00:00:00:00:01 } }",
    "set x { type mark . ipv4_addr; elements = { 7 . 1.2.3.4 } }",
    "map x { type mark : verdict; elements = { 7 : goto pick } }",
    "map x { type ipv4_addr : mark; elements = { 1.2.3.4 : 7 } }",
    "map x { type ipv4_addr : interval ipv4_addr; elements = { 1.2.3.4 : 10.1.1.1-10.1.1.9 } }",
    'counter c { }; map x { type ipv4_addr : counter; elements = { 1.2.3.4 : "c" } }',
    "set x { typeof ip length; elements = { 20, 40 } }",
    "map x { typeof jhash ip saddr mod 5 : ip daddr; elements = { 3 : 1.2.3.4 } }",
    "set x { type inet_proto; elements = { tcp, esp, 200 } }",
    "set x { type inet_proto; flags interval; elements = { 6-17 } }",
    "set x { type ipv6_addr; elements = { ::1.2.3.4, fd00:: } }",
    "set x { type icmp_type; elements = { echo-request } }",
    'set x { type ipv4_addr; comment "of another"; }',
    "chain forward { ip saddr { 1.2.3.4, 1.2.3.5 } tcp dport vmap { 80 : drop } ; }",
    "chain forward { ip saddr 1.2.3.4 jump { drop; }; }",
    "chain y { type filter hook input priority 7; policy drop; }",
    "chain y { type route hook output priority -150; }",
]


@pytest.mark.parametrize("text", STRANGE)
def test_what_others_would_make_in_our_table_is_read_as_listed(kernel: Kernel, text: str) -> None:
    if "*" in text.partition("elements")[2].split():
        kernel_features.needs("nft_catchall")
    kernel.commit(base())
    commit(kernel, f"table ip podwire-test {{ {text}; }}")
    read = assert_read_as_listed(kernel, OURS)
    assert ("ip", "podwire-test", "element", "pods", "10.244.1.5") in read


def test_a_dormant_table_is_not_ours(kernel: Kernel) -> None:
    kernel.commit(base())
    commit(kernel, "add table ip podwire-test { flags dormant; }")
    assert kernel.read([OURS])[OURS.key] != OURS.fingerprint  # nft 1.0.6 lists it as "ipv4_addr"


def test_only_a_set_that_we_cannot_spell_is_listed_by_libnftables(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(kernel._reader, "_list_set", lambda what: asked.append(what) or {})
    kernel.commit(base())
    kernel.read([OURS])
    assert asked == []
    commit(kernel, "add set ip podwire-test x { type mark; elements = { 7 } }")
    assert ("ip", "podwire-test", "set", "x") in kernel.read([OURS])
    assert asked == ["set ip podwire-test x"]


def test_the_tables_of_others_are_not_asked_for(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.commit(base())
    commit(kernel, "add table ip other; add set ip other s { type ipv4_addr; }")
    asked: list[tuple[int, bytes]] = []
    send = Questions._send

    def noted(self: Questions, kind: int, family: str, names: bytes, flags: int) -> None:
        asked.append((kind, names))
        send(self, kind, family, names, flags)

    monkeypatch.setattr(Questions, "_send", noted)
    assert all(key[:2] == OURS.key for key in kernel.read([OURS]))
    assert len(asked) > 5
    assert all(b"other" not in names for _, names in asked)
    assert [kind for kind, names in asked if not names and kind not in {GETCHAIN, 16}] == []


# ------------------------------------------------------------------------------ of one moment


@contextmanager
def committing(kernel: Kernel, transactions: Sequence[str]) -> Iterator[None]:
    """Commits these again and again, in a thread."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for text in transactions:
                commit(kernel, text)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def many(letter: int, number: int = 4000) -> list[Element]:
    return [
        Element(OURS, "pods", (f"10.{letter}.{n // 250}.{n % 250}",), words=f"pod {n}")
        for n in range(number)
    ]


def test_who_commits_to_another_table_all_the_time_does_not_hold_us_up(
    home: Netns, kernel: Kernel
) -> None:
    with home.inside():
        other = Kernel()
    commit(other, "add table ip other; add set ip other s { type ipv4_addr; }")
    kernel.commit(base())
    kernel.commit(add(*many(1)))
    quiet = dict(kernel.read([OURS]))
    assert len(quiet) > 4000
    swaps = ["add element ip other s { 1.1.1.1 }", "delete element ip other s { 1.1.1.1 }"]
    with committing(other, swaps):
        for _ in range(READS):
            assert kernel.read([OURS]) == quiet


def test_a_table_that_is_changed_all_the_time_is_read_of_one_moment_or_not_at_all(
    home: Netns, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.inside():
        other = Kernel()
    kernel.commit(base())
    sides = [many(1), many(2)]
    kernel.commit(add(*sides[0]))
    keys: list[set[Key]] = [{each.key for each in side} for side in sides]
    swaps = []
    for gone, come in (sides, sides[::-1]):
        doomed = [Command(Verb.DELETE, Gone(each.key)) for each in gone]
        added = [Command(Verb.ADD, each) for each in come]
        swaps.append(Transaction((*doomed, *added)).text)
    moments = []
    generation = Questions.generation

    def noted(self: Questions) -> int:
        moments.append(generation(self))
        return moments[-1]

    monkeypatch.setattr(Questions, "generation", noted)
    reads, refusals = 0, list[str]()
    with committing(other, swaps):
        for _ in range(READS):
            try:
                read = set(kernel.read([OURS]))
            except NftError as error:
                refusals.append(str(error))
                continue
            reads += 1
            assert [side <= read for side in keys] in ([True, False], [False, True])
            assert not any(0 < len(side & read) < len(side) for side in keys)
    assert len(moments) > 2 * READS, "no read was ever interrupted"
    assert reads, "not one read came through"
    assert set(refusals) <= {"someone keeps changing ip podwire-test while they are read"}
    assert_read_as_listed(kernel, OURS)


def test_a_dump_that_is_left_early_does_not_stand_in_the_way(home: Netns, kernel: Kernel) -> None:
    kernel.commit(base())
    kernel.commit(add(*many(1)))
    with home.inside():
        questions = Questions()
    names = name(1, "podwire-test") + name(2, "pods")
    dump = questions.dump(GETSETELEM, "ip", names)
    next(dump)
    dump.close()
    assert questions.generation() > 0
    assert len(list(questions.dump(GETSETELEM, "ip", names))) > 2, "many datagrams"


def test_an_answer_that_overran_the_socket_is_asked_for_again(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.commit(base())
    real = kernel._reader._questions._socket
    sent: list[bytes] = []

    class Overrun:
        """The kernel's socket, which drops one datagram."""

        def __init__(self) -> None:
            self.left = 5

        def send(self, data: bytes) -> int:
            sent.append(data)
            return real.send(data)

        def recv(self, size: int) -> bytes:
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOBUFS, "No buffer space available")
            return real.recv(size)

    quiet = dict(kernel.read([OURS]))
    monkeypatch.setattr(kernel._reader._questions, "_socket", Overrun())
    assert kernel.read([OURS]) == quiet
    once = len(sent)
    assert kernel.read([OURS]) == quiet
    assert once == 2 * (len(sent) - once), "read twice"
