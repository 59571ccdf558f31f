"""What several frontends need alike: how many do, and nothing else of it.

    choose-N and the other chains, for each frontend that goes there
    cluster-ips      an address, for each of its ports
    hairpin          an endpoint that reaches itself
    members-P        an endpoint, for each frontend of one Service's port that remembers
    sources-ID       equal source ranges, with the set itself

Elements are counted by the text of their key, and made again from it when someone asks for all
there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

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
        self._named: dict[Key, tuple[Chain | Set, int]] = {}

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

    def walk(self) -> Iterator[Object]:
        """Everything that someone wants; a chain comes behind those it leads to."""
        for key in sorted(self._named):
            if isinstance(each := self._named[key][0], Set):
                yield each
        for family, name in self._elements:
            yield from self.elements(family, name)
        for key in sorted(self._named):
            if isinstance(each := self._named[key][0], Chain):
                yield each

    def elements(self, family: Family, name: str) -> Iterator[Element]:
        """Every element of a shared set that someone wants, in the order they came."""
        for text in self._elements.get((family, name), ()):
            yield Element(names.table(family), name, tuple(text.split(" . ")))

    def wants(self, family: Family, name: str, text: str) -> bool:
        """Whether someone wants this element of a shared set."""
        return text in self._elements.get((family, name), ())

    def _take(self, each: Object) -> bool:
        """Whether it was not wanted before, or otherwise."""
        if isinstance(each, Chain | Set):
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
        if isinstance(each, Chain | Set):
            self._named[each.key] = (each, self._named[each.key][1])

    def _release(self, each: Object) -> bool:
        """Whether no one wants it any more."""
        if isinstance(each, Chain | Set):
            _, count = self._named.pop(each.key)
            if count > 1:
                self._named[each.key] = (each, count - 1)
            return count == 1
        if not isinstance(each, Element) or not is_shared(each):
            return True
        counts = self._elements[each.table.family, each.set]
        text = each.key_text
        counts[text] -= 1
        if counts[text]:
            return False
        del counts[text]
        return True


def is_shared(each: Object) -> bool:
    """Whether others may want it too."""
    if isinstance(each, Element):
        return each.set in _SETS or each.set.startswith("sources-")
    return isinstance(each, Chain | Set)


def by_key(objects: Iterable[Object]) -> dict[Key, Object]:
    """Objects by their keys; what comes twice counts once."""
    return {each.key: each for each in objects}
