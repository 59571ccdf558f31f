"""The part of the proxy's tables that never changes: chains, maps and sets, one per family.

    hook          type    priority   why there
    prerouting    nat     -100       pods and the world outside: before routing, so that the
                                     packet is routed to the endpoint and not to the VIP
    output        nat     -100       the node's own processes (nft 1.0.6 refuses the name
                                     `dstnat` in this hook)
    input         filter  0          refusals of NodePorts
    forward       filter  0          refusals of VIPs; a reject in prerouting needs Linux 5.9
    output        filter  0          refusals for the node's own processes
    postrouting   nat     100        masquerade, decided from the connection's original
                                     destination, so no packet mark is used

Priority 0 in forward is where the policy table sits too: both see addresses of pods, after
DNAT and before SNAT.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire_core.family import Family
from podwire_core.nft.expressions import (
    CT_STATE,
    CT_STATUS,
    DPORT,
    L4PROTO,
    ORIGINAL_DPORT,
    Field,
    Numgen,
    concat,
    daddr,
    dport,
    original_daddr,
    saddr,
)
from podwire_core.nft.objects import Chain, Hook, Object, Rule, Set, Table
from podwire_core.nft.statements import Dnat, Masquerade, Match, Reject, Vmap, goto, jump
from podwire_core.objects import Protocol

TABLE_NAME = "podwire-proxy"

FRONTENDS = "frontends"
NODEPORTS = "nodeports"
UNAVAILABLE = "unavailable"
UNAVAILABLE_NODEPORTS = "unavailable-nodeports"
CLUSTER_IPS = "cluster-ips"
NODE_IPS = "node-ips"
POD_CIDRS = "pod-cidrs"
HAIRPIN = "hairpin"
EXTERNAL_NODEPORTS = "external-nodeports"
REFUSE = "refuse"

_NEW = Match(CT_STATE, values=("new",))


def table(family: Family) -> Table:
    """The proxy's table of a family."""
    return Table(family, TABLE_NAME)


def endpoints(protocol: Protocol, *, nodeport: bool) -> str:
    """The map of the slots of every frontend of one protocol.

    A map for each protocol, because nft 1.0.6 refuses a rule whose map holds ports of no
    protocol (`th dport`) once the map is in the kernel: docs/decisions/01-endpoint-maps.md.
    """
    return f"{'nodeport-' if nodeport else ''}endpoints-{protocol.nft}"


def choose(family: Family, protocol: Protocol, backends: int, *, nodeport: bool) -> Chain:
    """One chain for every frontend that has this many backends, however many frontends."""
    name = f"{'nodeport-' if nodeport else ''}choose-{backends}-{protocol.nft}"
    pick = concat(*_slot_key(family, protocol, nodeport=nodeport), Numgen(backends))
    why = "the one endpoint" if backends == 1 else f"one of {backends} endpoints at random"
    source = endpoints(protocol, nodeport=nodeport)
    return Chain(table(family), name, (Rule((Dnat(family, pick, source),), why),))


def _slot_key(family: Family, protocol: Protocol, *, nodeport: bool) -> tuple[Field, ...]:
    port = dport(protocol.nft)
    return (port,) if nodeport else (daddr(family), port)


def skeleton(family: Family) -> Iterator[Object]:
    """Every object of a family's table but elements and choose chains."""
    yield table(family)
    yield from _maps(family)
    yield from _sets(family)
    yield from _service_chains(family)
    yield from _refusal_chains(family)
    yield from _masquerade_chains(family)


def _maps(family: Family) -> Iterator[Set]:
    home = table(family)
    vip = (daddr(family), L4PROTO, DPORT)
    nodeport = (L4PROTO, DPORT)
    yield Set(home, FRONTENDS, concat(*vip), "what a client dials", "verdict")
    yield Set(home, NODEPORTS, concat(*nodeport), "dialled at a node's address", "verdict")
    yield Set(home, UNAVAILABLE, concat(*vip), "frontends with no endpoint", "verdict")
    yield Set(home, UNAVAILABLE_NODEPORTS, concat(*nodeport), "NodePorts with none", "verdict")
    for protocol in Protocol:
        backend = concat(daddr(family), dport(protocol.nft))
        for at_node, whose in ((False, "frontend"), (True, "NodePort")):
            slot = concat(*_slot_key(family, protocol, nodeport=at_node), Numgen(2))
            name = endpoints(protocol, nodeport=at_node)
            yield Set(home, name, slot, f"{protocol} slots of each {whose}", backend)


def _sets(family: Family) -> Iterator[Set]:
    home = table(family)
    yield Set(home, CLUSTER_IPS, daddr(family), "addresses of Services")
    yield Set(home, NODE_IPS, daddr(family), "this node's addresses, where NodePorts answer")
    yield Set(home, POD_CIDRS, saddr(family), "where pods live", interval=True)
    pair = concat(saddr(family), daddr(family))
    yield Set(home, HAIRPIN, pair, "an endpoint that reaches itself")
    nodeport = concat(L4PROTO, DPORT)
    yield Set(home, EXTERNAL_NODEPORTS, nodeport, "NodePorts whose clients are masqueraded")


def _service_chains(family: Family) -> Iterator[Chain]:
    home = table(family)
    vip = concat(daddr(family), L4PROTO, DPORT)
    at_node = Match(daddr(family), set=NODE_IPS)
    yield Chain(
        home,
        "services",
        (
            Rule((Vmap(vip, FRONTENDS),), "a Service's address and port"),
            Rule((at_node, Vmap(concat(L4PROTO, DPORT), NODEPORTS)), "a NodePort"),
        ),
    )
    to_services = (Rule((jump("services"),), "is it for a Service?"),)
    yield Chain(home, "prerouting", to_services, Hook("nat", "prerouting", -100))
    yield Chain(home, "output", to_services, Hook("nat", "output", -100))


def _refusal_chains(family: Family) -> Iterator[Chain]:
    home = table(family)
    vip = concat(daddr(family), L4PROTO, DPORT)
    nodeport = concat(L4PROTO, DPORT)
    at_node = Match(daddr(family), set=NODE_IPS)
    at_service = Match(daddr(family), set=CLUSTER_IPS)
    tcp = Match(L4PROTO, values=("tcp",))
    yield Chain(
        home,
        REFUSE,
        (
            # ICMP is rate-limited: of a hundred clients at once, most would hear nothing.
            Rule((tcp, Reject(tcp_reset=True)), "refused, not silent"),
            Rule((Reject(),), "refused by ICMP, the only way for UDP and SCTP"),
        ),
    )
    yield Chain(
        home,
        "unanswered",
        (
            Rule((_NEW, Vmap(vip, UNAVAILABLE)), "a Service with no endpoint"),
            Rule((_NEW, at_node, Vmap(nodeport, UNAVAILABLE_NODEPORTS)), "a NodePort with none"),
            Rule((_NEW, at_service, goto(REFUSE)), "a port that the Service does not have"),
        ),
    )
    to_unanswered = (Rule((jump("unanswered"),), "for a Service, but no one answers?"),)
    for name, hook in (("input", "input"), ("forward", "forward"), ("filter-output", "output")):
        yield Chain(home, name, to_unanswered, Hook("filter", hook, 0))


def _masquerade_chains(family: Family) -> Iterator[Chain]:
    """A connection is masqueraded when its answers would otherwise miss this node."""
    home = table(family)
    hairpin = Match(concat(saddr(family), daddr(family)), set=HAIRPIN)
    to_service = Match(original_daddr(family), set=CLUSTER_IPS)
    to_node = Match(original_daddr(family), set=NODE_IPS)
    outsider = Match(saddr(family), set=POD_CIDRS, negated=True)
    rules = [
        Rule((hairpin, Masquerade()), "to itself: or it would answer itself directly"),
        Rule((to_service, outsider, Masquerade()), "to a Service, from outside the pods"),
    ]
    for protocol in Protocol:
        # ct original proto-dst is only understood after a protocol is known.
        known = Match(L4PROTO, values=(protocol.nft,))
        external = Match(concat(L4PROTO, ORIGINAL_DPORT), set=EXTERNAL_NODEPORTS)
        rules.append(Rule((to_node, known, external, Masquerade()), f"to a {protocol} NodePort"))
    yield Chain(home, "masquerade-service", tuple(rules))
    translated = Match(CT_STATUS, values=("dnat",))
    postrouting = (Rule((translated, jump("masquerade-service")), "was it for a Service?"),)
    yield Chain(home, "postrouting", postrouting, Hook("nat", "postrouting", 100))
