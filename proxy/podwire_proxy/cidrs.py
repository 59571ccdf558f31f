"""Addresses that are of no one machine: loopback, link-local, multicast, unspecified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from podwire_core.family import Family, Network, family_of, spelled
from podwire_core.nft.intervals import disjoint

#: What never leaves a host, and where NodePorts do not answer unless asked to.
LOOPBACK: dict[Family, Network] = {
    Family.IPV4: IPv4Network("127.0.0.0/8"),
    Family.IPV6: IPv6Network("::1/128"),
}


def without_loopback(cidrs: Iterable[str]) -> tuple[str, ...]:
    """Networks without 127.0.0.0/8 and ::1, disjoint."""
    return disjoint(spelled(each) for cidr in cidrs for each in _cut(ip_network(cidr)))


def _cut(network: Network) -> Iterator[Network]:
    """What is left of a network: a network and its complement within another are CIDRs too."""
    match network, LOOPBACK[family_of(str(network))]:
        case (IPv4Network() as whole, IPv4Network() as loopback) if loopback.subnet_of(whole):
            yield from whole.address_exclude(loopback)
        case (IPv6Network() as whole, IPv6Network() as loopback) if loopback.subnet_of(whole):
            yield from whole.address_exclude(loopback)
        case (_, loopback):
            if not network.overlaps(loopback):
                yield network


#: What is_special() means, for a sentence that begins with the address.
SPECIAL = "loopback, link-local, multicast or unspecified"
#: How an address begins that may not be one of those that is_special() means.
_SUSPECT = ("0.", "127.", "169.254.", "22", "23", "::", "fe8", "fe9", "fea", "feb", "ff")


def is_special(address: str) -> bool:
    """Whether no Service may lead there, nor have it: loopback, link-local, multicast, unspecified.

    As the API server judges endpoints and externalIPs (ValidateNonSpecialIP); a folder asks no one.
    """
    if not address.startswith(_SUSPECT):
        return False  # nearly all of a hundred thousand
    found = ip_address(address)
    return found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified
