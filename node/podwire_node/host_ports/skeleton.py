"""The rules of hostPorts, one table a family; what comes and goes is elements alone.

    hook          type    priority  why there
    prerouting    filter  -300      IPv4: localhost is for the node itself, before conntrack
    prerouting    nat     -99       pods and the world outside
    output        nat     -99       the node's own processes
    postrouting   nat     100       those whose answers would miss this node

-99 is behind Services (-100): where a NodePort, or a Service's address on the node, has an
endpoint, the Service has the port. In front, whoever may make a pod could take a Service's traffic
on its node (CVE-2019-9946 of another plugin).

host-ports-at-P   hostIP . port  → pod's address . port    one of the node's addresses
host-ports-P      port           → pod's address . port    whichever address of the node
hairpin           pod . pod                                a pod that dials itself by the node
localhost         pod                                      127.0.0.0/8 of the node leads to it

P is the protocol: nft 1.0.6 refuses maps of ports of no protocol (docs/decisions/01).

Only what the node has as its own is ever translated, so a hostIP of someone else takes nothing.
Policies judge afterwards, by the pod's address.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire_core.family import FAMILIES, Family
from podwire_core.nft.expressions import (
    CT_STATUS,
    DADDR_TYPE,
    IIFNAME,
    concat,
    daddr,
    dport,
    saddr,
)
from podwire_core.nft.objects import Chain, Hook, Object, Rule, Set, Table
from podwire_core.nft.statements import DROP, RETURN, Dnat, Masquerade, Match, jump
from podwire_core.objects import Protocol
from podwire_node.host_ports.forward import NOT_SERVED

TABLE_NAME = "podwire-host-ports"
HAIRPIN = "hairpin"
LOCALHOST = "localhost"
LOOPBACK = "127.0.0.0/8"

_TABLES = {family: Table(family, TABLE_NAME) for family in FAMILIES}
TABLES = tuple(_TABLES.values())

_TRANSLATED = Match(CT_STATUS, values=("dnat",))


def table(family: Family) -> Table:
    """The table of a family."""
    return _TABLES[family]


def at_address(protocol: str) -> str:
    """The map of hostPorts that have a hostIP. protocol: nft's spelling."""
    return f"host-ports-at-{protocol}"


def anywhere(protocol: str) -> str:
    """The map of those that have none."""
    return f"host-ports-{protocol}"


def skeleton(family: Family) -> Iterator[Object]:
    """Every object of a family's table but elements; what is named comes first."""
    yield table(family)
    yield from _sets(family)
    if family is Family.IPV4:
        yield _guard()
    yield from _serving(family)
    yield _masquerade(family)


def _sets(family: Family) -> Iterator[Set]:
    home = table(family)
    for protocol in Protocol:
        port = dport(protocol.nft)
        pod = concat(daddr(family), port)
        where = f"{protocol} hostPorts at one of the node's addresses"
        yield Set(home, at_address(protocol.nft), pod, where, pod)
        yield Set(home, anywhere(protocol.nft), port, f"{protocol} hostPorts", pod)
    pair = concat(saddr(family), daddr(family))
    yield Set(home, HAIRPIN, pair, "a pod that reaches itself")
    if family is Family.IPV4:
        yield Set(home, LOCALHOST, daddr(family), "pods that the node reaches at 127.0.0.1")


def _guard() -> Chain:
    """route_localnet on a pod's link would let the pod reach what listens at 127.0.0.1 alone.

    Where it comes from such an address, it would pass for the node itself (CVE-2020-8558).
    """
    outside = Match(IIFNAME, values=("lo",), negated=True)
    family = Family.IPV4
    rules = (
        Rule(
            (Match(daddr(family), values=(LOOPBACK,)), outside, DROP),
            "localhost is for the node itself",
        ),
        Rule(
            (Match(saddr(family), values=(LOOPBACK,)), outside, DROP),
            "no one else is localhost",
        ),
    )
    return Chain(table(family), "guard-localhost", rules, Hook("filter", "prerouting", -300))


def _serving(family: Family) -> Iterator[Chain]:
    home = table(family)
    rules = [
        Rule((Match(daddr(family), values=(cidr,)), RETURN), "what comes from there is not routed")
        for cidr in NOT_SERVED[family]
    ]
    for protocol in Protocol:
        port = dport(protocol.nft)
        there = Dnat(family, concat(daddr(family), port), at_address(protocol.nft))
        rules.append(Rule((there,), f"a {protocol} hostPort with this hostIP"))
        rules.append(Rule((Dnat(family, port, anywhere(protocol.nft)),), f"a {protocol} hostPort"))
    yield Chain(home, "host-ports", tuple(rules))
    ours = Match(DADDR_TYPE, values=("local",))
    to_node = (Rule((ours, jump("host-ports")), "to the node: is it a hostPort?"),)
    yield Chain(home, "prerouting", to_node, Hook("nat", "prerouting", -99))
    yield Chain(home, "output", to_node, Hook("nat", "output", -99))


def _masquerade(family: Family) -> Chain:
    """Everyone else is answered through this node, and the pod sees who asks."""
    hairpin = Match(concat(saddr(family), daddr(family)), set=HAIRPIN)
    rules = [
        Rule((_TRANSLATED, hairpin, Masquerade()), "to itself: or it would answer itself directly"),
    ]
    if family is Family.IPV4:
        here = Match(saddr(family), values=(LOOPBACK,))
        pods = Match(daddr(family), set=LOCALHOST)
        why = "from localhost, which is someone else to a pod"
        rules.append(Rule((_TRANSLATED, here, pods, Masquerade()), why))
    return Chain(table(family), "postrouting", tuple(rules), Hook("nat", "postrouting", 100))
