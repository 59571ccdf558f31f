"""A node's addresses: which ones a range offers, and which one is next.

Pure. In a range of any size the first two addresses stay out (.0 and .1; ::0, the
subnet-router anycast address of RFC 4291 2.6.1, and ::1), and for IPv4 the broadcast
address. The gateway is link-local and takes none.

The next address, in this order:

1. the IPv6 address that reads like the IPv4 one just chosen (10.244.1.17 ↔ ::17), if it
   is unused or has rested;
2. the lowest that nobody had since the node booted, among the range's first PLENTY;
3. the one released the longest ago, if it has rested;
4. the lowest of all others that nobody had;
5. the one released the longest ago all the same: an address that is still warm is better
   than a pod that does not start.
"""

from dataclasses import dataclass
from typing import Protocol

from podwire_cni.family import Family, IPAddress, IPNetwork, IPv4, family_of

_FIRST_OFFSET = 2
#: So many addresses are enough for any of them to rest. Each that was used is remembered until
#: the node boots, so a node that starts pods for a year must not go on through a whole /64.
PLENTY = 4096


@dataclass(frozen=True, slots=True)
class AddressRange:
    """A network, or the part of it from `first` to `last`, both of which count."""

    network: IPNetwork
    first: IPAddress | None = None
    last: IPAddress | None = None

    @property
    def family(self) -> Family:
        """The range's family."""
        return family_of(self.network)

    @property
    def first_offset(self) -> int:
        """The first usable address, counted from the network's own."""
        return max(_FIRST_OFFSET, self.offset(self.first) if self.first else 0)

    @property
    def last_offset(self) -> int:
        """The last usable address, counted from the network's own."""
        broadcast = 1 if self.family is IPv4 else 0
        usable = self.network.num_addresses - 1 - broadcast
        return min(usable, self.offset(self.last)) if self.last else usable

    @property
    def capacity(self) -> int:
        """How many addresses pods can have; 0 or less when the range is too small."""
        return self.last_offset - self.first_offset + 1

    def address(self, offset: int) -> IPAddress:
        """The address that many places after the network's own."""
        return self.network.network_address + offset

    def offset(self, address: IPAddress) -> int:
        """The inverse of `address`."""
        return int(address) - int(self.network.network_address)

    def offers(self, address: IPAddress) -> bool:
        """Whether the address is in the range and usable."""
        if address.version != self.network.version:
            return False
        return self.first_offset <= self.offset(address) <= self.last_offset

    def __str__(self) -> str:
        if self.first is None and self.last is None:
            return str(self.network)
        return f"{self.address(self.first_offset)}-{self.address(self.last_offset)}"


class Use(Protocol):
    """Who has a node's addresses, asked as little as one choice needs."""

    def vacant(self, address: IPAddress, released_before: float) -> bool:
        """Whether nobody has the address, and nobody gave it back at that time or later."""

    def unused(self, range_: AddressRange, among: int) -> IPAddress | None:
        """The lowest address of the range's first so many that nobody had since the node booted."""

    def longest_released(self, range_: AddressRange) -> IPAddress | None:
        """Of the range's addresses that were given back, the one that was so first."""

    def overlooked(self, range_: AddressRange) -> IPAddress | None:
        """One that neither of the two knows of; asked when both have none."""


def choose(
    range_: AddressRange, use: Use, rested_since: float, companion: IPAddress | None
) -> IPAddress | None:
    """The next address, or None when every one is leased.

    companion: the address of the other family already chosen for the same pod.
    rested_since: seconds since the epoch; what was released by then has rested.
    """
    alike = _alike(range_, companion) if companion else None
    if alike and use.vacant(alike, rested_since):
        return alike
    if fresh := use.unused(range_, PLENTY):
        return fresh
    oldest = use.longest_released(range_)
    if oldest and use.vacant(oldest, rested_since):
        return oldest
    return use.unused(range_, range_.capacity) or oldest or use.overlooked(range_)


def _alike(range_: AddressRange, companion: IPAddress) -> IPAddress | None:
    """The address whose last hexadecimal digits read like an IPv4 address' last octet."""
    octet = int(companion) & 0xFF
    offset = int(str(octet), base=16)
    address = range_.address(offset) if offset <= range_.last_offset else None
    return address if address and range_.offers(address) else None
