"""The kernel's own connections: read, filtered and forgotten, and nothing else forgotten."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice

import pytest
from scratch import Netns, until

from podwire_core.conntrack import UDP, Bits, Conntrack, Entry
from podwire_core.conntrack.entry import packed, unpacked
from podwire_core.family import FAMILIES, Family

V4, V6 = FAMILIES
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}
RULES = """
table inet zones {
  chain output {
    type filter hook output priority -300
    ip daddr 127.0.0.5 ct zone set 5
    ip daddr 127.0.0.6 ct original zone set 6
    ct state new counter
  }
}
"""
MARKING = """
table inet zones {
  chain late {
    type filter hook output priority 0
    udp dport 1053 ct mark set 0x10000003
  }
}
"""


@pytest.fixture
def home(new_netns: Callable[[], Netns]) -> Iterator[Netns]:
    made = new_netns()
    with made.inside():
        made.run("nft", RULES)
        yield made


@pytest.fixture
def conntrack(home: Netns) -> Iterator[Conntrack]:  # noqa: ARG001 - made inside of it
    with closing(Conntrack()) as made:
        yield made


def send(address: str, port: int, source_port: int = 0, source: str = "") -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.bind((source or ("::1" if ":" in address else "127.0.0.1"), source_port))
        sender.sendto(b"x", (address, port))


def dialled(entries: Iterator[Entry]) -> set[tuple[str, int]]:
    return {(unpacked(each.destination), each.destination_port) for each in entries}


def answers(home: Netns, address: str) -> bool:
    """An address of IPv6 takes the kernel a moment after it was added."""
    return " 0% packet loss" in home.run("ping", "-c1", "-W1", address, check=False)


def mentions(each: Entry, address: str) -> bool:
    return packed(address, each.family) in {each.source, each.destination, each.reply_source}


@pytest.mark.parametrize("family", FAMILIES)
def test_connections_of_one_family_and_protocol_are_read(
    home: Netns, conntrack: Conntrack, family: Family
) -> None:
    for address in LOOPBACK.values():
        send(address, 1053)
        home.run("ping", "-c1", "-W1", address)
    assert dialled(conntrack.entries(family, UDP)) == {(LOOPBACK[family], 1053)}
    assert {each.protocol for each in conntrack.entries(family)} > {UDP}


def test_an_entry_says_what_the_kernel_knows(conntrack: Conntrack) -> None:
    send("127.0.0.5", 1053, 40000)
    (entry,) = conntrack.entries(V4, UDP)
    assert str(entry) == "127.0.0.1:40000 → 127.0.0.5:1053 at 127.0.0.5:1053"
    assert entry.zone == 5
    assert entry.status & 0x8  # IPS_CONFIRMED
    assert not entry.translated


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.5", "127.0.0.6", "::1"])
def test_an_entry_is_forgotten_in_whatever_zone_it_is(conntrack: Conntrack, address: str) -> None:
    family = V6 if ":" in address else V4
    send(address, 1053)
    send(LOOPBACK[family], 2053)
    found = [each for each in conntrack.entries(family, UDP) if each.destination_port == 1053]
    assert conntrack.delete(found) == 1
    assert dialled(conntrack.entries(family, UDP)) == {(LOOPBACK[family], 2053)}


def test_delete_twice_is_silent(conntrack: Conntrack) -> None:
    send("127.0.0.1", 1053)
    found = list(conntrack.entries(V4, UDP))
    assert conntrack.delete(found) == 1
    assert conntrack.delete(found) == 0


def test_a_newer_entry_of_the_same_tuple_stays(conntrack: Conntrack) -> None:
    send("127.0.0.1", 1053, 40000)
    older = list(conntrack.entries(V4, UDP))
    conntrack.delete(older)
    for port in range(2000, 2100):  # its number is made of its place in memory, among others
        send("127.0.0.1", port)
    send("127.0.0.1", 1053, 40000)
    assert conntrack.delete(older) == 0
    assert ("127.0.0.1", 1053) in dialled(conntrack.entries(V4, UDP))


def test_an_entry_without_a_tuple_deletes_nothing(conntrack: Conntrack) -> None:
    """To the kernel, such a deletion would mean the whole table."""
    send("127.0.0.1", 1053)
    (entry,) = conntrack.entries(V4, UDP)
    assert conntrack.delete([entry._replace(raw=b""), entry._replace(raw=entry.raw[:4])]) == 0
    assert len(list(conntrack.entries(V4, UDP))) == 1


def test_thousands_are_forgotten_while_they_are_read(conntrack: Conntrack) -> None:
    for port in range(1, 3001):
        send("127.0.0.1", port)
    odd = (each for each in conntrack.entries(V4, UDP) if each.destination_port % 2)
    assert conntrack.delete(odd) == 1500
    left = dialled(conntrack.entries(V4, UDP))
    assert left == {("127.0.0.1", port) for port in range(2, 3001, 2)}


def test_who_stops_reading_can_ask_again(conntrack: Conntrack) -> None:
    for port in range(1, 2001):
        send("127.0.0.1", port)
    with closing(conntrack.entries(V4, UDP)) as entries:
        assert len(list(islice(entries, 3))) == 3
    assert len(list(conntrack.entries(V4, UDP))) == 2000


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_pod_talked_about_is_forgotten(
    home: Netns, conntrack: Conntrack, family: Family
) -> None:
    pods = {V4: ("10.244.1.1", "10.244.1.2"), V6: ("fd00::1", "fd00::2")}[family]
    for pod in pods:
        home.run("ip", "address", "add", pod, "dev", "lo", *(["nodad"] * (family is V6)))
        until(f"{pod} answers", partial(answers, home, pod))
    conntrack.delete(conntrack.entries(family))
    for pod in pods:
        send(pod, 1053)
        send(LOOPBACK[family], 1053, source=pod)
        home.run("ping", "-c1", "-W1", pod)
    assert conntrack.forget([pods[0], "10.244.9.9", "fd00::9"]) == 3
    left = list(conntrack.entries(family))
    assert not [each for each in left if mentions(each, pods[0])]
    assert len([each for each in left if mentions(each, pods[1])]) == 3


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.5", "127.0.0.6", "::1"])
def test_bits_of_a_mark_are_set_and_cleared_and_others_stay(
    home: Netns, conntrack: Conntrack, address: str
) -> None:
    family = V6 if ":" in address else V4
    home.run("nft", MARKING)
    send(address, 1053)
    send(LOOPBACK[family], 2053)

    def marks() -> dict[int, int]:
        return {each.destination_port: each.mark for each in conntrack.entries(family, UDP)}

    def these() -> Iterator[Entry]:
        return (each for each in conntrack.entries(family, UDP) if each.destination_port == 1053)

    assert conntrack.mark(these(), 0x20000000, 0x20000000) == 1
    assert marks() == {1053: 0x30000003, 2053: 0}
    assert dialled(conntrack.entries(family, marked=Bits(1 << 29, 1 << 29))) == {(address, 1053)}
    assert dialled(conntrack.entries(family, UDP, Bits(0, 1 << 29))) == {(LOOPBACK[family], 2053)}
    assert conntrack.mark(these(), 0, 0x20000000) == 1
    assert marks() == {1053: 0x10000003, 2053: 0}


def test_marking_what_is_gone_is_silent_and_makes_nothing(conntrack: Conntrack) -> None:
    send("127.0.0.1", 1053)
    found = list(conntrack.entries(V4, UDP))
    conntrack.delete(found)
    assert conntrack.mark(found, 1, 1) == 0
    assert list(conntrack.entries(V4, UDP)) == []


def test_an_entry_without_a_tuple_marks_nothing(conntrack: Conntrack) -> None:
    send("127.0.0.1", 1053)
    (entry,) = conntrack.entries(V4, UDP)
    assert conntrack.mark([entry._replace(raw=b"")], 1, 1) == 0


def test_who_may_not_is_told_what_is_needed(home: Netns) -> None:
    """A user namespace's root has no say in the network namespace of another."""
    program = (
        "from podwire_core.conntrack import *; from podwire_core.family import Family\n"
        "try: list(Conntrack().entries(Family.IPV4))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    told = home.run("unshare", "--user", "--map-root-user", sys.executable, "-c", program)
    assert told.startswith("ConntrackError ")
    assert "CAP_NET_ADMIN" in told


@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_is_found_by_its_packets_and_their_answers(
    conntrack: Conntrack, family: Family
) -> None:
    here = LOOPBACK[family]
    send(here, 1053, 5353)
    for ends in ((here, 5353, here, 1053), (here, 1053, here, 5353)):
        found = conntrack.find(UDP, *ends)
        assert found is not None
        assert (found.source_port, found.reply_port) == (5353, 1053)
    assert conntrack.find(UDP, here, 5353, here, 1054) is None
    assert conntrack.find(6, here, 5353, here, 1053) is None


def test_a_connection_is_found_by_who_answers_in_place_of_who_was_dialled(
    home: Netns, conntrack: Conntrack
) -> None:
    home.run(
        "nft",
        "add table ip turning; "
        "add chain ip turning out { type nat hook output priority -100; }; "
        "add rule ip turning out ip daddr 127.0.0.9 udp dport 53 dnat to 127.0.0.1:1053",
    )
    send("127.0.0.9", 53, 5353)
    found = conntrack.find(UDP, "127.0.0.1", 1053, "127.0.0.1", 5353)
    assert found is not None
    assert unpacked(found.destination) == "127.0.0.9"
