"""Packets that rules log are heard with their first bytes; what is lost is counted."""

from __future__ import annotations

import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pytest
from scratch import Netns, until

from podwire_core.errors import NfLogError
from podwire_core.family import FAMILIES, Family
from podwire_core.nflog import Logged, NfLog

V4, V6 = FAMILIES
GROUP = 28791
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}
RULES = f"""
table inet logging {{
  chain output {{
    type filter hook output priority 0
    udp dport 1001 log prefix "first" group {GROUP} snaplen 128
    udp dport 1002 log prefix "second" group {GROUP} snaplen 40
    udp dport 1003 log prefix "another group" group 5
  }}
  chain input {{
    type filter hook input priority 0
    tcp dport 1004 log prefix "came in" group {GROUP} snaplen 128 drop
  }}
}}
"""


@pytest.fixture
def home(new_netns: Callable[[], Netns]) -> Iterator[Netns]:
    made = new_netns()
    with made.inside():
        made.run("nft", RULES)
        yield made


@pytest.fixture
def log(home: Netns) -> Iterator[NfLog]:  # noqa: ARG001 - made inside of it
    with closing(NfLog(GROUP)) as made:
        yield made


def send(family: Family, port: int, data: bytes = b"hello", times: int = 1) -> None:
    kind = socket.AF_INET6 if family is V6 else socket.AF_INET
    with socket.socket(kind, socket.SOCK_DGRAM) as sender:
        for _ in range(times):
            sender.sendto(data, (LOOPBACK[family], port))


def heard(log: NfLog, number: int) -> list[Logged]:
    found: list[Logged] = []

    def enough() -> bool:
        found.extend(log.read())
        return len(found) >= number

    until(f"{number} packets are heard", enough)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_logged_packet_is_told_from_its_network_header_on(log: NfLog, family: Family) -> None:
    send(family, 1001)
    (found,) = heard(log, 1)
    header = 40 if family is V6 else 20
    assert (found.prefix, found.family, found.iif) == ("first", family, 0)
    assert found.oif == socket.if_nametoindex("lo")
    assert found.payload[0] >> 4 == (6 if family is V6 else 4)
    assert found.payload[header + 2 : header + 4] == (1001).to_bytes(2, "big")
    assert found.payload.endswith(b"hello")
    assert abs(found.seconds - time.time()) < 30


def test_no_more_than_the_rules_snaplen_is_told(log: NfLog) -> None:
    send(V4, 1001, b"x" * 1000)
    send(V4, 1002, b"x" * 1000)
    assert [(each.prefix, len(each.payload)) for each in heard(log, 2)] == [
        ("first", 128),
        ("second", 40),
    ]


def test_what_came_in_names_its_interface(home: Netns, log: NfLog) -> None:
    with home.popen(sys.executable, "-c", _DIAL) as client:
        found, *_ = heard(log, 1)  # or two: a SYN is sent again after a second
        client.kill()
    assert (found.prefix, found.iif) == ("came in", socket.if_nametoindex("lo"))
    assert found.payload[9] == socket.IPPROTO_TCP


_DIAL = "import socket; socket.create_connection(('127.0.0.1', 1004))"


def test_another_groups_packets_are_not_heard(log: NfLog) -> None:
    send(V4, 1003)
    send(V4, 1001)
    assert [each.prefix for each in heard(log, 1)] == ["first"]


def test_where_nothing_was_logged_reading_does_not_wait(log: NfLog) -> None:
    assert log.read() == []
    assert log.fileno() >= 0


def test_what_a_full_socket_loses_is_counted(home: Netns) -> None:
    with home.inside(), closing(NfLog(GROUP, buffer_bytes=64 * 1024)) as log:
        send(V4, 1001, times=5000)
        got = heard(log, 1)
        until("the buffer is empty", lambda: not _more(log, got))
        send(V4, 1001)  # tells the gap
        until("all are told of", lambda: not _more(log, got) and len(got) + log.lost >= 5001)
        assert log.lost > 0
        assert len(got) + log.lost == 5001


def _more(log: NfLog, into: list[Logged]) -> bool:
    found = log.read()
    into += found
    return bool(found)


def test_reading_ends_though_packets_go_on(log: NfLog) -> None:
    send(V4, 1001, times=20_000)
    sizes: list[int] = []
    until("all is read", partial(_nothing_left, log, sizes))
    assert sum(sizes) + log.lost >= 19_900  # the last ones may be told by no gap
    assert max(sizes) < 20_000 / 2


def _nothing_left(log: NfLog, sizes: list[int]) -> bool:
    sizes.append(len(log.read()))
    return not sizes[-1]


def test_a_group_has_one_listener(log: NfLog) -> None:
    with pytest.raises(NfLogError, match="another program listens"):
        NfLog(GROUP)
    log.close()
    NfLog(GROUP).close()


def test_who_may_not_listen_is_told_what_is_needed(home: Netns) -> None:
    """A user namespace's root has no say in the network namespace of another."""
    program = (
        "from podwire_core.nflog import *\n"
        "try: NfLog(1)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    told = home.run("unshare", "--user", "--map-root-user", sys.executable, "-c", program)
    assert told.startswith("NfLogError ")
    assert "CAP_NET_ADMIN" in told


def test_without_a_free_descriptor_it_says_so(home: Netns) -> None:  # noqa: ARG001 - asked in it
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(NfLogError, match=r"does not let us hear group .*Too many open files"):
            NfLog(GROUP)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
