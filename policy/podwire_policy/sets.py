"""What rules look into: sets that are known by their content, so each is made once.

    noun        name      holds                                          kind
    PodPeers    peers-…   addresses of pods that one peer selects        hash, elements change
    NodePeers   nodes-…   addresses of Nodes that one peer selects       hash, elements change
    NamedPorts  named-…   address . protocol . port where it is served   hash, elements change
    Blocks      cidrs-…   addresses of a rule's peers, excepts cut out   interval, never changes
    PortList    ports-…   ports and ranges of one protocol in a rule     interval, never changes

The name is a digest of the content: policies that say the same share a set, a set that stays
needs no second look, and one that says something else is another set. Nothing is anonymous:
anonymous sets cost 10 times to load and 200 times to change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from podwire_core.family import FAMILIES, Family, family_of
from podwire_core.nft.expressions import DPORT, L4PROTO, Concat, concat, daddr, saddr
from podwire_core.nft.objects import Element, Set, Table, digest
from podwire_core.objects import Node, Protocol
from podwire_core.objects.cluster import NAMESPACE_NAME_LABEL
from podwire_core.selectors import LabelSelector
from podwire_policy.groups import DIGITS
from podwire_policy.labels import Pairs, namespace_pair, pairs, port_pair
from podwire_policy.population import Candidate

#: One per family: addresses of the two never share a set.
TABLES = {family: Table(family, "podwire-policy") for family in FAMILIES}


def element(name: str, address: str, parts: tuple[str, ...], words: str) -> Element:
    """An element of a set in the table of an address' family."""
    return Element(TABLES[family_of(address)], name, parts, None, words)


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

    @cached_property
    def places(self) -> tuple[Pairs, Pairs]:
        """Labels of namespaces and of pods without which nothing is selected (labels.pairs)."""
        here = self.namespaces
        where = namespace_pair(self.namespace) if here is None else pairs(here)
        return where, pairs(self.pods)

    def declare(self, table: Table) -> Set:
        """The set without its elements."""
        return Set(table, self.name, saddr(table.family), self.why)

    def elements(self, candidate: Candidate) -> Iterable[Element]:
        """A pod's addresses, when the peer selects it."""
        if self._selects(candidate):
            for address in candidate.addresses:
                yield element(self.name, address, (address,), candidate.words)

    def _selects(self, candidate: Candidate) -> bool:
        if self.namespaces is None:
            inside = candidate.namespace_labels[NAMESPACE_NAME_LABEL] == self.namespace
        else:
            inside = self.namespaces.matches(candidate.namespace_labels)
        return inside and self.pods.matches(candidate.pod.labels)


@dataclass(frozen=True)
class NodePeers:
    """Nodes by their labels: every address that they have."""

    nodes: LabelSelector

    @cached_property
    def name(self) -> str:
        """Kind and digest."""
        return f"nodes-{digest(self.nodes.identity, DIGITS)}"

    def declare(self, table: Table) -> Set:
        """The set without its elements."""
        return Set(table, self.name, saddr(table.family), f"nodes with {self.nodes.text}")

    def elements(self, nodes: Iterable[Node]) -> Iterable[Element]:
        """The addresses of those that it selects. Of nodes that share one, the first is named."""
        found: dict[str, Element] = {}
        for node in nodes:
            if self.nodes.matches(node.labels):
                for address in node.addresses:
                    words = f"node {node.metadata.name}"
                    found.setdefault(address, element(self.name, address, (address,), words))
        return found.values()


@dataclass(frozen=True)
class NamedPorts:
    """Where pods serve ports of these names; the numbers are each pod's own.

    ports: name and protocol, sorted, none twice; no protocol for whichever the pod says. All names
    of a rule are one set, or peers times names would make a rule each.
    """

    ports: tuple[tuple[str, Protocol | None], ...]

    @cached_property
    def name(self) -> str:
        """Kind and digest. Of JSON, because a file's names may hold anything at all."""
        return f"named-{digest(json.dumps(self.ports), DIGITS)}"

    @cached_property
    def places(self) -> tuple[Pairs, Pairs]:
        """As of PodPeers; but a pod may have several of these."""
        return None, tuple(dict.fromkeys(port_pair(name) for name, _ in self.ports))

    @cached_property
    def _wanted(self) -> frozenset[tuple[str, Protocol | None]]:
        return frozenset(self.ports)

    @staticmethod
    def key(family: Family) -> Concat:
        """What its keys are, and what a packet is asked."""
        return concat(daddr(family), L4PROTO, DPORT)

    def declare(self, table: Table) -> Set:
        """The set without its elements."""
        words = (f"{name}/{protocol or 'any'}" for name, protocol in islice(self.ports, 8))
        why = f"named port {', '.join(words)}"  # more than a comment holds
        return Set(table, self.name, self.key(table.family), why)

    def elements(self, candidate: Candidate) -> Iterable[Element]:
        """Each of a pod's addresses with each port that it declares so."""
        for row in candidate.pod.ports:
            if not self._wanted.isdisjoint({(row.name, row.protocol), (row.name, None)}):
                for address in candidate.addresses:
                    key = (address, row.protocol.nft, str(row.container_port))
                    yield element(self.name, address, key, candidate.words)


@dataclass(frozen=True)
class Blocks:
    """Disjoint CIDRs and ranges of addresses, sorted (spans.addresses)."""

    blocks: tuple[str, ...]

    @cached_property
    def name(self) -> str:
        """Kind and digest."""
        return f"cidrs-{digest(' '.join(self.blocks), DIGITS)}"

    def declare(self, table: Table) -> Set:
        """The set without its elements."""
        why = "addresses of peers"
        return Set(table, self.name, saddr(table.family), why, interval=True)

    def contents(self, table: Table) -> Iterable[Element]:
        """All its elements."""
        return (Element(table, self.name, (block,)) for block in self.blocks)


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


Static = Blocks | PortList
Interned = PodPeers | NodePeers | NamedPorts | Static


def size_of(each: Interned) -> int:
    """How many elements a set has of itself, and not by pods and nodes."""
    if isinstance(each, Blocks):
        return len(each.blocks)
    return len(each.ports) if isinstance(each, PortList) else 0
