"""Isolation groups and policies → every chain and set: what changes only when policies do.

A group's chain is its policies' allow rules, each ending in `return`, and a last rule that
drops and says which policies isolate the pod. Both families have every chain, so that a pod
may get an address of either at any time at the cost of its elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from podwire_core.errors import ObjectError
from podwire_core.nft.objects import Chain, Key, Object, Rule, Table
from podwire_core.nft.statements import DROP, Counter
from podwire_core.objects import NetworkPolicy, ObjectName
from podwire_policy.isolation import Group
from podwire_policy.rules import Compiled, Interned, compile_policy, useless_excepts
from podwire_policy.sets import TABLES, Blocks, Members, PortList
from podwire_policy.skeleton import SETS, base_chain


@dataclass(frozen=True)
class Plan:
    """Everything but the elements that are pods.

    objects: tables, chains, sets, and what CIDR and port sets hold. members: the sets whose
    elements are pods, by name. problems: what the policies say in vain.
    """

    groups: frozenset[Group] = frozenset()
    objects: Mapping[Key, Object] = field(default_factory=dict)
    members: Mapping[str, Members] = field(default_factory=dict)
    problems: tuple[ObjectError, ...] = ()


def make_plan(groups: Iterable[Group], policies: Mapping[ObjectName, NetworkPolicy]) -> Plan:
    """The plan for the groups that have pods on this node; only their policies are looked at."""
    groups = sorted(groups)
    members: dict[str, Members] = {each.name: each for each in SETS}
    objects: list[Object] = []
    for table in TABLES.values():
        chains, used = _chains(table, groups, policies)
        members |= {each.name: each for each in used if not isinstance(each, Blocks | PortList)}
        objects += [table, *chains]
        for each in used:
            if isinstance(each, Blocks | PortList):
                objects += [each.declare(table), *each.contents(table)]
    objects += [each.declare(table) for table in TABLES.values() for each in members.values()]
    return Plan(
        frozenset(groups),
        {each.key: each for each in objects},
        members,
        tuple(_problems(groups, policies)),
    )


def _chains(
    table: Table, groups: Iterable[Group], policies: Mapping[ObjectName, NetworkPolicy]
) -> tuple[list[Chain], list[Interned]]:
    """The base chain, the groups' chains, and the sets these look into, each once, sorted."""
    chains = [base_chain(table)]
    used: dict[str, Interned] = {}
    for group in groups:
        parts = [
            compile_policy(policies[name], group.direction, table.family) for name in group.policies
        ]
        chains.append(_group_chain(table, group, parts))
        used |= {each.name: each for part in parts for each in part.sets}
    return chains, [used[name] for name in sorted(used)]


def _group_chain(table: Table, group: Group, parts: Iterable[Compiled]) -> Chain:
    allow = (rule for part in parts for rule in part.rules)
    return Chain(table, group.chain, (*allow, Rule((Counter(), DROP), group.why)))


def _problems(
    groups: Iterable[Group], policies: Mapping[ObjectName, NetworkPolicy]
) -> Iterable[ObjectError]:
    judged = sorted({(name, group.direction) for group in groups for name in group.policies})
    for name, direction in judged:
        yield from useless_excepts(policies[name], direction)
