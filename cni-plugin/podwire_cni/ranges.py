"""A node's addresses: which ones a range offers, and which one is next.

Pure. In a range of any size the first two addresses stay out (.0 and .1; ::0, the
subnet-router anycast address of RFC 4291 2.6.1, and ::1), and for IPv4 the broadcast
address. The gateway is link-local and takes none.

The next address, in this order:

1. the IPv6 address that reads like the IPv4 one just chosen (10.244.1.17 ↔ ::17), if it
   is unused or has rested;
2. the lowest that nobody had since the node booted;
3. the one released the longest ago, rested or not: an address that is still warm is
   better than a pod that does not start.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from podwire_cni.family import Family, IPAddress, IPNetwork, IPv4, family_of

_FIRST_OFFSET = 2


@dataclass(frozen=True, slots=True)
class AddressRange:
    """One of the configuration's `ranges`."""

    network: IPNetwork

    @property
    def family(self) -> Family:
        """The range's family."""
        return family_of(self.network)

    @property
    def last_offset(self) -> int:
        """The last usable address, counted from the network's own."""
        broadcast = 1 if self.family is IPv4 else 0
        return self.network.num_addresses - 1 - broadcast

    @property
    def capacity(self) -> int:
        """How many addresses pods can have; 0 or less when the range is too small."""
        return self.last_offset - _FIRST_OFFSET + 1

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
        return _FIRST_OFFSET <= self.offset(address) <= self.last_offset

    def __str__(self) -> str:
        return str(self.network)


@dataclass(frozen=True, slots=True)
class Use:
    """Who has a range's addresses.

    leased: addresses in use.
    released: when each address that was given back was, in seconds since the epoch.
    """

    leased: frozenset[IPAddress]
    released: Mapping[IPAddress, float]

    def rested(self, address: IPAddress, now: float, cooldown: float) -> bool:
        """Whether an address that nobody has was never used or released long enough ago."""
        return now - self.released.get(address, float("-inf")) >= cooldown

    def cooling(self, now: float, cooldown: float) -> int:
        """How many released addresses still rest."""
        return sum(not self.rested(address, now, cooldown) for address in self.released)


def choose(
    range_: AddressRange, use: Use, now: float, cooldown: float, companion: IPAddress | None
) -> IPAddress | None:
    """The next address, or None when every one is leased.

    companion: the address of the other family already chosen for the same pod.
    now, cooldown: seconds.
    """
    alike = _alike(range_, companion) if companion else None
    if alike and alike not in use.leased and use.rested(alike, now, cooldown):
        return alike
    known = use.leased | use.released.keys()
    # Ends after at most len(known) + 1 steps, however large the range.
    for offset in range(_FIRST_OFFSET, range_.last_offset + 1):
        if (address := range_.address(offset)) not in known:
            return address
    candidates = [address for address in use.released if range_.offers(address)]
    return min(candidates, key=lambda address: (use.released[address], int(address)), default=None)


def _alike(range_: AddressRange, companion: IPAddress) -> IPAddress | None:
    """The address whose last hexadecimal digits read like an IPv4 address' last octet."""
    octet = int(companion) & 0xFF
    offset = int(str(octet), base=16)
    address = range_.address(offset) if offset <= range_.last_offset else None
    return address if address and range_.offers(address) else None
