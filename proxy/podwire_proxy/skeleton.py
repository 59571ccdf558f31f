"""The part of the proxy's tables that all Services share: chains, maps and sets, one per family.

    hook          type    priority   why there
    prerouting    filter  -300       where 127.0.0.0/8 is routed: no one else may send there
    prerouting    filter  -110       source ranges, of what the client dialled: before DNAT
    output        filter  -110       the same for the node's own processes
    prerouting    nat     -100       pods and the world outside: before routing, so that the
                                     packet is routed to the endpoint and not to the VIP
    output        nat     -100       the node's own processes (nft 1.0.6 refuses the name
                                     `dstnat` in this hook)
    input         filter  0          refusals of NodePorts
    forward       filter  0          refusals of VIPs; a reject in prerouting needs Linux 5.9
    output        filter  0          refusals for the node's own processes
    postrouting   filter  90         remembers who went where: after the choice, and while the
                                     packet has its client's address
    postrouting   nat     100        masquerade, decided from the connection's original
                                     destination, so no packet mark is used

Source ranges and the memory of clients are there while some Service asks for them: a chain of
filters costs every packet of every connection.

Priority 0 in forward is where the policy table sits too: both see addresses of pods, after
DNAT and before SNAT.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire_core.family import Family
from podwire_core.nft.expressions import (
    CT_STATE,
    CT_STATUS,
    DADDR_TYPE,
    DPORT,
    IIFNAME,
    L4PROTO,
    MARK,
    ORIGINAL_DPORT,
    PRIORITY,
    Concat,
    Numgen,
    concat,
    constant,
    daddr,
    dport,
    original_daddr,
    saddr,
)
from podwire_core.nft.objects import Chain, Hook, Object, Rule, Set
from podwire_core.nft.statements import (
    DROP,
    RETURN,
    AnyBit,
    Load,
    Masquerade,
    Match,
    Reject,
    Vmap,
    goto,
    jump,
)
from podwire_core.objects import Protocol
from podwire_proxy import layout as names
from podwire_proxy.cidrs import LOOPBACK
from podwire_proxy.gauges import Uses
from podwire_proxy.layout import Layout
from podwire_proxy.plans import AFFINITY_SECONDS

#: Clients that are remembered at once, for each protocol; at some 300 bytes each.
AFFINITY_SIZE = 262_144

_NEW = Match(CT_STATE, values=("new",))
_TRANSLATED = Match(CT_STATUS, values=("dnat",))
_NODEPORT = concat(L4PROTO, DPORT)


def skeleton(layout: Layout, uses: Uses) -> Iterator[Object]:
    """Every object of a family's table but what comes and goes; what is named comes first."""
    yield layout.table
    yield from _maps(layout)
    yield from _affinity(layout)
    yield from _sets(layout)
    if uses.guards:
        yield from _guard_chains(layout)
    options = layout.options
    open_ = options.localhost_nodeports or options.localhost_routed
    if open_ and layout.family is Family.IPV4:
        yield _localhost_chain(layout)
    yield from _service_chains(layout, uses)
    yield from _refusal_chains(layout)
    if uses.affinity:
        yield from _remember_chains(layout)
    yield from _masquerade_chains(layout)


def _vip(layout: Layout) -> Concat:
    return concat(daddr(layout.family), L4PROTO, DPORT)


def _maps(layout: Layout) -> Iterator[Set]:
    home, vip = layout.table, _vip(layout)
    yield Set(home, names.FRONTENDS, vip, "what a client dials", PRIORITY)
    yield Set(home, names.NODEPORTS, _NODEPORT, "dialled at a node's address", PRIORITY)
    yield Set(home, names.CHOICES, PRIORITY, "which chain has which number", "verdict")
    for name, key, why in (
        (names.STICKY, vip, "frontends whose clients return"),
        (names.STICKY_NODEPORTS, _NODEPORT, "NodePorts whose clients return"),
        (names.UNAVAILABLE, vip, "frontends that no endpoint serves"),
        (names.UNAVAILABLE_NODEPORTS, _NODEPORT, "NodePorts that none serves"),
        (names.EXTERNAL, vip, "dialled from outside: who is masqueraded"),
        (names.EXTERNAL_NODEPORTS, _NODEPORT, "the same of NodePorts"),
        (names.REMEMBERED, vip, "frontends that write down who went where"),
        (names.REMEMBERED_NODEPORTS, _NODEPORT, "the same of NodePorts"),
        (names.GUARDED, vip, "frontends that some sources alone may dial"),
    ):
        yield Set(home, name, key, why, "verdict")
    for protocol in Protocol:
        backend = concat(daddr(layout.family), dport(protocol.nft))
        for nodeport, whose in ((False, "frontend"), (True, "NodePort")):
            picked = names.slot_key(layout.family, protocol, nodeport=nodeport)
            for second, what in ((False, "slots"), (True, "slots here")):
                name = names.slots(protocol, nodeport=nodeport, second=second)
                slot = concat(*picked, Numgen(2))
                yield Set(home, name, slot, f"{protocol} {what} of each {whose}", backend)


def _affinity(layout: Layout) -> Iterator[Set]:
    """What packets fill, and what they may."""
    home = layout.table
    for protocol in Protocol:
        chosen = (daddr(layout.family), dport(protocol.nft))
        who = names.client(saddr(layout.family), (0, 0))
        for name, value in zip(names.affinity(protocol), chosen, strict=True):
            yield Set(
                home,
                name,
                who,
                f"{protocol} clients and where they went",
                value,
                timeout=AFFINITY_SECONDS,
                size=AFFINITY_SIZE,
            )
        member = concat(constant(0), constant(0), *chosen)
        yield Set(home, names.members(protocol), member, "who may be returned to")


def _sets(layout: Layout) -> Iterator[Set]:
    home, family = layout.table, layout.family
    pair = concat(saddr(family), daddr(family))
    yield Set(home, names.CLUSTER_IPS, daddr(family), "addresses of Services")
    cidrs = "what Services get addresses from"
    yield Set(home, names.SERVICE_CIDRS, daddr(family), cidrs, interval=True)
    where = "where NodePorts answer"
    yield Set(home, names.NODEPORT_ADDRESSES, daddr(family), where, interval=True)
    yield Set(home, names.POD_CIDRS, saddr(family), "where pods live", interval=True)
    yield Set(home, names.HAIRPIN, pair, "an endpoint that reaches itself")
    yield Set(home, names.SELF_VIPS, pair, "a guarded address that is the node's own")


def _guard_chains(layout: Layout) -> Iterator[Chain]:
    home = layout.table
    guard = (Rule((_NEW, Vmap(_vip(layout), names.GUARDED)), "may its source dial it?"),)
    yield Chain(home, "guard-prerouting", guard, Hook("filter", "prerouting", -110))
    yield Chain(home, "guard-output", guard, Hook("filter", "output", -110))


def _localhost_chain(layout: Layout) -> Chain:
    """route_localnet would let neighbours reach what listens at 127.0.0.1 alone."""
    outside = Match(IIFNAME, values=("lo",), negated=True)
    to_localhost = Match(daddr(layout.family), values=(str(LOOPBACK[layout.family]),))
    rule = Rule((outside, to_localhost, DROP), "localhost is for the node itself")
    return Chain(layout.table, "guard-localhost", (rule,), Hook("filter", "prerouting", -300))


def _service_chains(layout: Layout, uses: Uses) -> Iterator[Chain]:
    choose = Vmap(PRIORITY, names.CHOICES)
    vip, nodeport = _vip(layout), _NODEPORT
    rules = [
        Rule((Load(PRIORITY, vip, names.FRONTENDS), choose), "a Service's address and port"),
        Rule((*layout.to_node, Load(PRIORITY, nodeport, names.NODEPORTS), choose), "a NodePort"),
    ]
    if uses.affinity:
        sticky = Vmap(nodeport, names.STICKY_NODEPORTS)
        rules.insert(1, Rule((Vmap(vip, names.STICKY),), "one whose clients return"))
        rules.append(Rule((*layout.to_node, sticky), "a NodePort whose clients return"))
    yield Chain(layout.table, "services", tuple(rules))
    to_services = Rule((jump("services"),), "is it for a Service?")
    prerouting = [to_services]
    if mark := layout.options.translated_mark:
        # Its endpoint may be the node itself, at a port that is a NodePort's number, too.
        prerouting.insert(0, Rule((AnyBit(MARK, mark), RETURN), "eBPF has sent it to its endpoint"))
    yield Chain(layout.table, "prerouting", tuple(prerouting), Hook("nat", "prerouting", -100))
    yield Chain(layout.table, "output", (to_services,), Hook("nat", "output", -100))


def _refusal_chains(layout: Layout) -> Iterator[Chain]:
    home, family = layout.table, layout.family
    at_service = Match(daddr(family), set=names.CLUSTER_IPS)
    at_no_one = Match(daddr(family), set=names.SERVICE_CIDRS)
    tcp = Match(L4PROTO, values=("tcp",))
    yield Chain(
        home,
        names.REFUSE,
        (
            # ICMP is rate-limited: of a hundred clients at once, most would hear nothing.
            Rule((tcp, Reject(tcp_reset=True)), "refused, not silent"),
            Rule((Reject(),), "refused by ICMP, the only way for UDP and SCTP"),
        ),
    )
    served = Rule((_TRANSLATED, RETURN), "has its endpoint")
    none = Rule((Vmap(_vip(layout), names.UNAVAILABLE),), "no endpoint, or none here")
    unknown = (
        Rule((at_service, goto(names.REFUSE)), "a port that the Service does not have"),
        Rule((at_no_one, DROP), "an address that no Service has"),
    )
    # Whatever the node has as its own is no Service's, however wide a ServiceCIDR may be.
    own = Rule((Match(DADDR_TYPE, values=("local",)), RETURN), "the node's own address")
    at_node = Rule(
        (*layout.to_node, Vmap(_NODEPORT, names.UNAVAILABLE_NODEPORTS)), "a NodePort with none"
    )
    for name, hook, rules in (
        ("forward", "forward", (served, none, *unknown)),
        ("filter-output", "output", (served, none, own, *unknown)),
        ("input", "input", (served, none, at_node)),
    ):
        chain = f"unanswered-{hook}"
        yield Chain(home, chain, rules)
        to_unanswered = Rule((_NEW, jump(chain)), "for a Service, but no one answers?")
        yield Chain(home, name, (to_unanswered,), Hook("filter", hook, 0))


def _remember_chains(layout: Layout) -> Iterator[Chain]:
    """`ct original proto-dst` is only understood after a protocol is known, so a rule for each."""
    rules = []
    for protocol in Protocol:
        known = Match(L4PROTO, values=(protocol.nft,))
        vip = Vmap(_dialled(layout), names.REMEMBERED)
        rules.append(Rule((known, vip), f"a {protocol} client that returns"))
    for protocol in Protocol:
        known = Match(L4PROTO, values=(protocol.nft,))
        port = Vmap(concat(L4PROTO, ORIGINAL_DPORT), names.REMEMBERED_NODEPORTS)
        why = f"a {protocol} client of a NodePort"
        rules.append(Rule((known, layout.was_to_node, port), why))
    yield Chain(layout.table, "remember", tuple(rules))
    chosen = (Rule((_NEW, _TRANSLATED, jump("remember")), "does its client return to it?"),)
    yield Chain(layout.table, "chosen", chosen, Hook("filter", "postrouting", 90))


def _dialled(layout: Layout) -> Concat:
    return concat(original_daddr(layout.family), L4PROTO, ORIGINAL_DPORT)


def _masquerade_chains(layout: Layout) -> Iterator[Chain]:
    """A connection is masqueraded when its answers would otherwise miss this node."""
    home, family = layout.table, layout.family
    hairpin = Match(concat(saddr(family), daddr(family)), set=names.HAIRPIN)
    to_service = Match(original_daddr(family), set=names.CLUSTER_IPS)
    everyone = Rule((Masquerade(),), "everyone")
    yield Chain(home, names.TAKE_NODE_ADDRESS, (everyone,))
    node = Rule(
        (layout.from_node, Masquerade()), "the node itself, from an address of another link"
    )
    yield Chain(home, names.TAKE_IT_FROM_NODE, (node,))
    rules = [Rule((hairpin, Masquerade()), "to itself: or it would answer itself directly")]
    yield Chain(home, "masquerade-cluster", tuple(_cluster_rules(layout)))
    rules.append(Rule((to_service, goto("masquerade-cluster")), "to a Service's own address"))
    for protocol in Protocol:
        known = Match(L4PROTO, values=(protocol.nft,))
        external = Vmap(_dialled(layout), names.EXTERNAL)
        rules.append(Rule((known, external), f"dialled from outside, {protocol}"))
    for protocol in Protocol:
        known = Match(L4PROTO, values=(protocol.nft,))
        external = Vmap(concat(L4PROTO, ORIGINAL_DPORT), names.EXTERNAL_NODEPORTS)
        rules.append(Rule((layout.was_to_node, known, external), f"to a {protocol} NodePort"))
    yield Chain(home, "masquerade-service", tuple(rules))
    postrouting = [Rule((_TRANSLATED, jump("masquerade-service")), "was it for a Service?")]
    if mark := layout.options.masquerade_mark:
        # Not the outer packet of an overlay: it has the mark of the inner one, and our address.
        own = layout.from_node
        foreign = Match(own.expression, own.values, negated=True)
        why = "from outside, sent to its endpoint by eBPF"
        postrouting.insert(0, Rule((AnyBit(MARK, mark), foreign, Masquerade()), why))
    yield Chain(home, "postrouting", tuple(postrouting), Hook("nat", "postrouting", 100))


def _cluster_rules(layout: Layout) -> Iterator[Rule]:
    """Who dials a Service's own address and is masqueraded: by default who is no pod."""
    if layout.options.masquerade_all:
        yield Rule((Masquerade(),), "whoever asks")
    elif pod := layout.from_pod:
        outsider = Match(pod.expression, pod.values, pod.set, negated=True)
        yield Rule((outsider, Masquerade()), "from outside")
