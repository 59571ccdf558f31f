"""What the node's own links reach, as the kernel's main table says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from podwire_core.family import FAMILIES, Family, family_of

LOOPBACK = 1  # LOOPBACK_IFINDEX, in every network namespace


class Hop(NamedTuple):
    """A route of the node that is not ours. link: its index; gateway: whether it has one."""

    network: str
    link: int
    gateway: bool


@dataclass(frozen=True)
class Reach:
    """Routes that are not ours, and which link has which address (its index)."""

    hops: tuple[Hop, ...] = ()
    addresses: Mapping[str, int] = field(default_factory=dict)

    def on_link(self, address: str) -> bool:
        """Whether an address is a neighbour on a link: the longest match has no gateway.

        A default route without a gateway (a PPP link) does not count: it says that everything
        goes this way, not that everyone listens there.
        """
        hop = self._match(address)
        return hop is not None and not hop.gateway and hop.link != LOOPBACK

    def uplink(self, address: str) -> int:
        """The index of the link that has our address, else of the default route; else 0.

        An address of the loopback (routers announce it) says nothing about links.
        """
        link = self.addresses.get(address, LOOPBACK)
        if link != LOOPBACK:
            return link
        defaults = [self._tables[family].get(0, {}).get(0) for family in FAMILIES]
        return next((hop.link for hop in defaults if hop is not None), 0)

    def _match(self, address: str) -> Hop | None:
        """The route with the longest prefix that holds the address; default routes left out."""
        family = family_of(address)
        number = int(ip_address(address))
        table = self._tables[family]
        for length in sorted(table, reverse=True):
            hop = table[length].get(number >> (family.bits - length))
            if hop is not None and length:
                return hop
        return None

    @cached_property
    def _tables(self) -> dict[Family, dict[int, dict[int, Hop]]]:
        """By family and prefix length, by the prefix as a number. Of two equals, the near one."""
        tables: dict[Family, dict[int, dict[int, Hop]]] = {family: {} for family in FAMILIES}
        for hop in self.hops:
            network = ip_network(hop.network)
            family = family_of(hop.network)
            prefix = int(network.network_address) >> (family.bits - network.prefixlen)
            row = tables[family].setdefault(network.prefixlen, {})
            if prefix not in row or (row[prefix].gateway and not hop.gateway):
                row[prefix] = hop
        return tables
