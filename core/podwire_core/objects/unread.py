"""Fields that somebody wrote and that no struct has: mostly misspelt. Nothing reads them.

An API server with strict validation refuses them (`kubectl apply` does so by default). Structs skip
them, as they must: objects from the API may be of a later version of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec import inspect

MOST = 8  # of one document
_MAX_LENGTH = 63  # of a field's name, which may be anything
_NOT_OURS = {"apiVersion", "kind", "metadata", "status"}


class Unread(NamedTuple):
    """path: `spec.ingres`. near: a field of that place that its author may have meant, or ""."""

    path: str
    near: str = ""

    def reason(self, kind: str) -> str:
        """In words that follow the path, about an object of this kind."""
        hint = f": did you mean {self.near}?" if self.near else ""
        return f"is no field of a {kind} and is ignored{hint}"


def unread(document: Mapping[str, object], kind: type[msgspec.Struct]) -> tuple[Unread, ...]:
    """What of a document nobody reads; what every object has is left aside. At most MOST."""
    own = {key: value for key, value in document.items() if key not in _NOT_OURS}
    return tuple(islice(_walk(own, inspect.type_info(kind), ""), MOST))


def _walk(raw: object, info: inspect.Type, path: str) -> Iterator[Unread]:
    match info:
        case inspect.UnionType(types=types):
            for each in types:
                yield from _walk(raw, each, path)
        case inspect.VarTupleType(item_type=item) if isinstance(raw, list | tuple):
            for at, value in enumerate(raw):
                yield from _walk(value, item, f"{path}[{at}]")
        case inspect.StructType(fields=fields) if isinstance(raw, Mapping):
            known = {field.encode_name: field.type for field in fields}
            for key, value in raw.items():
                inner = f"{path}.{str(key)[:_MAX_LENGTH]}".removeprefix(".")
                if key in known:
                    yield from _walk(value, known[key], inner)
                else:
                    yield Unread(inner, next(iter(get_close_matches(str(key), known, n=1)), ""))
