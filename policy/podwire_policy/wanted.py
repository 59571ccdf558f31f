"""Everything wanted by key, and the changes of one update to it.

Elements are filed under their set, so that a set that goes takes them with it, and no key is kept
for each: of a hundred thousand elements that is a third of the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from podwire_core.nft.desired import Walk
from podwire_core.nft.objects import Chain, Element, Key, Object, Set, Table
from podwire_core.nft.statements import Verdict


class Wanted(Walk):
    """What should be in force, as of the last update.

    Walked through in an order of which any beginning is safe: base chains come last, and until
    then no packet meets anything of it.
    """

    def __init__(self) -> None:
        super().__init__(self._in_order)
        self._plain: dict[Key, Object] = {}
        self._elements: dict[Key, dict[str, Element]] = {}

    def __getitem__(self, key: Key) -> Object:
        return self._elements[key[:4]][key[4]] if len(key) == 5 else self._plain[key]

    def __iter__(self) -> Iterator[Key]:
        yield from self._plain
        for home, elements in self._elements.items():
            for text in elements:
                yield (*home, text)

    def __len__(self) -> int:
        return len(self._plain) + sum(map(len, self._elements.values()))

    def _in_order(self) -> Iterator[Object]:
        plain = self._plain.values()
        maps = [
            (*each.key[:2], "element", each.name)
            for each in plain
            if isinstance(each, Set) and each.data
        ]
        yield from (each for each in plain if isinstance(each, Table))
        yield from (each for each in plain if isinstance(each, Set))
        yield from (
            each
            for home, held in self._elements.items()
            if home not in maps
            for each in held.values()
        )
        chains = list(self._chains())
        yield from (each for each in chains if each.hook is None)
        yield from (each for home in maps for each in self.elements(home).values())
        yield from (each for each in chains if each.hook is not None)

    def _chains(self) -> Iterator[Chain]:
        """Each after those that its rules lead to."""
        waiting = {key: each for key, each in self._plain.items() if isinstance(each, Chain)}

        def take(key: Key) -> Iterator[Chain]:
            each = waiting.pop(key, None)
            for rule in each.rules if each else ():
                for verdict in rule.statements:
                    if isinstance(verdict, Verdict) and verdict.chain:
                        yield from take((*key[:3], verdict.chain))
            if each:
                yield each

        for key in list(waiting):
            yield from take(key)

    def elements(self, home: Key) -> Mapping[str, Element]:
        """What a set holds, by key text. home: family, table, "element", the set's name."""
        return self._elements.get(home, {})

    def put(self, key: Key, each: Object) -> None:
        """Want it from now on."""
        if isinstance(each, Element):
            self._elements.setdefault(key[:4], {})[key[4]] = each
        else:
            self._plain[key] = each

    def drop(self, key: Key) -> None:
        """Want it no more."""
        if len(key) < 5:
            del self._plain[key]
            return
        held = self._elements[key[:4]]
        del held[key[4]]
        if not held:
            del self._elements[key[:4]]


class Draft:
    """What one update drops and puts.

    An element that is dropped here and put there stays, whichever came first: an address goes
    from one pod to another. Of chains and sets the last word counts.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._dropped: set[Key] = set()
        self._put: dict[Key, Object] = {}

    def put(self, each: Object) -> None:
        """Let it be there."""
        self._put[each.key] = each

    def drop(self, key: Key) -> None:
        """Let it go."""
        self._dropped.add(key)
        if len(key) < 5:
            self._put.pop(key, None)

    def drop_set(self, key: Key) -> None:
        """A set may go, with all that it holds."""
        home = (*key[:2], "element", key[3])
        self._dropped.add(key)
        self._dropped.update((*home, text) for text in self._wanted.elements(home))

    def settle(self) -> Mapping[Key, Object | None]:
        """Carry it out. Answers the keys whose value is another now, sorted; None: gone."""
        changed: dict[Key, Object | None] = {}
        for key in sorted({*self._dropped, *self._put}):
            have, want = self._wanted.get(key), self._put.get(key)
            if have == want:
                continue
            changed[key] = want
            if want is None:
                self._wanted.drop(key)
            else:
                self._wanted.put(key, want)
        return changed
