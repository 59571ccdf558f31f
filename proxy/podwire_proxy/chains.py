"""The chains that come and go with Services: few, however many Services share them.

    choose-N-P           one of N endpoints at random
    choose-local-M-P     one of M endpoints of this node
    local-M-of-N-P       by who asks: pods and the node choose of N, the world of M
    keep-ID              the endpoint that this client had, else as the chain it goes to
    keep-local-ID        the same among the endpoints of this node
    split-ID             by who asks, of a Service that remembers its clients
    remember-ID          after the choice: who went where, and until when
    guard-ID             loadBalancerSourceRanges

Of these, the first three have a number, by which `frontends` says which one a frontend goes to,
and `choices` leads there. A verdict in a map of ten thousand makes the kernel walk the whole map
for each commit that changes one; a number does not (docs/decisions/09).

P is the protocol; chains for NodePorts are called nodeport-… and pick by the port alone. ID names
one list of one Service's port (Affinity.of) or equal source ranges. A chain's name sorts behind
those it leads to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from podwire_core.family import Family
from podwire_core.nft.expressions import (
    L4PROTO,
    Concat,
    Numgen,
    concat,
    constant,
    daddr,
    dport,
    original_saddr,
    saddr,
)
from podwire_core.nft.intervals import network_text
from podwire_core.nft.objects import Chain, Element, Rule, Set
from podwire_core.nft.statements import DROP, RETURN, Dnat, Match, Update, goto
from podwire_core.objects import Protocol
from podwire_proxy.frontend import Affinity, Guard, Policy
from podwire_proxy.layout import (
    CHOICES,
    SELF_VIPS,
    Layout,
    affinity,
    client,
    members,
    slot_key,
    slots,
)

#: TCP Services with so many endpoints, or fewer, find their chain made.
STANDING = 16


class Sizes(NamedTuple):
    """How many endpoints a frontend's two lists have."""

    first: int
    second: int = 0


def number(protocol: Protocol, *, nodeport: bool, policy: Policy, sizes: Sizes) -> str:
    """The number of a choose or local chain, as nft writes a class: `0:3` is choose-3-tcp.

    Sixteen bits of what kind it is, and sixteen of how many endpoints: a NodePort's is 8000:3,
    UDP's 2000:3, that of local-2-of-7-tcp 3:7.
    """
    kind = nodeport << 15 | tuple(Protocol).index(protocol) << 13
    kind |= sizes.second + 1 if policy is Policy.SPLIT else 0
    return f"{kind:x}:{sizes.first:x}"


def standing(layout: Layout) -> Iterator[Chain | Element]:
    """Chains that are there from the start, and stay, with their numbers.

    To make one that looks into a full map, the kernel walks through the map: 15 ms at a hundred
    thousand endpoints. Made while the maps are empty it costs nothing, and most counts are small.
    """
    chains = Chains(layout, Protocol.TCP, nodeport=False)
    for count in range(1, STANDING + 1):
        sizes = Sizes(count)
        (chain,) = chains.way(Policy.CLUSTER, sizes, None)
        yield chain
        yield chains.numbered(Policy.CLUSTER, sizes, chain)


class Chains(NamedTuple):
    """The chains of frontends of one protocol, at the node's addresses or not."""

    layout: Layout
    protocol: Protocol
    nodeport: bool

    def way(self, policy: Policy, sizes: Sizes, sticky: Affinity | None) -> list[Chain]:
        """Chains from the last to the one that a frontend's verdict names; empty: none serves."""
        if not sizes.first and policy is not Policy.SPLIT:
            return []
        if policy is not Policy.SPLIT:
            chosen = self._choose(sizes.first)
            return [chosen, self._keep(chosen, sticky, policy)] if sticky else [chosen]
        if not sizes.first:
            return []
        near = [self._choose_local(sizes.second)] if sizes.second else []
        way = [self._choose(sizes.first), *near]
        if sticky is None:
            name = f"local-{sizes.second}-of-{sizes.first}-{self.protocol.nft}"
            return [*way, self._by_source(name, [each.name for each in way])]
        kept = [self._keep(way[0], sticky, Policy.CLUSTER)]
        kept += [self._keep(each, sticky, Policy.LOCAL, "keep-local") for each in near]
        name = f"split-{_text(sticky.of(Policy.CLUSTER))}"
        return [*way, *kept, self._by_source(name, [each.name for each in kept])]

    def numbered(self, policy: Policy, sizes: Sizes, chain: Chain) -> Element:
        """Which number leads to a chain."""
        key = number(self.protocol, nodeport=self.nodeport, policy=policy, sizes=sizes)
        found = self.layout.made.get(key)
        if not isinstance(found, Element):
            found = Element(self.layout.table, CHOICES, (key,), goto(chain.name))
            self.layout.made[key] = found
        return found

    def _name(self, name: str) -> str:
        return f"nodeport-{name}" if self.nodeport else name

    def _choose(self, count: int) -> Chain:
        why = "the one endpoint" if count == 1 else f"one of {count} endpoints at random"
        return self._pick(f"choose-{count}-{self.protocol.nft}", count, why, second=False)

    def _choose_local(self, count: int) -> Chain:
        why = f"one of {count} endpoints here" if count > 1 else "the one endpoint here"
        return self._pick(f"choose-local-{count}-{self.protocol.nft}", count, why, second=True)

    def _pick(self, name: str, count: int, why: str, *, second: bool) -> Chain:
        whole = self._name(name)
        found = self.layout.made.get(whole)
        if isinstance(found, Chain):
            return found
        family = self.layout.family
        key = slot_key(family, self.protocol, nodeport=self.nodeport)
        source = slots(self.protocol, nodeport=self.nodeport, second=second)
        rule = Rule((Dnat(family, concat(*key, Numgen(count)), source),), why)
        made = self.layout.made[whole] = Chain(self.layout.table, whole, (rule,))
        return made

    def _by_source(self, name: str, lists: list[str]) -> Chain:
        """lists: the chain of all endpoints, and that of this node's where there are any."""
        rules = list(by_source(self.layout, lists[0]))
        if len(lists) > 1:
            rules.append(Rule((goto(lists[1]),), "the world: the endpoints here"))
        return Chain(self.layout.table, self._name(name), tuple(rules))

    def _keep(self, chosen: Chain, sticky: Affinity, policy: Policy, name: str = "keep") -> Chain:
        family, number = self.layout.family, sticky.of(policy)
        addresses, ports = affinity(self.protocol)
        known = Match(L4PROTO, values=(self.protocol.nft,))  # nft asks for it before ports
        before = Dnat(family, client(saddr(family), number), addresses, ports)
        rules = (
            Rule((known, before), "where it went before"),
            Rule((goto(chosen.name),), "new here"),
        )
        return Chain(self.layout.table, self._name(f"{name}-{_text(number)}"), rules)


def by_source(layout: Layout, everyone: str) -> Iterator[Rule]:
    """The short circuits of externalTrafficPolicy Local: who is in the cluster reaches all."""
    if layout.from_pod:
        yield Rule((layout.from_pod, goto(everyone)), "a pod: all endpoints")
    yield Rule((layout.from_node, goto(everyone)), "the node itself: all endpoints")


def remember(
    layout: Layout, protocol: Protocol, policy: Policy, sizes: Sizes, sticky: Affinity
) -> list[Chain]:
    """Chains that remember a client's endpoint, the last being the one to begin with."""
    if policy is not Policy.SPLIT:
        return [_remember(layout, protocol, policy, sticky)] if sizes.first else []
    if not sizes.first:
        return []
    lists = [_remember(layout, protocol, Policy.CLUSTER, sticky)]
    if sizes.second:
        lists.append(_remember(layout, protocol, Policy.LOCAL, sticky))
    rules = list(by_source(layout, lists[0].name))
    rules += [Rule((goto(each.name),), "the world: the endpoints here") for each in lists[1:]]
    name = f"remember-split-{_text(sticky.of(Policy.CLUSTER))}"
    return [*lists, Chain(layout.table, name, tuple(rules))]


def _remember(layout: Layout, protocol: Protocol, policy: Policy, sticky: Affinity) -> Chain:
    """Only what is an endpoint still: a client that repeats its SYN to one that went is new."""
    family, number = layout.family, sticky.of(policy)
    chosen = (daddr(family), dport(protocol.nft))
    is_one = Match(concat(*map(constant, number), *chosen), set=members(protocol))
    who = client(original_saddr(family), number)
    updates = [
        Update(who, name, sticky.timeout, each)
        for name, each in zip(affinity(protocol), chosen, strict=True)
    ]
    why = f"{sticky.name}, for {sticky.timeout} s"
    return Chain(layout.table, f"remember-{_text(number)}", (Rule((is_one, *updates), why),))


def member_parts(number: tuple[int, int], address: str, port: int) -> tuple[str, ...]:
    """The key of an endpoint in members-P."""
    return (*map(str, number), address, str(port))


def guard(layout: Layout, ranges: Guard) -> tuple[list[Set | Element], Chain]:
    """A set of sources, and the chain that drops all others: both shared by equal ranges."""
    family, home = layout.family, layout.table
    name = f"sources-{ranges.name}"
    sources: list[Set | Element] = [Set(home, name, saddr(family), "who may come", interval=True)]
    sources += [Element(home, name, (network_text(cidr),)) for cidr in ranges.ranges]
    rules = [Rule((Match(saddr(family), set=name), RETURN), "may come")]
    if ranges.node:
        itself = Match(_pair(family), set=SELF_VIPS)
        rules.append(Rule((itself, RETURN), "the node, which has the address itself"))
    rules.append(Rule((DROP,), "no loadBalancerSourceRange holds it"))
    return sources, Chain(home, f"guard-{ranges.name}", tuple(rules))


def _pair(family: Family) -> Concat:
    return concat(saddr(family), daddr(family))


def _text(number: tuple[int, int]) -> str:
    return f"{number[0]:08x}{number[1]:08x}"
