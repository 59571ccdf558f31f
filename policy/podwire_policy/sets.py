"""What rules look into: sets that are known by their content, so each is made once.

    noun        name      holds                                          kind
    PodPeers    peers-…   addresses of pods that one peer selects        hash, elements change
    NamedPort   named-…   address . protocol . port where it is served   hash, elements change
    Blocks      cidrs-…   CIDRs of a rule's ipBlocks, excepts cut out    interval, never changes
    PortList    ports-…   ports and ranges of one protocol in a rule     interval, never changes

The name is a digest of the content: policies that say the same share a set, a set that stays
needs no second look, and one that says something else is another set. Nothing is anonymous:
anonymous sets cost 10 times to load and 200 times to change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol as Interface

from podwire_core.family import FAMILIES, Family, family_of
from podwire_core.nft.expressions import DPORT, L4PROTO, Concat, concat, daddr, saddr
from podwire_core.nft.objects import Element, Key, Set, Table, digest
from podwire_core.nft.statements import Verdict
from podwire_core.objects import ContainerPort, ObjectName, Protocol
from podwire_core.selectors import LabelSelector
from podwire_policy.isolation import DIGITS, Group

#: One per family: addresses of the two never share a set.
TABLES = {family: Table(family, "podwire-policy") for family in FAMILIES}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that sets may take in: what they ask about it, once for all of them.

    addresses: those it owns. groups: what isolates it, when it runs on this node.
    """

    name: ObjectName
    labels: Mapping[str, str]
    ports: tuple[ContainerPort, ...]
    addresses: tuple[str, ...]
    namespace_labels: Mapping[str, str]
    groups: tuple[Group, ...] = ()


Row = tuple[str, tuple[str, ...], Verdict | None]
"""One element for one pod: the address that says which table, the key, a map's value."""


class Members(Interface):
    """A set whose elements are pods."""

    @property
    def name(self) -> str:
        """Its name in both tables."""
        ...

    def declare(self, table: Table) -> Set:
        """The set without its elements."""
        ...

    def rows(self, candidate: Candidate) -> Iterable[Row]:
        """The elements that one pod contributes."""
        ...


def elements(members: Members, candidate: Candidate) -> dict[Key, Element]:
    """A pod's elements in one set, of both families. They carry the pod's name for readers."""
    found: dict[Key, Element] = {}
    for address, parts, data in members.rows(candidate):
        table = TABLES[family_of(address)]
        element = Element(table, members.name, parts, data, str(candidate.name))
        found[element.key] = element
    return found


@dataclass(frozen=True)
class PodPeers:
    """Pods that one peer selects: of one namespace, or of those that `namespaces` selects."""

    namespace: str
    namespaces: LabelSelector | None
    pods: LabelSelector

    @cached_property
    def why(self) -> str:
        """`app=web in namespace shop`, for readers."""
        if self.namespaces is None:
            return f"{self.pods.text} in namespace {self.namespace}"
        return f"{self.pods.text} in namespaces with {self.namespaces.text}"

    @cached_property
    def name(self) -> str:
        """Kind and digest."""
        where = self.namespace if self.namespaces is None else [self.namespaces.identity]
        return f"peers-{digest(json.dumps([where, self.pods.identity]), DIGITS)}"

    def declare(self, table: Table) -> Set:
        """See Members."""
        return Set(table, self.name, saddr(table.family), self.why)

    def rows(self, candidate: Candidate) -> Iterable[Row]:
        """Its addresses, when the peer selects it."""
        if self._selects(candidate):
            for address in candidate.addresses:
                yield address, (address,), None

    def _selects(self, candidate: Candidate) -> bool:
        if self.namespaces is None:
            inside = candidate.name.namespace == self.namespace
        else:
            inside = self.namespaces.matches(candidate.namespace_labels)
        return inside and self.pods.matches(candidate.labels)


@dataclass(frozen=True)
class NamedPort:
    """Where pods serve a port of this name and protocol; the number is each pod's own."""

    port: str
    protocol: Protocol

    @cached_property
    def name(self) -> str:
        """Kind and digest."""
        return f"named-{digest(f'{self.port}/{self.protocol}', DIGITS)}"

    @staticmethod
    def key(family: Family) -> Concat:
        """What its keys are, and what a packet is asked."""
        return concat(daddr(family), L4PROTO, DPORT)

    def declare(self, table: Table) -> Set:
        """See Members."""
        why = f"named port {self.port}/{self.protocol}"
        return Set(table, self.name, self.key(table.family), why)

    def rows(self, candidate: Candidate) -> Iterable[Row]:
        """Each of its addresses with each port that it declares so."""
        for row in candidate.ports:
            if row.name == self.port and row.protocol is self.protocol:
                for address in candidate.addresses:
                    key = (address, self.protocol.nft, str(row.container_port))
                    yield address, key, None


@dataclass(frozen=True)
class Blocks:
    """Disjoint CIDRs, sorted."""

    cidrs: tuple[str, ...]

    @cached_property
    def name(self) -> str:
        """Kind and digest."""
        return f"cidrs-{digest(' '.join(self.cidrs), DIGITS)}"

    def declare(self, table: Table) -> Set:
        """The set without its elements."""
        why = "addresses of ipBlock peers"
        return Set(table, self.name, saddr(table.family), why, interval=True)

    def contents(self, table: Table) -> Iterable[Element]:
        """All its elements."""
        return (Element(table, self.name, (cidr,)) for cidr in self.cidrs)


@dataclass(frozen=True)
class PortList:
    """Disjoint ports and ranges, sorted. The rule says the protocol before it looks here.

    (nft 1.0.6 refuses the protocol inside a concatenation of intervals.)
    """

    ports: tuple[str, ...]

    @cached_property
    def name(self) -> str:
        """Kind and digest."""
        return f"ports-{digest(' '.join(self.ports), DIGITS)}"

    def declare(self, table: Table) -> Set:
        """The set without its elements."""
        return Set(table, self.name, DPORT, ", ".join(self.ports), interval=True)

    def contents(self, table: Table) -> Iterable[Element]:
        """All its elements."""
        return (Element(table, self.name, (port,)) for port in self.ports)
