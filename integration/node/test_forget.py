"""What the kernel learnt of released addresses is forgotten, in time for who gets them next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from scratch import Netns, until

from podwire_node.cni.released import forget
from podwire_node.cni.released.forget import Forgetter

GONE = ip_address("10.244.1.5")
LIVING = ip_address("10.244.1.6")
GONE_6 = ip_address("fd00:10:244:1::5")


@pytest.fixture
def netns(new_netns: Callable[[], Netns]) -> Netns:
    netns = new_netns()
    netns.run("ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1")
    for end in ("d0", "d1"):
        netns.run("ip", "link", "set", end, "up")
    return netns


@pytest.fixture
def forgetter(netns: Netns) -> Iterator[Forgetter]:
    with netns.inside():
        forgetter = Forgetter()
    yield forgetter
    forgetter.close()


def learnt(netns: Netns, address: object, state: str = "stale") -> None:
    entry = ("lladdr", "02:00:00:00:00:01", "dev", "d0", "nud", state)
    netns.run("ip", "neigh", "replace", str(address), *entry)


def known(netns: Netns) -> set[str]:
    lines = netns.run("ip", "neigh", "show", "dev", "d0").splitlines()
    return {line.split()[0] for line in lines}


def test_neighbours_of_released_addresses_are_forgotten_and_no_others(
    netns: Netns, forgetter: Forgetter
) -> None:
    for address in (GONE, GONE_6, LIVING):
        learnt(netns, address)
    forgetter.submit([GONE, GONE_6])
    until("they are forgotten", lambda: known(netns) == {str(LIVING)})


def test_what_a_plan_has_set_goes_with_its_link_and_not_by_forgetting(
    netns: Netns, forgetter: Forgetter
) -> None:
    learnt(netns, GONE, "permanent")
    forgetter.submit([GONE])
    assert forgetter.wait([GONE], time.monotonic() + 10)
    assert known(netns) == {str(GONE)}


def test_who_gets_the_address_waits_for_it_and_not_for_others(
    netns: Netns, forgetter: Forgetter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget, "GATHER_S", 30.0)
    learnt(netns, GONE)
    began = time.monotonic()
    forgetter.submit([GONE])
    assert forgetter.wait([LIVING], began + 40)
    assert known(netns) == {str(GONE)}, "those that go are gathered"
    assert forgetter.wait([GONE], began + 40)
    assert known(netns) == set()
    assert time.monotonic() - began < 30, "it was in a hurry"


def test_one_that_was_closed_holds_up_nobody(forgetter: Forgetter) -> None:
    forgetter.submit([GONE])
    forgetter.close()
    assert forgetter.wait([GONE], time.monotonic() + 10)
