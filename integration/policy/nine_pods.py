"""The site of tests/tables/policies/three_by_three.py, and its tables as probes.

A probe goes to a pod's address, or to that of its Service; through its Service a pod also dials
itself, which NetworkPolicies always allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from packet_site import Site
from packet_stage import Probe
from policies.three_by_three import (
    PEOPLE,
    PORTS,
    PROTOCOLS,
    address,
    addresses,
    everyone,
    node_of,
    questions,
    services,
    vip,
)
from policies.upstream import Blocked
from policies.world import PLACES, VISITORS
from policy_model import NODES, OUTSIDE

from podwire_core.family import FAMILIES
from podwire_core.objects import KubernetesObject

SITE = Site(
    NODES,
    {name: (node_of(name), addresses(name)) for name in PEOPLE}
    | {name: (PLACES.nodes[name], tuple(PLACES.addresses[name].values())) for name in VISITORS},
    OUTSIDE,
)


def objects() -> list[KubernetesObject]:
    """Everyone and their Services."""
    return [*everyone(), *services()]


def expected(blocked: Blocked) -> dict[Probe, str]:
    """Every probe of a table, and the pod in which it comes out ("" for none)."""
    return {probe: "" if blocked(*asked) else to for probe, to, asked in _TABLE} | _SELVES


def differing(found: Mapping[Probe, str], wanted: Mapping[Probe, str]) -> dict[Probe, str]:
    """What came out elsewhere than wanted, and where it did."""
    return {probe: found[probe] for probe in wanted if found[probe] != wanted[probe]}


def _table() -> Iterator[tuple[Probe, str, tuple[str, str, str, int]]]:
    for asked in questions():
        source, destination, protocol, port = asked
        for family in FAMILIES:
            for to in (address(destination, family), vip(destination, family)):
                yield Probe(address(source, family), to, protocol, port), destination, asked


_TABLE = tuple(_table())
_SELVES = {
    Probe(address(name, family), vip(name, family), protocol, port): name
    for name in PEOPLE
    for family in FAMILIES
    for protocol in PROTOCOLS
    for port in PORTS
}
