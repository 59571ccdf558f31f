"""What is always there, whatever the policies: where packets begin, and how they find their groups.

    hook        priority   why there and nowhere else
    forward     0          after DNAT (prerouting, -100): a Service's packet names the pod behind
                           it; before SNAT (postrouting, 100): the source is still the pod. Only
                           traffic to and from pods' interfaces comes by.
    input       0          what pods say to their own node: cluster policies have a say in it

What the node sends to its own pods leaves by output, where no chain of ours hangs: kubelet's
probes pass every policy.

Established connections are accepted before anything is judged, so that replies need no rule
and a new policy cuts nobody off. Related ones are ICMP errors of such connections.

A verdict of a map is always `goto`: `return`, wherever a packet is, ends the direction that
`jump egress` or `jump ingress` began, and means that it is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podwire_core.family import Family
from podwire_core.nft.expressions import (
    CT_MARK,
    CT_STATE,
    DPORT,
    ICMPV6_TYPE,
    L4PROTO,
    OIF,
    Concat,
    Expression,
    Field,
    concat,
    daddr,
    saddr,
)
from podwire_core.nft.objects import DYNAMIC_SIZE, Chain, Hook, Object, Rule, Set, Table
from podwire_core.nft.statements import (
    ACCEPT,
    DROP,
    RETURN,
    AnyBit,
    Counter,
    Limit,
    Log,
    Match,
    Update,
    Vmap,
    goto,
    jump,
)
from podwire_core.objects import PolicyType, Protocol
from podwire_policy.groups import DIRECTIONS, Level
from podwire_policy.reasons import CUT_BIT, LOG_GROUP, Kind, Reason

FORWARD = Hook("filter", "forward", 0)
INPUT = Hook("filter", "input", 0)

SEEN_SECONDS = 3600  # that a new connection is remembered, for `podwire policy audit`

POD_CIDRS, KNOWN, SEEN = "pod-cidrs", "known", "seen"

#: Neighbour discovery, without which an IPv6 pod reaches not even its own node. Conntrack leaves
#: it alone, so that no state lets it through.
NEIGHBOURS = ("133-137",)


def way(direction: PolicyType) -> str:
    """`egress`."""
    return direction.lower()


def dispatch(level: Level, direction: PolicyType) -> str:
    """The map from pods' addresses to their group's chain."""
    return f"{way(direction)}-{'isolated' if level is Level.NAMESPACED else level}"


def self_set(direction: PolicyType) -> str:
    """The set of isolated pods' addresses with themselves."""
    return f"{way(direction)}-self"


#: Isolated pods once more: what they say to their own node is no longer asked about.
ISOLATED_PODS = "egress-isolated-pods"


def subject(direction: PolicyType, family: Family) -> Field:
    """The address of the pod whose policies judge: the one that sends, or receives."""
    return saddr(family) if direction is PolicyType.EGRESS else daddr(family)


def pair(family: Family) -> Concat:
    """Who sends and who receives."""
    return concat(saddr(family), daddr(family))


def connection(family: Family) -> Concat:
    """What is remembered of a connection."""
    return concat(saddr(family), daddr(family), L4PROTO, DPORT)


# --------------------------------------------------------------------------- dropping, aloud


def unknown(direction: PolicyType) -> Reason:
    """Nobody knows whose address it is."""
    return Reason(f"unknown-{way(direction)}", Kind.UNKNOWN, direction)


CUT = Reason("cut", Kind.CUT)
#: Its chain is not here: the agent has it in a table that stands without policies, too.
BORROWED = Reason("borrowed", Kind.BORROWED, PolicyType.EGRESS)


def last_words(chain: str, why: str) -> tuple[Rule, Rule]:
    """The end of a chain that drops. Two rules, so that what is not logged is counted too."""
    return (
        Rule((Limit(10, 20), Log(chain, LOG_GROUP)), "says why"),
        Rule((Counter(), DROP), why),
    )


def reasons(*, recheck: bool) -> Iterable[Reason]:
    """What chains that log stand for, wherever they are."""
    return (*_reasons_here(recheck=recheck), BORROWED)


def _reasons_here(*, recheck: bool) -> Iterable[Reason]:
    return (*map(unknown, DIRECTIONS), *((CUT,) if recheck else ()))


# -------------------------------------------------------------------------------- all of it


def skeleton(table: Table, *, recheck: bool) -> Iterator[Object]:
    """Table, sets and chains of one family. recheck: connections may be cut."""
    yield table
    yield from _sets(table)
    yield _forward(table, recheck=recheck)
    yield _input(table, recheck=recheck)
    for direction in DIRECTIONS:
        yield from _direction(table, direction)
    yield _own_node(table)
    for reason in _reasons_here(recheck=recheck):
        why = "policies no longer allow it" if reason.kind is Kind.CUT else "nobody knows this pod"
        yield Chain(table, reason.chain, last_words(reason.chain, why))


def _sets(table: Table) -> Iterator[Set]:
    family = table.family
    address = saddr(family)
    yield Set(table, POD_CIDRS, address, "addresses of this node's pods", interval=True)
    yield Set(table, KNOWN, address, "those of them that are somebody's")
    yield Set(
        table, SEEN, connection(family), "connections of the last hour",
        timeout=SEEN_SECONDS, size=DYNAMIC_SIZE,
    )  # fmt: skip
    yield Set(table, ISOLATED_PODS, address, "pods that NetworkPolicies isolate for egress")
    for direction in DIRECTIONS:
        key = subject(direction, family)
        yield Set(table, self_set(direction), pair(family), "isolated pods and themselves")
        for level in Level:
            why = f"pods that policies judge: {way(direction)}, {level}"
            yield Set(table, dispatch(level, direction), key, why, data="verdict")


def _begin(*, recheck: bool) -> Iterator[Rule]:
    if recheck:
        yield Rule((AnyBit(CT_MARK, CUT_BIT), goto(CUT.chain)), "is it cut?")
    yield Rule((Match(CT_STATE, ("established", "related")), ACCEPT), "judged when it began")


def _forward(table: Table, *, recheck: bool) -> Chain:
    """Where every forwarded packet of the family begins.

    Egress and then ingress are judged, where both pods run on this node.
    """
    seen = Update(connection(table.family), SEEN, SEEN_SECONDS)
    rules = (
        *_begin(recheck=recheck),
        *(
            Rule((Match(L4PROTO, (each.nft,)), seen), "remembered for an audit")
            for each in Protocol
        ),
        *(Rule((jump(way(each)),), f"may it {_verb(each)}?") for each in DIRECTIONS),
    )
    return Chain(table, "forward", rules, FORWARD)


def _verb(direction: PolicyType) -> str:
    return "leave" if direction is PolicyType.EGRESS else "arrive"


def _input(table: Table, *, recheck: bool) -> Chain:
    """What comes to the node itself, from pods and from anyone."""
    rules = (
        *_begin(recheck=recheck),
        *_discovery(table.family),
        Rule((jump(way(PolicyType.EGRESS)),), "may it leave?"),
    )
    return Chain(table, "input", rules, INPUT)


def _discovery(family: Family) -> Iterator[Rule]:
    if family is Family.IPV6:
        yield Rule((Match(ICMPV6_TYPE, NEIGHBOURS), ACCEPT), "how neighbours find each other")


def _direction(table: Table, direction: PolicyType) -> Iterator[Chain]:
    """The levels of one direction, in their order."""
    key, name = subject(direction, table.family), way(direction)
    nowhere = (Match(key, set=POD_CIDRS), Match(key, set=KNOWN, negated=True))
    yield Chain(
        table,
        name,
        (
            Rule((*nowhere, goto(unknown(direction).chain)), "whose address is it?"),
            _ask(Level.ADMIN, direction, key),
            Rule((goto(f"{name}-namespaced"),), "no administrator forbids it"),
        ),
    )
    yield Chain(table, f"{name}-namespaced", tuple(_namespaced(table.family, direction)))
    yield Chain(table, f"{name}-baseline", (_ask(Level.BASELINE, direction, key),))


def _ask(level: Level, direction: PolicyType, key: Expression) -> Rule:
    words = {
        Level.ADMIN: "do administrators judge the {}?",
        Level.NAMESPACED: "is the {} isolated?",
        Level.BASELINE: "has the {} a baseline?",
    }
    whose = "sender" if direction is PolicyType.EGRESS else "receiver"
    return Rule((Vmap(key, dispatch(level, direction)),), words[level].format(whose))


def _namespaced(family: Family, direction: PolicyType) -> Iterator[Rule]:
    if direction is PolicyType.EGRESS:
        yield Rule((Match(OIF, ("0",)), goto("egress-own-node")), "is it for the node itself?")
    itself = Match(pair(family), set=self_set(direction))
    yield Rule((itself, RETURN), "an isolated pod still reaches itself")
    yield _ask(Level.NAMESPACED, direction, subject(direction, family))
    yield Rule((goto(f"{way(direction)}-baseline"),), "nothing isolates it")


def _own_node(table: Table) -> Chain:
    """NetworkPolicies let a pod reach its own node, and where they isolate they are final."""
    isolated = Match(saddr(table.family), set=ISOLATED_PODS)
    rules = (
        Rule((isolated, RETURN), "an isolated pod still reaches its own node"),
        Rule((goto("egress-baseline"),), "nothing isolates it"),
    )
    return Chain(table, "egress-own-node", rules)
