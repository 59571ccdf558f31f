"""What is in force, by key: a mapping that holds a quarter of a million elements in few bytes.

Elements are filed under their set by their key's text alone, so that no tuple is kept for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping

from podwire_core.nft.objects import Element, Key


class Ledger(MutableMapping[Key, str]):
    """Keys and fingerprints (see nft.objects). Equal to a dict of the same rows."""

    def __init__(self, rows: Mapping[Key, str] | None = None) -> None:
        self._plain: dict[Key, str] = {}
        self._sets: dict[Key, dict[str, str]] = {}
        for key, fingerprint in (rows or {}).items():
            self[key] = fingerprint

    def __getitem__(self, key: Key) -> str:
        return self._sets[key[:4]][key[4]] if len(key) == 5 else self._plain[key]

    def __setitem__(self, key: Key, fingerprint: str) -> None:
        if len(key) == 5:
            self._sets.setdefault(key[:4], {})[key[4]] = fingerprint
        else:
            self._plain[key] = fingerprint

    def __delitem__(self, key: Key) -> None:
        if len(key) == 5:
            del self._sets[key[:4]][key[4]]
        else:
            del self._plain[key]

    def __iter__(self) -> Iterator[Key]:
        yield from self._plain
        for home, elements in self._sets.items():
            for text in elements:
                yield (*home, text)

    def __len__(self) -> int:
        return len(self._plain) + sum(map(len, self._sets.values()))

    def copy(self) -> Ledger:
        """Another ledger of the same rows."""
        made = Ledger(self._plain)
        made._sets = {home: dict(elements) for home, elements in self._sets.items()}
        return made

    def file_elements(self, table: Key, name: str, elements: Iterable[Element]) -> None:
        """Hold what elements of a set (its table's key, its name) want to be in force.

        No tuple is made for each on the way.
        """
        rows = self._sets.setdefault((*table, "element", name), {})
        rows.update({each.key_text: each.fingerprint for each in elements})

    def file_set(self, key: Key, elements: dict[str, str]) -> None:
        """Hold these elements (key text → fingerprint) of the set with this key, as they are."""
        self._sets[*key[:2], "element", key[3]] = elements

    def forget_set(self, key: Key) -> None:
        """Drop every element of the set with this key (family, table, "set", name)."""
        self._sets.pop((*key[:2], "element", key[3]), None)
