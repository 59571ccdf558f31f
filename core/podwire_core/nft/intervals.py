"""Elements of sets with `flags interval`: parts as spans of integers, disjoint networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from podwire_core.family import family_of, spelled

Span = tuple[int, int]

_PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "ipv6-icmp": 58}


@lru_cache(maxsize=65536)
def span(part: str) -> Span:
    """First and last value a part stands for, both included.

    "10.0.0.0/30" → four addresses, "80-90" → eleven ports, "tcp" and "80" → one value.
    Raises ValueError for what is none of them.
    """
    if part in _PROTOCOL_NUMBERS:
        number = _PROTOCOL_NUMBERS[part]
        return number, number
    if part.isdigit():
        return int(part), int(part)
    first, dash, last = part.partition("-")
    if dash:
        return span(first)[0], span(last)[1]
    network = ipaddress.ip_network(part)
    return int(network.network_address), int(network.broadcast_address)


def holds(part: str, value: str) -> bool:
    """Whether a part is this one value, or a network or range of numbers with it in it."""
    if "/" not in part and not (value.isdigit() and "-" in part):
        return part == value
    first, last = span(part)
    return first <= span(value)[0] <= last


def disjoint(cidrs: Iterable[str]) -> tuple[str, ...]:
    """Networks that hold the same addresses, and none twice; equal input, equal output.

    cidrs: of either family, with their host bits cleared. IPv4 comes first.
    """
    networks = [ipaddress.ip_network(cidr) for cidr in sorted(set(cidrs))]
    v4 = (each for each in networks if isinstance(each, ipaddress.IPv4Network))
    v6 = (each for each in networks if isinstance(each, ipaddress.IPv6Network))
    one, other = ipaddress.collapse_addresses(v4), ipaddress.collapse_addresses(v6)
    return (*map(spelled, one), *map(spelled, other))


def network_text(cidr: str) -> str:
    """A network as nft lists it in a set: one of a single address without its length."""
    return cidr.removesuffix(f"/{family_of(cidr).bits}")
