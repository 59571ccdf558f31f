"""The pods of the cluster as sets see them, found by namespace and by labels.

    namespace labels ─► namespaces ─┐
                                    ├─► their pods, when a new set has to be filled
    a pod's labels   ─► namespaces ─┘

Labels lead to namespaces and not to pods: of a hundred thousand pods that is a small index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from podwire_core.objects import ObjectName, Pod
from podwire_core.selectors import Labels
from podwire_policy.labels import Pair, Pairs, traits


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A pod that sets may take in. addresses: those it owns. words: its name, for readers."""

    pod: Pod
    addresses: tuple[str, ...]
    namespace_labels: Labels
    words: str


class Population:
    """All candidates."""

    def __init__(self) -> None:
        self._pods: dict[str, dict[ObjectName, Candidate]] = {}
        self._labels: dict[str, Labels] = {}
        self._labelled: dict[Pair, dict[str, None]] = {}  # namespaces by their own labels
        self._holding: dict[Pair, dict[str, int]] = {}  # … by their pods', and how many have it

    def __len__(self) -> int:
        return sum(map(len, self._pods.values()))

    def names(self, namespace: str) -> Collection[ObjectName]:
        """The pods of a namespace."""
        return self._pods.get(namespace, {}).keys()

    def labels(self, namespace: str) -> Labels | None:
        """Labels of a namespace that has pods."""
        return self._labels.get(namespace)

    def relabel(self, namespace: str, labels: Labels) -> None:
        """Know a namespace by these labels from now on. Its pods are to be put anew."""
        for pair in self._labels.get(namespace, {}).items():
            self._unlabel(pair, namespace)
        self._labels[namespace] = labels
        for pair in labels.items():
            self._labelled.setdefault(pair, {})[namespace] = None

    def put(self, name: ObjectName, new: Candidate | None) -> Candidate | None:
        """Know a pod like this from now on, None: no more. Answers what it was."""
        pods = self._pods.setdefault(name.namespace, {})
        if new is not None and name.namespace not in self._labels:
            self.relabel(name.namespace, new.namespace_labels)
        old = pods.pop(name, None)
        if new is not None:
            pods[name] = new
        now, before = traits(new.pod) if new else (), traits(old.pod) if old else ()
        if now != before:
            for pair in now:
                held = self._holding.setdefault(pair, {})
                held[name.namespace] = held.get(name.namespace, 0) + 1
            for pair in before:
                self._let_go(pair, name.namespace)
        if not pods:
            self._leave(name.namespace)
        return old

    def everyone(self) -> Iterator[Candidate]:
        """All of them."""
        for pods in self._pods.values():
            yield from pods.values()

    def meeting(self, where: Pairs, what: Pairs) -> Iterator[Candidate]:
        """Everyone that could have one of these traits, in a namespace with one of those labels."""
        for namespace in self._namespaces(where, what):
            yield from self._pods.get(namespace, {}).values()

    def _namespaces(self, where: Pairs, what: Pairs) -> Collection[str]:
        if where is None and what is None:
            return self._pods.keys()
        found: set[str] | None = None
        if where is not None:
            found = {each for pair in where for each in self._labelled.get(pair, ())}
        if what is not None:
            holding = {each for pair in what for each in self._holding.get(pair, ())}
            found = holding if found is None else found & holding
        return found or set()

    def _leave(self, namespace: str) -> None:
        """The last pod of a namespace went."""
        del self._pods[namespace]
        for pair in self._labels.pop(namespace, {}).items():
            self._unlabel(pair, namespace)

    def _unlabel(self, pair: Pair, namespace: str) -> None:
        found = self._labelled[pair]
        found.pop(namespace, None)
        if not found:
            del self._labelled[pair]

    def _let_go(self, pair: Pair, namespace: str) -> None:
        held = self._holding[pair]
        held[namespace] -= 1
        if not held[namespace]:
            del held[namespace]
        if not held:
            del self._holding[pair]
