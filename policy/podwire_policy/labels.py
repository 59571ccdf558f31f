"""Selectors turned round: what could select something with these labels, without asking all.

A selector is filed under one label pair that everything it selects has (`app=web`), or under
several of which each has exactly one (`tier In (a, b)`); under none when it names no value.
A port's name is a trait, too: a pair with no key, which no label is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

from podwire_core.objects import Pod
from podwire_core.objects.cluster import NAMESPACE_NAME_LABEL
from podwire_core.selectors import LabelSelector, Operator

Pair = tuple[str, str]
Pairs = tuple[Pair, ...] | None
"""Alternatives; None where labels tell nothing."""

T = TypeVar("T", bound=Hashable)

MAX_PLACES = 64  # places that one thing is filed under; a longer `In` tells nothing


def pairs(selector: LabelSelector) -> Pairs:
    """Label pairs of which everything that is selected has exactly one."""
    wanted = selector.match_labels
    if wanted:
        key = NAMESPACE_NAME_LABEL if NAMESPACE_NAME_LABEL in wanted else min(wanted)
        return ((key, wanted[key]),)
    for row in selector.match_expressions or ():
        if row.operator is Operator.IN:
            found = {(row.key, value) for value in row.values or ()}
            return tuple(sorted(found)) if len(found) <= MAX_PLACES else None
    return None


def namespace_pair(name: str) -> Pairs:
    """The label that the namespace of this name has, and no other."""
    return ((NAMESPACE_NAME_LABEL, name),)


def port_pair(name: str) -> Pair:
    """What every pod has that serves a port of this name."""
    return "", name


def traits(pod: Pod) -> tuple[Pair, ...]:
    """A pod's labels, and the names of its ports."""
    named = {("", row.name): None for row in pod.ports if row.name}
    return (*pod.labels.items(), *named)


class Index(Generic[T]):
    """Things that select by a namespace's labels and an object's own."""

    def __init__(self) -> None:
        self._places: dict[Pair | None, dict[Pair | None, dict[T, None]]] = {}

    def __len__(self) -> int:
        return sum(len(each) for inner in self._places.values() for each in inner.values())

    def add(self, thing: T, where: Pairs, what: Pairs) -> None:
        """File it. where: of the namespace; what: of the object."""
        for outer, inner in _places(where, what):
            self._places.setdefault(outer, {}).setdefault(inner, {})[thing] = None

    def remove(self, thing: T, where: Pairs, what: Pairs) -> None:
        """Take it out, with what it was filed under."""
        for outer, inner in _places(where, what):
            found = self._places[outer]
            del found[inner][thing]
            if not found[inner]:
                del found[inner]
            if not found:
                del self._places[outer]

    def find(self, where: Iterable[Pair], what: Iterable[Pair]) -> Iterator[T]:
        """Everything that could select what has these; it may still not.

        Each once, or for each of its places that what has these is in.
        """
        inners = (None, *what)
        for outer in (None, *where):
            found = self._places.get(outer)
            for inner in inners if found else ():
                yield from found.get(inner, ()) if found else ()


def _places(where: Pairs, what: Pairs) -> Iterator[tuple[Pair | None, Pair | None]]:
    outers: tuple[Pair | None, ...] = where or (None,)
    inners: tuple[Pair | None, ...] = what or (None,)
    if len(outers) * len(inners) > MAX_PLACES:
        inners = (None,)
    return ((outer, inner) for outer in outers for inner in inners)
