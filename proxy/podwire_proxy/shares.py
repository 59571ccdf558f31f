"""What several frontends need alike: how many do, and nothing else of it.

    cluster-ips   an address, for each of its ports       choose-N   a chain, for each frontend
    hairpin       an endpoint that reaches itself                    of N backends

A hundred thousand endpoints have as many hairpin elements. They are counted by the text of
their key, and made again from it when someone asks for all there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from podwire_core.family import Family
from podwire_core.nft.objects import Chain, Element, Key, Object
from podwire_proxy import skeleton

_SHARED_SETS = frozenset({skeleton.CLUSTER_IPS, skeleton.HAIRPIN})


class Shares:
    """Objects by how many frontends want them."""

    def __init__(self) -> None:
        self._elements: dict[tuple[Family, str], dict[str, int]] = {}
        self._chains: dict[Key, tuple[Chain, int]] = {}

    def replace(
        self, before: Mapping[Key, Object], now: Mapping[Key, Object]
    ) -> dict[Key, Object | None]:
        """One frontend's objects became others. Returns keys whose wanted value changed."""
        answer: dict[Key, Object | None] = {}
        for key, each in before.items():
            if key not in now and self._release(each):
                answer[key] = None
        for key, each in now.items():
            if key in before:
                if not _is_shared(each) and before[key] != each:
                    answer[key] = each
            elif self._take(each):
                answer[key] = each
        return answer

    def chains(self) -> Iterator[Chain]:
        """Every chain that someone wants, sorted."""
        for key in sorted(self._chains):
            yield self._chains[key][0]

    def elements(self, name: str) -> Iterator[Element]:
        """Every element of a shared set that someone wants, in the order they came."""
        for family in Family:
            for text in self._elements.get((family, name), ()):
                yield Element(skeleton.table(family), name, tuple(text.split(" . ")))

    def _take(self, each: Object) -> bool:
        """Whether it was not wanted before."""
        if isinstance(each, Chain):
            count = self._chains[each.key][1] if each.key in self._chains else 0
            self._chains[each.key] = (each, count + 1)
            return count == 0
        if not isinstance(each, Element) or not _is_shared(each):
            return True
        counts = self._elements.setdefault((each.table.family, each.set), {})
        text = each.key_text
        counts[text] = counts.get(text, 0) + 1
        return counts[text] == 1

    def _release(self, each: Object) -> bool:
        """Whether no one wants it any more."""
        if isinstance(each, Chain):
            _, count = self._chains.pop(each.key)
            if count > 1:
                self._chains[each.key] = (each, count - 1)
            return count == 1
        if not isinstance(each, Element) or not _is_shared(each):
            return True
        counts = self._elements[each.table.family, each.set]
        text = each.key_text
        counts[text] -= 1
        if counts[text]:
            return False
        del counts[text]
        return True


def by_key(objects: Iterable[Object]) -> dict[Key, Object]:
    """Objects by their keys; what comes twice counts once."""
    return {each.key: each for each in objects}


def _is_shared(each: Object) -> bool:
    return isinstance(each, Chain) or (isinstance(each, Element) and each.set in _SHARED_SETS)
