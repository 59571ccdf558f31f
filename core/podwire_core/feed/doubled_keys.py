"""A mapping that has one key twice, of which a YAML loader would silently keep the last.

Files that are put together without `---` between them become one document that way, and half of it
is lost. YAML forbids it (1.2, 3.2.1.1), and kubectl refuses it. A merge key (`<<`) is no such key.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_MERGE = "<<"


@dataclass(slots=True)
class _Collection:
    """is_mapping: keys and values take turns. keys: those that were seen."""

    is_mapping: bool
    keys: set[str] = field(default_factory=set)
    at_key: bool = True


class DoubledKeys:
    """Is told what stands in a document, in order; line counts from 0, as YAML's marks do."""

    def __init__(self) -> None:
        self._open: list[_Collection] = []

    def open(self, *, is_mapping: bool) -> None:
        """A collection begins."""
        self.add()
        self._open.append(_Collection(is_mapping))

    def close(self) -> None:
        """The innermost collection ends."""
        self._open.pop()

    def add(self, text: str | None = None, line: int = 0) -> None:
        """An item of the innermost collection, whose text is None where it is no scalar.

        Raises ValueError for a key that was there, with its line.
        """
        if not self._open or not (inside := self._open[-1]).is_mapping:
            return
        if inside.at_key and text is not None and text != _MERGE:
            if text in inside.keys:
                advice = ": is --- missing between two documents?" if len(self._open) == 1 else ""
                raise ValueError(f"line {line + 1}: key {text[:80]!r} stands twice{advice}")
            inside.keys.add(text)
        inside.at_key = not inside.at_key
