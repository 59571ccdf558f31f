"""Ways through a rule: each through its peers with each through its ports is one nft rule.

    peers   anyone                        no match
            each selector                 ip saddr @peers-…, ip saddr @nodes-…
            all CIDRs together            ip saddr @cidrs-…
    ports   nothing said                  no match: any port of any protocol
            a protocol                    meta l4proto udp
            one number                    meta l4proto tcp th dport 80
            numbers and ranges            meta l4proto tcp th dport @ports-…
            a name                        ip daddr . meta l4proto . th dport @named-…

CIDRs that are all of the other family become nothing at all, never "anyone".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from podwire_policy.sets import Blocks, Interned, NamedPort, NodePeers, PodPeers, PortList


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
    """The rules of all ways through both."""
    rules: list[Rule] = []
    sets: dict[str, Interned] = {}
    for peer, port in product(peers, ports):
        rules.append(Rule((*peer.matches, *port.matches, verdict), why))
        sets |= {each.set.name: each.set for each in (peer, port) if each.set is not None}
    return Compiled(tuple(rules), tuple(sets.values()))


def joined(parts: Iterable[Compiled]) -> Compiled:
    """All rules in order, and the sets once."""
    parts = list(parts)
    sets = {each.name: each for part in parts for each in part.sets}
    return Compiled(tuple(rule for part in parts for rule in part.rules), tuple(sets.values()))


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
    return [*ways, _look(field, Blocks(spans.cidrs(allowed, family)))] if allowed else ways


def port_ways(ports: Sequence[Ports], family: Family) -> Sequence[Way]:
    """Ways through ports."""
    if not ports or Ports() in ports:
        return [ANY]
    ways = [
        way
        for protocol in Protocol
        for way in _protocol_ways([row for row in ports if row.protocol is protocol], family)
    ]
    return [*ways, *_named([row for row in ports if row.protocol is None], family)]


def _protocol_ways(ports: Sequence[Ports], family: Family) -> Iterable[Way]:
    """Ways for ports of one protocol; one without a number or name is the whole protocol."""
    if not ports:
        return
    protocol = ports[0].protocol
    guard = Match(L4PROTO, (protocol.nft if protocol else "",))
    if any(row.first is None and not row.name for row in ports):
        yield Way((guard,))
        return
    numbers = [(row.first, row.last or row.first) for row in ports if row.first is not None]
    listed = spans.ports(spans.merged(numbers))
    if len(listed) == 1 and listed[0].isdigit():
        yield Way((guard, Match(DPORT, listed)))
    elif listed:
        way = _look(DPORT, PortList(listed))
        yield Way((guard, *way.matches), way.set)
    yield from _named(ports, family)


def _named(ports: Sequence[Ports], family: Family) -> Iterable[Way]:
    for name, protocol in sorted({(row.name, row.protocol) for row in ports if row.name}):
        named = NamedPort(name, protocol)
        yield Way((Match(named.key(family), set=named.name),), named)


def _look(field: Field, into: Interned) -> Way:
    return Way((Match(field, set=into.name),), into)
