"""Ways through a rule: each through its peers with each through its ports is one nft rule.

    peers   anyone                        no match
            each selector                 ip saddr @peers-…, ip saddr @nodes-…
            all CIDRs together            ip saddr @cidrs-…
    ports   nothing said                  no match: any port of any protocol
            a protocol                    meta l4proto udp
            one number                    meta l4proto tcp th dport 80
            numbers and ranges            meta l4proto tcp th dport @ports-…
            all names together            ip daddr . meta l4proto . th dport @named-…

CIDRs that are all of the other family become nothing at all, never "anyone". A rule has four ways
through its ports at most, so that it costs what it says and not its square; and what one policy
may cost is bounded, because whoever writes one pod's policies must not end the agent of its node.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from podwire_core.family import Family
from podwire_core.nft.expressions import DPORT, L4PROTO, Field, daddr, saddr
from podwire_core.nft.intervals import Span, span
from podwire_core.nft.objects import Rule
from podwire_core.nft.statements import Match, Verdict
from podwire_core.objects import PolicyType, Protocol
from podwire_policy import spans
from podwire_policy.sets import (
    Blocks,
    Interned,
    NamedPorts,
    NodePeers,
    PodPeers,
    PortList,
    size_of,
)

#: What one policy may make, in one direction and family.
MAX_RULES = 10_000
MAX_ELEMENTS = 100_000  # in sets that it fills itself: CIDRs and ports


_TOO_MANY_RULES = f"makes more than {MAX_RULES} nft rules"
_TOO_MANY_ELEMENTS = f"makes more than {MAX_ELEMENTS} intervals of addresses and ports"


class TooLarge(Exception):  # noqa: N818 - what a policy is; who compiles it makes an ObjectError
    """A policy would make more than a node can bear."""


@dataclass(frozen=True)
class Way:
    """Matches that must all hold, and the set they look into if they look into one."""

    matches: tuple[Match, ...] = ()
    set: Interned | None = None


#: No match at all.
ANY = Way()


class Ports(NamedTuple):
    """What a row of a rule's ports says. No protocol: any; no first: all of it, or a name."""

    protocol: Protocol | None = None
    first: int | None = None
    last: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Compiled:
    """nft rules, and every set they look into."""

    rules: tuple[Rule, ...] = ()
    sets: tuple[Interned, ...] = ()


def compiled(peers: Sequence[Way], ports: Sequence[Way], verdict: Verdict, why: str) -> Compiled:
    """The rules of all ways through both. Raises TooLarge, before they are made."""
    if len(peers) * len(ports) > MAX_RULES:
        raise TooLarge(_TOO_MANY_RULES)
    rules: list[Rule] = []
    sets: dict[str, Interned] = {}
    for peer, port in product(peers, ports):
        rules.append(Rule((*peer.matches, *port.matches, verdict), why))
        sets |= {each.set.name: each.set for each in (peer, port) if each.set is not None}
    return Compiled(tuple(rules), tuple(sets.values()))


def joined(parts: Iterable[Compiled]) -> Compiled:
    """All rules in order, and the sets once. Raises TooLarge, and asks for no more parts then."""
    rules: list[Rule] = []
    sets: dict[str, Interned] = {}
    elements = 0
    for part in parts:
        rules += part.rules
        fresh = {each.name: each for each in part.sets if each.name not in sets}
        elements += sum(map(size_of, fresh.values()))
        sets |= fresh
        if len(rules) > MAX_RULES:
            raise TooLarge(_TOO_MANY_RULES)
        if elements > MAX_ELEMENTS:
            raise TooLarge(_TOO_MANY_ELEMENTS)
    return Compiled(tuple(rules), tuple(sets.values()))


def peer_ways(
    selected: Iterable[PodPeers | NodePeers],
    allowed: tuple[Span, ...],
    direction: PolicyType,
    family: Family,
) -> Sequence[Way]:
    """Ways through peers, each selector once; none when no peer is of the family.

    allowed: merged spans of the addresses that CIDRs allow.
    """
    field = saddr(family) if direction is PolicyType.INGRESS else daddr(family)
    if allowed == (span(family.everything),):
        return [ANY]
    ways = [_look(field, each) for each in {each.name: each for each in selected}.values()]
    return [*ways, _look(field, Blocks(spans.addresses(allowed, family)))] if allowed else ways


def port_ways(ports: Sequence[Ports], family: Family) -> Sequence[Way]:
    """Ways through ports."""
    if not ports or Ports() in ports:
        return [ANY]
    whole = {row.protocol for row in ports if row.first is None and not row.name}
    ways = [
        way
        for protocol in Protocol
        for way in _numbered(protocol, [row for row in ports if row.protocol is protocol], whole)
    ]
    return [*ways, *_named([row for row in ports if row.protocol not in whole], family)]


def _numbered(
    protocol: Protocol, ports: Iterable[Ports], whole: Container[Protocol | None]
) -> Iterator[Way]:
    """The way through numbers of one protocol, or through all of it."""
    guard = Match(L4PROTO, (protocol.nft,))
    if protocol in whole:
        yield Way((guard,))
        return
    numbers = [(row.first, row.last or row.first) for row in ports if row.first is not None]
    listed = spans.ports(spans.merged(numbers))
    if len(listed) == 1 and listed[0].isdigit():
        yield Way((guard, Match(DPORT, listed)))
    elif listed:
        way = _look(DPORT, PortList(listed))
        yield Way((guard, *way.matches), way.set)


def _named(ports: Iterable[Ports], family: Family) -> Iterator[Way]:
    names = {(row.name, row.protocol) for row in ports if row.name}
    if names:
        named = NamedPorts(tuple(sorted(names, key=lambda each: (each[0], each[1] or ""))))
        yield Way((Match(named.key(family), set=named.name),), named)


def _look(field: Field, into: Interned) -> Way:
    return Way((Match(field, set=into.name),), into)
