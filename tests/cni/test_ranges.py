"""Which address is next."""

import ipaddress
from dataclasses import dataclass

import pytest

from podwire_cni.family import IPAddress
from podwire_cni.ranges import PLENTY, AddressRange, Use, choose

V4 = AddressRange(ipaddress.ip_network("10.244.1.0/24"))
V6 = AddressRange(ipaddress.ip_network("fd00::/64"))
TINY = AddressRange(ipaddress.ip_network("10.244.1.0/29"))


def ip(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


@dataclass(frozen=True)
class Used(Use):
    """The naive twin of podwire_cni.lease_use: it looks at everything."""

    leased: frozenset[IPAddress]
    released: dict[IPAddress, float]

    def vacant(self, address: IPAddress, released_before: float) -> bool:
        never = float("-inf")
        return address not in self.leased and self.released.get(address, never) <= released_before

    def unused(self, range_: AddressRange, among: int) -> IPAddress | None:
        known = self.leased | self.released.keys()
        end = range_.first_offset + min(among, range_.capacity)
        offsets = range(range_.first_offset, end)
        return next((a for a in map(range_.address, offsets) if a not in known), None)

    def longest_released(self, range_: AddressRange) -> IPAddress | None:
        inside = filter(range_.offers, self.released)
        return min(inside, key=lambda address: (self.released[address], str(address)), default=None)

    def overlooked(self, range_: AddressRange) -> IPAddress | None:  # noqa: ARG002 - as in Use
        return None


def use(*leased: str, released: dict[str, float] | None = None) -> Used:
    rest = {ip(address): at for address, at in (released or {}).items()}
    return Used(frozenset(ip(address) for address in leased), rest)


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


def test_a_part_of_a_network_offers_its_ends_and_no_more() -> None:
    part = AddressRange(V4.network, first=ip("10.244.1.64"), last=ip("10.244.1.66"))
    assert (part.capacity, str(part)) == (3, "10.244.1.64-10.244.1.66")
    offered = [text for text in map(str, V4.network) if part.offers(ip(text))]
    assert offered == ["10.244.1.64", "10.244.1.65", "10.244.1.66"]


def test_a_part_never_offers_what_the_network_does_not() -> None:
    part = AddressRange(TINY.network, first=ip("10.244.1.0"), last=ip("10.244.1.7"))
    assert str(part) == "10.244.1.2-10.244.1.6"


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
    chosen = choose(TINY, taken, rested_since=70, companion=None)
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
    assert choose(V6, taken, rested_since=70, companion=ip(companion)) == ip(expected)


def test_a_narrow_ipv6_range_falls_back_to_its_lowest() -> None:
    narrow = AddressRange(ipaddress.ip_network("fd00::/124"))
    assert choose(narrow, use(), 0, ip("10.244.1.17")) == ip("fd00::2")


def plenty(leased: int = 0) -> Used:
    """The first addresses of V6: some in use, the others given back a second after each other."""
    known = [V6.address(V6.first_offset + n) for n in range(PLENTY)]
    released = {address: 1.0 + n for n, address in enumerate(known[leased:])}
    return Used(frozenset(known[:leased]), released)


def test_after_plenty_of_addresses_one_that_has_rested_comes_before_a_new_one() -> None:
    assert choose(V6, plenty(), 1, None) == V6.address(2)
    assert choose(V6, plenty(leased=9), 10, None) == V6.address(11)


def test_after_plenty_of_addresses_a_new_one_comes_before_one_that_has_not_rested() -> None:
    assert choose(V6, plenty(), 0.5, None) == V6.address(2 + PLENTY)
    assert choose(V6, plenty(leased=PLENTY), 10**6, None) == V6.address(2 + PLENTY)
