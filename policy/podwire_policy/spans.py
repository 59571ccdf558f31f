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


def addresses(spans: Iterable[Span], family: Family) -> tuple[str, ...]:
    """Spans of addresses, each in one word: an address, a CIDR where it is one, or a range.

    As nft lists them. A range that is no CIDR would be up to 254 of them: an except of one address
    leaves 2 ranges of an IPv6 block, which are 128 CIDRs.
    """
    return tuple(_block(first, last, family) for first, last in spans)


def _block(first: int, last: int, family: Family) -> str:
    make, size = _ADDRESS[family], last - first + 1
    start = spelled(make(first))
    if size == 1:
        return start
    if size & (size - 1) or first % size:
        return f"{start}-{spelled(make(last))}"
    return f"{start}/{family.bits + 1 - size.bit_length()}"


def ports(spans: Iterable[Span]) -> tuple[str, ...]:
    """`80` and `8000-8100`."""
    return tuple(f"{first}-{last}" if first < last else str(first) for first, last in spans)
