"""However many chains log at once, so many records a second are made; the others are counted.

A rule without a limit stands for a thousand chains of which each keeps to its own.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from drop_site import ground, snapshot
from scratch import Netns, until

from podwire_core.nflog import Logged, NfLog
from podwire_node.control.errors import ControlError
from podwire_node.control.view import Moment
from podwire_node.metrics import Metrics
from podwire_node.observe.drops import BURST, RATE, Drops
from podwire_node.observe.ring import SIZE, Ring
from podwire_policy.reasons import LOG_GROUP

RULES = f"""
table inet test {{
    chain out {{
        type filter hook output priority 0;
        udp dport 9 log prefix "ingress-0123456789" group {LOG_GROUP} snaplen 128 counter drop
    }}
}}
"""


class StillView:
    """Objects that never change; what control.view.View answers where nothing happens."""

    node = "node2"
    known = True

    def __init__(self) -> None:
        self._moment = Moment(1, snapshot(), dict(ground().reasons))

    def now(self) -> Moment:
        if not self.known:
            raise ControlError("the agent has not read everything yet")
        return self._moment


@pytest.fixture
def netns(new_netns: Callable[[], Netns]) -> Netns:
    made = new_netns()
    made.run("nft", RULES)
    return made


@contextmanager
def hearing(
    netns: Netns, view: StillView, ring: Ring, metrics: Metrics | None = None
) -> Iterator[Drops]:
    with netns.inside():
        drops = Drops(view, ring, metrics)  # type: ignore[arg-type]  # it answers what is asked
    with closing(drops):
        yield drops


def send(netns: Netns, count: int) -> None:
    with netns.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            try:
                sender.sendto(b"x", ("127.0.0.1", 9))
            except PermissionError:  # what a drop in output looks like
                continue


def test_a_storm_of_logs_makes_records_up_to_a_bound_and_loses_none_uncounted(
    netns: Netns,
) -> None:
    ring, metrics, count = Ring(), Metrics(), 100_000
    with hearing(netns, StillView(), ring, metrics) as drops:
        began = time.monotonic()
        send(netns, count)
        sent = count

        def all_are_heard() -> bool:
            nonlocal sent
            sent += 1
            send(netns, 1)  # what was lost last is told by what comes next
            return ring.all().position + drops.lost >= count

        until("all were heard", all_are_heard)
        assert not drops.problem
    took, made = time.monotonic() - began, ring.all().position
    print(f"{sent} logged in {took:.1f} s: {made} records, {drops.lost} lost")
    assert count <= made + drops.lost <= sent
    assert BURST <= made <= BURST + RATE * (took + 1)
    assert len(ring.all().records) <= SIZE
    text = metrics.text().decode()
    assert f'podwire_policy_drops_total{{direction="ingress",reason="isolated"}} {made}.0' in text
    assert "podwire_policy_drops_unseen_total" in text


def test_drops_before_the_objects_are_known_are_counted(netns: Netns) -> None:
    view, ring = StillView(), Ring()
    view.known = False
    with hearing(netns, view, ring) as drops:
        send(netns, 10)
        until("all were heard", lambda: drops.lost == 10)
        view.known = True
        send(netns, 1)
        until("one has a record", lambda: ring.all().position == 1)


def test_a_group_that_another_hears_is_heard_once_it_lets_go(
    netns: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podwire_node.observe.drops._AGAIN_S", 0.1)
    with netns.inside():
        other = NfLog(LOG_GROUP)
    ring = Ring()
    with hearing(netns, StillView(), ring) as drops:
        assert "drops are not seen" in drops.problem
        other.close()
        until("it hears", lambda: not drops.problem)
        send(netns, 1)
        until("there is a record", lambda: ring.all().position == 1)


def test_whatever_goes_wrong_while_it_hears_is_a_problem_until_it_hears_again(
    netns: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podwire_node.observe.drops._AGAIN_S", 0.1)
    ring, faults = Ring(), [MemoryError("no room"), ValueError("a bug")]
    read = NfLog.read

    def faulty(nflog: NfLog) -> list[Logged]:
        if faults:
            raise faults.pop()
        return read(nflog)

    monkeypatch.setattr(NfLog, "read", faulty)
    with hearing(netns, StillView(), ring) as drops:
        for problem in ("a bug", "no room"):
            send(netns, 1)
            until("it is told", lambda problem=problem: problem in drops.problem)
            until("it listens again", lambda: not drops.problem)
        send(netns, 1)
        until("there is a record", lambda: ring.all().position >= 1)
