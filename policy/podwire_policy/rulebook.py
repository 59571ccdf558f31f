"""Groups' chains, and the policies they are made of: each compiled once, while a pod needs it.

    pods ─► Group ─► Part ─► Interned
            chain    a policy in one direction: its rules, its sets, the chains of its denials

A group that comes or goes compiles itself alone; a policy that changed is compiled anew, and the
chains that it is in are written in place. Both families have every chain, so that a pod may get
an address of either at any time at the cost of its elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from podwire_core.errors import ObjectError
from podwire_core.family import FAMILIES, Family
from podwire_core.nft.objects import Chain, Rule
from podwire_core.nft.statements import goto
from podwire_core.objects import ClusterNetworkPolicy, NetworkPolicy, PolicyType
from podwire_policy.cluster_rules import compile_cluster_policy, denials, refuse
from podwire_policy.groups import Group, Level
from podwire_policy.library import Library
from podwire_policy.reasons import Kind, PolicyName, Reason
from podwire_policy.rules import compile_policy, useless_excepts
from podwire_policy.sets import TABLES
from podwire_policy.skeleton import last_words, way
from podwire_policy.wanted import Draft
from podwire_policy.ways import Compiled, TooLarge

Policy = NetworkPolicy | ClusterNetworkPolicy
_PartKey = tuple[PolicyName, PolicyType]


@dataclass(frozen=True)
class Part:
    """A policy in one direction, for both families. problems: what it says in vain."""

    compiled: Mapping[Family, Compiled]
    denials: tuple[Reason, ...] = ()
    problems: tuple[ObjectError, ...] = ()


def make_part(policy: Policy, direction: PolicyType) -> Part:
    """Compile. What is too large for a node allows nothing, and says so."""
    try:
        return _compiled(policy, direction)
    except TooLarge as error:
        return _refused(policy, direction, str(error))


def _compiled(policy: Policy, direction: PolicyType) -> Part:
    if isinstance(policy, NetworkPolicy):
        made = {each: compile_policy(policy, direction, each) for each in FAMILIES}
        return Part(made, problems=tuple(useless_excepts(policy, direction)))
    made = {each: compile_cluster_policy(policy, direction, each) for each in FAMILIES}
    return Part(made, tuple(denials(policy, direction)))


def _refused(policy: Policy, direction: PolicyType, why: str) -> Part:
    """A NetworkPolicy isolates without rules; a tier denies, as by rules nobody understands."""
    name = name_of(policy)
    words = f"{why}, more than a node can bear, so that it fails closed: split it"
    problem = ObjectError("", f"{name.kind} {name.name}", f"spec.{direction.lower()}", words)
    if isinstance(policy, NetworkPolicy):
        return Part(dict.fromkeys(FAMILIES, Compiled()), problems=(problem,))
    made, denied = refuse(policy, direction)
    return Part(dict.fromkeys(FAMILIES, made), denied, (problem,))


def name_of(policy: Policy) -> PolicyName:
    """Its kind and name."""
    return PolicyName(type(policy).__name__, policy.name)


class Rulebook:
    """All chains but the skeleton's. reasons: by chain, why it drops."""

    def __init__(self, library: Library) -> None:
        self.reasons: dict[str, Reason] = {}
        self._library = library
        self._pods: Counter[Group] = Counter()
        self._written: set[Group] = set()
        self._moved: set[Group] = set()
        self._parts: dict[_PartKey, Part] = {}
        self._users: dict[_PartKey, set[Group]] = {}
        self._problems: dict[_PartKey, tuple[ObjectError, ...]] = {}

    @property
    def problems(self) -> Iterable[ObjectError]:
        """What the policies of our groups say in vain."""
        return (each for key in sorted(self._problems) for each in self._problems[key])

    def move(self, old: Iterable[Group], new: Iterable[Group]) -> None:
        """A pod left groups and entered others."""
        for group in new:
            self._pods[group] += 1
            self._moved.add(group)
        for group in old:
            self._pods[group] -= 1
            self._moved.add(group)

    def settle(self, policies: Mapping[PolicyName, Policy], changed: Collection[PolicyName],
               draft: Draft) -> None:  # fmt: skip
        """Write the chains of groups that came or changed, drop those of groups that went."""
        write = {group for group in self._moved if self._pods[group]} - self._written
        for group in sorted(write):
            for key in _keys(group):
                self._users.setdefault(key, set()).add(group)
                if key not in self._parts:
                    self._compile(key, policies[key[0]], draft)
        write |= self._renew(policies, changed, draft)
        for group in sorted(self._moved):
            if not self._pods[group]:
                del self._pods[group]
                self._dissolve(group, draft)
        for group in write:
            if group in self._pods:
                self._write(group, draft)
        self._moved.clear()

    def _renew(self, policies: Mapping[PolicyName, Policy], changed: Collection[PolicyName],
               draft: Draft) -> set[Group]:  # fmt: skip
        """Compile policies that changed anew. Answers the groups they are in."""
        found: set[Group] = set()
        for name in sorted(changed):
            for direction in PolicyType:
                key = name, direction
                if key in self._parts and name in policies:
                    self._compile(key, policies[name], draft)
                    found |= self._users[key]
        return found

    def _compile(self, key: _PartKey, policy: Policy, draft: Draft) -> None:
        old, new = self._parts.get(key), make_part(policy, key[1])
        for family, compiled in new.compiled.items():
            self._library.acquire(family, compiled.sets)
        if old is not None:
            self._forget(key, old, draft)
        self._parts[key] = new
        if new.problems:
            self._problems[key] = new.problems
        for reason in new.denials:
            self.reasons[reason.chain] = reason
            why = reason.rule.replace('"', "'")  # nft's comments take no double quotes
            for table in TABLES.values():
                draft.put(Chain(table, reason.chain, last_words(reason.chain, why)))

    def _forget(self, key: _PartKey, part: Part, draft: Draft) -> None:
        for family, compiled in part.compiled.items():
            self._library.release(family, compiled.sets)
        self._problems.pop(key, None)
        for reason in part.denials:
            self._drop(reason.chain, draft)

    def _write(self, group: Group, draft: Draft) -> None:
        self._written.add(group)
        if group.level is Level.NAMESPACED:
            names = tuple(PolicyName("NetworkPolicy", name) for name in group.policies)
            self.reasons[group.chain] = Reason(group.chain, Kind.ISOLATED, group.direction, names)
        parts = [self._parts[key] for key in _keys(group)]
        for family, table in TABLES.items():
            rules = [rule for part in parts for rule in part.compiled[family].rules]
            draft.put(Chain(table, group.chain, (*rules, *_end(group))))

    def _dissolve(self, group: Group, draft: Draft) -> None:
        """Nothing, if it came and went before it was written."""
        if group in self._written:
            self._written.discard(group)
            self._drop(group.chain, draft)
        for key in _keys(group):
            users = self._users.get(key)
            if users is None:
                continue
            users.discard(group)
            if not users:
                self._forget(key, self._parts.pop(key), draft)
                del self._users[key]

    def _drop(self, chain: str, draft: Draft) -> None:
        self.reasons.pop(chain, None)
        for table in TABLES.values():
            draft.drop(Chain(table, chain).key)


def _keys(group: Group) -> Iterable[_PartKey]:
    kind = "NetworkPolicy" if group.level is Level.NAMESPACED else "ClusterNetworkPolicy"
    return ((PolicyName(kind, name), group.direction) for name in group.policies)


def _end(group: Group) -> Iterable[Rule]:
    """Who isolates is final; a tier leaves what it does not judge to the next, if there is one."""
    if group.level is Level.NAMESPACED:
        return last_words(group.chain, group.why)
    if group.level is Level.ADMIN:
        return (Rule((goto(f"{way(group.direction)}-namespaced"),), "left to the namespaces"),)
    return ()
