"""Intervals of addresses and ports: merged, cut, and spelled as nft lists them.

nft refuses intervals that overlap ("conflicting intervals specified"), and its auto-merge
cannot take out again what it swallowed. So what reaches a set is disjoint, from here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from podwire_core.family import Address, Family, spelled
from podwire_core.nft.intervals import Span

#: By family, and not by size: ipaddress takes a small number for IPv4.
_ADDRESS: dict[Family, type[Address]] = {
    Family.IPV4: ipaddress.IPv4Address,
    Family.IPV6: ipaddress.IPv6Address,
}


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same values in the fewest spans, sorted; neighbours become one."""
    done: list[Span] = []
    for first, last in sorted(spans):
        if done and first <= done[-1][1] + 1:
            done[-1] = (done[-1][0], max(done[-1][1], last))
        else:
            done.append((first, last))
    return tuple(done)


def without(whole: Span, holes: Iterable[Span]) -> tuple[Span, ...]:
    """What is left of a span when holes are cut out of it."""
    left: list[Span] = []
    start, end = whole
    for first, last in merged(holes):
        if first > start:
            left.append((start, min(first - 1, end)))
        start = max(start, last + 1)
        if start > end:
            return tuple(left)
    return (*left, (start, end))


def cidrs(spans: Iterable[Span], family: Family) -> tuple[str, ...]:
    """Disjoint spans as the fewest CIDRs; a single address as nft lists it, without its /32."""
    make = _ADDRESS[family]
    return tuple(
        spelled(network.network_address if network.num_addresses == 1 else network)
        for first, last in spans
        for network in ipaddress.summarize_address_range(make(first), make(last))
    )


def ports(spans: Iterable[Span]) -> tuple[str, ...]:
    """`80` and `8000-8100`."""
    return tuple(f"{first}-{last}" if first < last else str(first) for first, last in spans)
