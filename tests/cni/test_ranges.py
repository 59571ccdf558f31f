"""Which address is next."""

import ipaddress

import pytest

from podwire_cni.family import IPAddress
from podwire_cni.ranges import AddressRange, Use, choose

V4 = AddressRange(ipaddress.ip_network("10.244.1.0/24"))
V6 = AddressRange(ipaddress.ip_network("fd00::/64"))
TINY = AddressRange(ipaddress.ip_network("10.244.1.0/29"))


def ip(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


def use(*leased: str, released: dict[str, float] | None = None) -> Use:
    rest = {ip(address): at for address, at in (released or {}).items()}
    return Use(frozenset(ip(address) for address in leased), rest)


@pytest.mark.parametrize(
    ("network", "capacity"),
    [
        ("10.244.1.0/24", 253),
        ("10.244.1.0/29", 5),
        ("10.244.1.0/30", 1),
        ("10.244.1.0/31", -1),
        ("10.244.1.0/32", -2),
        ("fd00::/126", 2),
        ("fd00::/64", 2**64 - 2),
    ],
)
def test_capacity_leaves_out_network_first_and_broadcast(network: str, capacity: int) -> None:
    assert AddressRange(ipaddress.ip_network(network)).capacity == capacity


@pytest.mark.parametrize(
    ("address", "offered"),
    [
        ("10.244.1.0", False),
        ("10.244.1.1", False),
        ("10.244.1.2", True),
        ("10.244.1.254", True),
        ("10.244.1.255", False),
        ("10.244.2.2", False),
        ("fd00::2", False),
    ],
)
def test_a_slash_24_offers_2_to_254(address: str, offered: bool) -> None:
    assert V4.offers(ip(address)) is offered


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        pytest.param(use(), "10.244.1.2", id="the first when nobody is there"),
        pytest.param(use("10.244.1.2", "10.244.1.4"), "10.244.1.3", id="the lowest gap"),
        pytest.param(
            use("10.244.1.2", released={"10.244.1.3": 0}),
            "10.244.1.4",
            id="an unused one rather than a rested one",
        ),
        pytest.param(
            use(
                "10.244.1.2",
                "10.244.1.5",
                "10.244.1.6",
                released={"10.244.1.3": 50, "10.244.1.4": 40},
            ),
            "10.244.1.4",
            id="the one released the longest ago",
        ),
        pytest.param(
            use(
                "10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5", released={"10.244.1.6": 99}
            ),
            "10.244.1.6",
            id="a warm one rather than none",
        ),
        pytest.param(
            use("10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.1.6"),
            None,
            id="none when all are leased",
        ),
    ],
)
def test_the_next_address_is(taken: Use, expected: str | None) -> None:
    chosen = choose(TINY, taken, now=100, cooldown=30, companion=None)
    assert chosen == (ip(expected) if expected else None)


@pytest.mark.parametrize(
    ("companion", "taken", "expected"),
    [
        ("10.244.1.5", use(), "fd00::5"),
        ("10.244.1.17", use(), "fd00::17"),
        ("10.244.1.254", use(), "fd00::254"),
        ("10.244.1.17", use("fd00::17"), "fd00::2"),
        ("10.244.1.17", use(released={"fd00::17": 71}), "fd00::2"),  # still rests
        ("10.244.1.17", use(released={"fd00::17": 70}), "fd00::17"),
    ],
)
def test_the_ipv6_address_reads_like_the_ipv4_one(
    companion: str, taken: Use, expected: str
) -> None:
    assert choose(V6, taken, now=100, cooldown=30, companion=ip(companion)) == ip(expected)


def test_a_narrow_ipv6_range_falls_back_to_its_lowest() -> None:
    narrow = AddressRange(ipaddress.ip_network("fd00::/124"))
    assert choose(narrow, use(), 0, 30, ip("10.244.1.17")) == ip("fd00::2")
