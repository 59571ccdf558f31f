"""Entries of maps in words: whose a list is, which pod has an address, what means nothing."""

from __future__ import annotations

from typing import Any

import pytest

from podwire_ebpf import external
from podwire_ebpf.external import Connection, Flow, Fragment, Ports, Way
from podwire_ebpf.layout import TABLES
from podwire_ebpf.records import (
    Affinity,
    AffinityKey,
    Canary,
    Counter,
    Endpoint,
    EndpointKey,
    Flag,
    Frontend,
    FrontendKey,
    Lost,
    Member,
    MemberKey,
    Peer,
    Reverse,
    ReverseKey,
    Scope,
    Settings,
)
from podwire_node.control.errors import ControlError
from podwire_node.dump.command import _TABLES
from podwire_node.dump.names import Names, decode_names
from podwire_node.dump.rows import VIEWS, Entry, Moment, Row, learn, learn_sockets, rows_of
from podwire_node.dump.wanted import wanted

API = FrontendKey("10.96.0.13", 80, 6)
LIST = 0xABC
ANSWERS = (
    {
        "kind": "frontend",
        "address": "10.96.0.13",
        "port": 80,
        "protocol": 6,
        "service": "shop/api:",
    },
    {"kind": "frontend", "address": "::", "port": 30080, "protocol": 6, "service": "shop/api:"},
    {"kind": "pod", "address": "10.244.1.5", "pod": "shop/api-1"},
    {"kind": "namespace", "cookie": 9, "pod": "shop/web"},
)


@pytest.fixture
def names() -> Names:
    found = decode_names(ANSWERS)
    learn([Entry(API, Frontend(LIST, 1, counter=4))], found)
    return found


def row(table: str, key: Any, value: Any, names: Names) -> Row | None:
    return next(iter(rows_of(table, [Entry(key, value)], Moment(names, 100.0))), None)


END = Endpoint("10.244.1.5", 8080)
CASES = [
    (
        "frontends",
        API,
        Frontend(LIST, 1, affinity=30, counter=4, first=(END,)),
        ("10.96.0.13:80/TCP", "inside", "shop/api:", "10.244.1.5:8080 shop/api-1", "30 s", "4"),
    ),
    (
        "frontends",
        FrontendKey("::", 30080, 6, Scope.OUTSIDE),
        Frontend(LIST, 0),
        ("node:30080/TCP (IPv6)", "outside", "shop/api:", "none: refused", "", ""),
    ),
    (
        "frontends",
        FrontendKey("fd00::1", 53, 17),
        Frontend(7, 40, first=(END,)),
        (
            *("[fd00::1]:53/UDP", "inside", "list 0000000000000007"),
            "10.244.1.5:8080 shop/api-1\n39 more in endpoints",
        ),
    ),
    (
        "endpoints",
        EndpointKey(LIST, 16),
        Endpoint("10.244.9.9", 80),
        ("shop/api:", "16", "10.244.9.9:80"),
    ),
    ("members", MemberKey(7, "fd00::5", 80), Member(), ("list 0000000000000007", "[fd00::5]:80")),
    (
        "affinity",
        AffinityKey(9, LIST),
        Affinity("10.244.1.5", 8080, 88 * 10**9),
        ("shop/api:", "shop/web", "10.244.1.5:8080 shop/api-1", "12s"),
    ),
    (
        "affinity",
        AffinityKey(10, LIST),
        Affinity("10.244.1.5", 8080, 88 * 10**9),
        ("shop/api:", "namespace 10"),
    ),
    (
        "affinity",
        AffinityKey("203.0.113.9", LIST, Scope.OUTSIDE),
        Affinity("10.244.1.5", 8080, 88 * 10**9),
        ("shop/api:", "203.0.113.9"),
    ),
    (
        "reverse",
        ReverseKey(77, "10.244.1.5", 8080),
        Reverse("10.96.0.13", 80),
        ("77", "10.244.1.5:8080 shop/api-1", "10.96.0.13:80", "shop/api:"),
    ),
    ("addresses", "192.168.7.1", Member(), ("192.168.7.1",)),
    ("counters", 4, Counter(1234, 5), ("4", "shop/api:", "1,234", "5")),
    ("settings", 0, Settings(9, Flag.OBSERVED | Flag.LOCALHOST), ("9", "shop/web")),
    ("canaries", 5, Canary(9, 1 << 10 | 1 << 14), ("5", "9 shop/web", "sendmsg4 connect4")),
    ("lost", 0, Lost(12), ("12",)),
    (
        "peers",
        3,
        Peer(77, "10.244.1.5", 8080, "10.96.0.13", 80),
        ("77", "10.244.1.5:8080 shop/api-1", "10.96.0.13:80", "shop/api:"),
    ),
    (
        "opening",
        Flow("203.0.113.9", 4000, "192.168.7.1", 30080, 6),
        Connection("10.244.1.5", 8080, LIST, 88 * 10**9, number=77),
        (
            *("203.0.113.9:4000", "192.168.7.1:30080", "TCP", "request", "10.244.1.5:8080"),
            *("shop/api:", "", "12s"),
        ),
    ),
    (
        "connections",
        Flow("203.0.113.9", 4000, "192.168.7.1", 30080, 6),
        Connection("10.244.1.5", 8080, LIST, 88 * 10**9, masquerade=True, answered=True),
        (
            *("203.0.113.9:4000", "192.168.7.1:30080", "TCP", "request", "10.244.1.5:8080"),
            *("shop/api:", "masqueraded answered", "12s"),
        ),
    ),
    (
        "fragments",
        Fragment("203.0.113.9", "192.168.7.1", 5, 17, Way.REQUEST),
        Ports(4000, 53),
        ("203.0.113.9:4000", "192.168.7.1:53", "UDP", "5"),
    ),
    ("insiders", "10.244.0.0/16", Member(), ("10.244.0.0/16",)),
]


@pytest.mark.parametrize(("table", "key", "value", "cells"), CASES)
def test_an_entry_is_told_in_words(
    names: Names, table: str, key: Any, value: Any, cells: tuple[str, ...]
) -> None:
    found = row(table, key, value, names)
    assert found is not None
    assert found.cells[: len(cells)] == cells
    assert len(found.cells) == len(VIEWS[table].columns)


def test_every_table_has_its_columns_and_a_case() -> None:
    known = {*TABLES, *external.TABLES}
    assert VIEWS.keys() == known == set(_TABLES) == {case[0] for case in CASES}


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("counters", 4, Counter(0, 0)),
        ("peers", 0, Peer(0, "", 0, "", 0)),
        ("reverse", ReverseKey(77, "", 0), Reverse("10.96.0.13", 0)),
        ("reverse", ReverseKey(77, "10.96.0.13", 80, forward=True), Reverse("10.244.1.5", 8080)),
    ],
)
def test_what_says_nothing_is_no_row(names: Names, table: str, key: Any, value: Any) -> None:
    assert row(table, key, value, names) is None


def test_counter_0_is_nobodys() -> None:
    names = decode_names(ANSWERS)
    learn([Entry(API, Frontend(LIST, 1, counter=0))], names)
    assert not names.counters


def test_rows_are_found_by_any_address_in_them(names: Names) -> None:
    found = row("frontends", API, Frontend(LIST, 1, first=(END,)), names)
    assert found is not None
    assert found.addresses == {"10.96.0.13", "10.244.1.5"}


def test_an_answer_in_other_words_is_an_error() -> None:
    with pytest.raises(ControlError, match="other words"):
        decode_names([{"kind": "rumour"}])


DNS = {
    FrontendKey("10.96.0.10", 53, 6): "kube-system/kube-dns:dns-tcp",
    FrontendKey("10.96.0.10", 53, 17): "kube-system/kube-dns:dns",
    FrontendKey("0.0.0.0", 30053, 17): "kube-system/kube-dns:dns",
}
UDP_SOCKET = [
    Entry(ReverseKey(77, "", 0), Reverse("", 0, next_address="10.244.1.3", next_port=53)),
    Entry(ReverseKey(77, "10.244.1.3", 53), Reverse("10.96.0.10", 53)),
]


def reverse(entries: list[Entry]) -> Row:
    names = Names(services=DNS)
    learn_sockets(entries, names)
    (found,) = rows_of("reverse", entries, Moment(names, 100.0))
    return found


def test_what_a_udp_socket_dialled_is_named_after_the_udp_port() -> None:
    assert reverse(UDP_SOCKET).service == "kube-system/kube-dns:dns"
    assert reverse(UDP_SOCKET).cells[-1] == "kube-system/kube-dns:dns"


def test_what_an_unconnected_socket_dialled_is_named_after_the_udp_port() -> None:
    forward = Entry(ReverseKey(77, "10.96.0.10", 53, forward=True), Reverse("10.244.1.3", 53))
    assert reverse([forward, UDP_SOCKET[1]]).service == "kube-system/kube-dns:dns"


def test_a_socket_that_may_be_of_tcp_is_found_by_either_service() -> None:
    found = reverse(UDP_SOCKET[1:])
    assert found.service == "kube-system/kube-dns:dns|kube-system/kube-dns:dns-tcp"
    for service in DNS.values():
        part = wanted(["reverse"], [service], [], 0).part([found])
        assert part.entries == 1
    assert not wanted(["reverse"], ["shop/api"], [], 0).part([found]).entries


def test_what_a_socket_dialled_may_be_a_nodeport() -> None:
    entry = Entry(ReverseKey(77, "10.244.1.3", 53), Reverse("192.168.7.1", 30053, wildcard=True))
    assert reverse([entry]).service == "kube-system/kube-dns:dns"


def test_tables_say_whether_they_know_services_and_addresses(names: Names) -> None:
    for table, key, value, _ in CASES:
        found = row(table, key, value, names)
        assert found is not None
        assert VIEWS[table].of_services or not found.service
        assert bool(found.addresses) == VIEWS[table].addressed
