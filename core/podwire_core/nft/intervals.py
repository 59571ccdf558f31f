"""Element parts as spans of integers, for sets with `flags interval`."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

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
    """Whether a part is this one value, or a network with this address in it."""
    if "/" not in part:
        return part == value
    first, last = span(part)
    return first <= span(value)[0] <= last
