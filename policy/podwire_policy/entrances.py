"""Whose an address is, before any policy is asked: what stands at a direction's beginning.

    set, map          an address is in it when
    pod-cidrs         it is one of those that this node gives to pods, and there are policies
    known             it is a pod's, or the node gave it away, or it is a node's own; with policies
    …-admin           → its pod's group of the tier Admin; or → unknown-…, when the node gave it
                      to a pod that nobody has told of yet, in a namespace that has policies

An address is denied everything while it is in pod-cidrs and not known: a pod starts, and its
labels are not here yet. It opens as its policies say with the first word about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podwire_core.family import FAMILIES, family_of
from podwire_core.nft.intervals import span
from podwire_core.nft.objects import Element
from podwire_core.nft.statements import goto
from podwire_policy import spans
from podwire_policy.addresses import Owners
from podwire_policy.groups import DIRECTIONS, Level
from podwire_policy.nodes import Nodes
from podwire_policy.sets import TABLES
from podwire_policy.skeleton import KNOWN, POD_CIDRS, dispatch, unknown
from podwire_policy.subjects import Subjects
from podwire_policy.wanted import Draft

_SETS = (KNOWN, *(dispatch(Level.ADMIN, each) for each in DIRECTIONS))


class Entrances:
    """Keeps them; told which addresses to look at again."""

    def __init__(self, owners: Owners, subjects: Subjects, nodes: Nodes) -> None:
        self._owners = owners
        self._subjects = subjects
        self._nodes = nodes
        self._cidrs: tuple[Element, ...] = ()  # that are in force

    def settle(self, addresses: Iterable[str], draft: Draft) -> None:
        """Put these addresses, and the CIDRs, as they are to be."""
        for address in addresses:
            table = TABLES[family_of(address)]
            for name in _SETS:
                draft.drop((*table.key, "element", name, address))
            for element in self._elements(address):
                draft.put(element)
        cidrs = tuple(self._pod_cidrs()) if self._subjects.may_concern() else ()
        if cidrs != self._cidrs:
            for each in self._cidrs:
                draft.drop(each.key)
            for each in cidrs:
                draft.put(each)
            self._cidrs = cidrs

    def _pod_cidrs(self) -> Iterator[Element]:
        for family in FAMILIES:
            found = (cidr for cidr in self._nodes.pod_cidrs if family_of(cidr) is family)
            for block in spans.addresses(spans.merged(map(span, found)), family):
                yield Element(TABLES[family], POD_CIDRS, (block,))

    def _elements(self, address: str) -> Iterator[Element]:
        table = TABLES[family_of(address)]
        owner, given = self._owners.owner(address), list(self._owners.given(address))
        words = str(owner or min((str(each.pod or each.name) for each in given), default="a node"))
        somebodys = owner or self._nodes.have(address)
        known = given or (somebodys and self._nodes.gives(address))
        if known and self._subjects.may_concern():
            yield Element(table, KNOWN, (address,), None, words)
        subject = self._subjects.get(owner) if owner else None
        for group in subject.on(Level.ADMIN) if subject else ():
            name = dispatch(Level.ADMIN, group.direction)
            yield Element(table, name, (address,), goto(group.chain), words)
        if not owner and self._is_closed(address):
            for direction in DIRECTIONS:
                closed = goto(unknown(direction).chain)
                yield Element(table, dispatch(Level.ADMIN, direction), (address,), closed, words)

    def _is_closed(self, address: str) -> bool:
        """Given to a pod that is not known, and to nothing else, where policies may be about it."""
        pods = [each.pod for each in self._owners.given(address)]
        return None not in pods and any(
            self._subjects.may_concern(pod.namespace) for pod in pods if pod
        )
