"""Networks as interval sets need them: of one family, disjoint, in nft's spelling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from podwire_core.family import Family, Network, family_of, spelled

#: What never leaves a host, and where NodePorts do not answer unless asked to.
LOOPBACK: dict[Family, Network] = {
    Family.IPV4: IPv4Network("127.0.0.0/8"),
    Family.IPV6: IPv6Network("::1/128"),
}


def disjoint(cidrs: Iterable[str]) -> tuple[str, ...]:
    """Networks that hold the same addresses, and none twice; equal input, equal output."""
    networks = [ip_network(cidr) for cidr in sorted(set(cidrs))]
    v4 = collapse_addresses(each for each in networks if isinstance(each, IPv4Network))
    v6 = collapse_addresses(each for each in networks if isinstance(each, IPv6Network))
    return (*map(spelled, v4), *map(spelled, v6))


def without_loopback(cidrs: Iterable[str]) -> tuple[str, ...]:
    """The same without 127.0.0.0/8 and ::1."""
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


def element_text(cidr: str) -> str:
    """A network as nft lists it in a set: one of a single address without its length."""
    return cidr.removesuffix(f"/{family_of(cidr).bits}")


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
