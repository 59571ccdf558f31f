"""What several frontends need alike: how many do, and nothing else of it.

    choose-N and the other chains, for each frontend that goes there, and their numbers
    cluster-ips      an address, for each of its ports
    hairpin          an endpoint that reaches itself
    members-P        an endpoint, for each frontend of one Service's port that remembers
    sources-ID       equal source ranges, with the set itself

Elements are counted by the text of their key, and made again from it when someone asks for all
there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard

from podwire_core.family import Family
from podwire_core.nft.objects import Chain, Element, Key, Object, Set
from podwire_core.objects import Protocol
from podwire_proxy import layout as names

_SETS = frozenset(
    {names.CLUSTER_IPS, names.HAIRPIN, names.SELF_VIPS, *map(names.members, Protocol)}
)


class Shares:
    """Objects by how many frontends want them."""

    def __init__(self) -> None:
        self._elements: dict[tuple[Family, str], dict[str, int]] = {}
        self._named: dict[Key, tuple[Chain | Set | Element, int]] = {}

    def replace(
        self, before: Mapping[Key, Object], now: Mapping[Key, Object]
    ) -> dict[Key, Object | None]:
        """One frontend's objects became others. Returns keys whose wanted value changed."""
        answer: dict[Key, Object | None] = {}
        for key, each in before.items():
            if key not in now and self._release(each):
                answer[key] = None
        for key, each in now.items():
            if key not in before:
                if self._take(each):
                    answer[key] = each
            elif before[key] != each:
                self._change(each)
                answer[key] = each
        return answer

    def begin(self, objects: Iterable[Object]) -> None:
        """A frontend came, of whose objects no one asks what changed."""
        for each in by_key(filter(is_shared, objects)).values():
            self._take(each)

    def walk(self) -> Iterator[Object]:
        """Everything that someone wants; a chain comes behind those it leads to."""
        for key in sorted(self._named):
            if isinstance(each := self._named[key][0], Set):
                yield each
        for family, name in self._elements:
            yield from self.elements(family, name)
        for kind in (Chain, Element):
            for key in sorted(self._named):
                if isinstance(each := self._named[key][0], kind):
                    yield each

    def elements(self, family: Family, name: str) -> Iterator[Element]:
        """Every element of a shared set that someone wants, in the order they came."""
        for text in self._elements.get((family, name), ()):
            yield Element(names.table(family), name, tuple(text.split(" . ")))

    def texts(self, family: Family, name: str) -> frozenset[str]:
        """The keys of a shared set's elements that someone wants."""
        return frozenset(self._elements.get((family, name), ()))

    def _take(self, each: Object) -> bool:
        """Whether it was not wanted before, or otherwise."""
        if _is_named(each):
            known, count = self._named.get(each.key, (None, 0))
            self._named[each.key] = (each, count + 1)
            return known != each
        if not isinstance(each, Element) or not is_shared(each):
            return True
        counts = self._elements.setdefault((each.table.family, each.set), {})
        text = each.key_text
        counts[text] = counts.get(text, 0) + 1
        return counts[text] == 1

    def _change(self, each: Object) -> None:
        """One that all who want it want otherwise now; each of them says so in its turn."""
        if _is_named(each):
            self._named[each.key] = (each, self._named[each.key][1])

    def _release(self, each: Object) -> bool:
        """Whether no one wants it any more."""
        if _is_named(each):
            known, count = self._named.pop(each.key)
            if count > 1:
                self._named[each.key] = (known, count - 1)
            return count == 1
        if not isinstance(each, Element) or not is_shared(each):
            return True
        home, text = (each.table.family, each.set), each.key_text
        counts = self._elements[home]
        counts[text] -= 1
        if counts[text]:
            return False
        del counts[text]
        if not counts:  # sets of source ranges come and go for ever
            del self._elements[home]
        return True


def is_shared(each: Object) -> bool:
    """Whether others may want it too."""
    if _is_named(each):
        return True
    return isinstance(each, Element) and (each.set in _SETS or each.set.startswith("sources-"))


def _is_named(each: Object) -> TypeGuard[Chain | Set | Element]:
    """Whether it is kept itself: a chain, a set, and the number by which a chain is found."""
    if isinstance(each, Element):
        return each.set == names.CHOICES
    return isinstance(each, Chain | Set)


def by_key(objects: Iterable[Object]) -> dict[Key, Object]:
    """Objects by their keys; what comes twice counts once."""
    return {each.key: each for each in objects}
