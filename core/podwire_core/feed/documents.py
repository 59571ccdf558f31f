"""Bytes of a manifest file to plain documents, within bounds.

A manifest is hostile until proven otherwise: the file's size, the number of its documents,
how deep they nest (libyaml's composer recurses in C, and a few thousand brackets end the
process), YAML's aliases (a kilobyte of which can stand for gigabytes) and its numbers (base 60
takes quadratic time) are all bounded. Aliases are allowed, because manifests merge with
`<<: *common`; one that holds itself is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
import yaml

from podwire_core.feed.doubled_keys import DoubledKeys

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_DOCUMENTS = 20_000
MAX_ALIASES = 100
#: How many nodes a file's aliases may stand for, all together.
MAX_ALIASED_NODES = 1_000_000
MAX_DEPTH = 100
MAX_NUMBER_LENGTH = 100

#: libyaml when it is there: 10 times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: YAML 1.1 implicit types that Kubernetes manifests never mean: a date stays its text.
_JsonLoader: Any = type("_JsonLoader", (_Loader,), {})
_JsonLoader.yaml_implicit_resolvers = {
    first: [row for row in rows if row[0] != "tag:yaml.org,2002:timestamp"]
    for first, rows in _Loader.yaml_implicit_resolvers.items()
}


def _bounded_integer(loader: Any, node: yaml.ScalarNode) -> int:
    if len(node.value) > MAX_NUMBER_LENGTH:
        problem = f"a number is longer than {MAX_NUMBER_LENGTH} characters"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return int(loader.construct_yaml_int(node))


_JsonLoader.add_constructor("tag:yaml.org,2002:int", _bounded_integer)


class DocumentError(ValueError):
    """A file that does not hold documents; the text says why, with the line where known."""


def parse_documents(data: bytes, *, is_json: bool) -> list[dict[str, Any]]:
    """The documents of one file: YAML streams, JSON values, and `List` objects taken apart.

    Raises DocumentError when the file cannot be read as a whole.
    """
    if len(data) > MAX_FILE_BYTES:
        raise DocumentError(f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not UTF-8 text (byte {error.start})") from error
    values = _parse_json(text) if is_json else _parse_yaml(text)
    documents = list(islice(_flatten(values), MAX_DOCUMENTS + 1))
    if len(documents) > MAX_DOCUMENTS:
        raise DocumentError(f"holds more than {MAX_DOCUMENTS} objects")
    return documents


def _parse_json(text: str) -> list[Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DocumentError(f"is not JSON: {error}") from error
    return value if isinstance(value, list) else [value]


def _parse_yaml(text: str) -> list[Any]:
    try:
        _refuse_bombs(text)
        return list(yaml.load_all(text, _JsonLoader))
    except yaml.MarkedYAMLError as error:
        raise DocumentError(f"is not YAML: {_where(error)}{error.problem}") from error
    except DocumentError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError(f"is not YAML: {_first_line(error)}") from error
    except Exception as error:  # PyYAML's constructors: KeyError, IndexError, AttributeError…
        raise DocumentError("is not YAML: a value does not fit its tag") from error


def _refuse_bombs(text: str) -> None:
    """Walk the events, which libyaml makes without recursion, before anything is composed."""
    document = _Extent()
    keys = DoubledKeys()
    aliases = nodes = 0
    for event in yaml.parse(text, _JsonLoader):
        match event:
            case yaml.DocumentStartEvent():
                document = _Extent()
            case yaml.CollectionStartEvent():
                document.open(event.anchor)
                keys.open(is_mapping=isinstance(event, yaml.MappingStartEvent))
            case yaml.CollectionEndEvent():
                document.close()
                keys.close()
            case yaml.ScalarEvent():
                document.add(event.anchor)
                keys.add(event.value, event.start_mark.line if event.start_mark else 0)
            case yaml.AliasEvent():
                keys.add()
                aliases += 1
                nodes += document.repeat(event.anchor)
        if aliases > MAX_ALIASES:
            raise DocumentError(f"uses more than {MAX_ALIASES} YAML aliases")
        if nodes > MAX_ALIASED_NODES:
            raise DocumentError(f"has YAML aliases that stand for over {MAX_ALIASED_NODES} values")


@dataclass(slots=True)
class _Node:
    """A node with its aliases written out. size: itself and all below. height: levels below."""

    anchor: str | None = None
    size: int = 1
    height: int = 0


@dataclass(slots=True)
class _Extent:
    """How large and how deep one document is, with its aliases written out."""

    _open: list[_Node] = field(default_factory=list)
    _anchors: dict[str, _Node] = field(default_factory=dict)

    def open(self, anchor: str | None) -> None:
        """A collection begins."""
        self._open.append(_Node(anchor))
        self._bound(0)

    def close(self) -> None:
        """The innermost collection ends."""
        node = self._open.pop()
        node.height += 1
        self._take(node, node.anchor)

    def add(self, anchor: str | None) -> None:
        """A scalar."""
        self._take(_Node(), anchor)

    def repeat(self, anchor: str | None) -> int:
        """An alias: the size of what it stands for."""
        if any(node.anchor == anchor for node in self._open):
            raise DocumentError("uses a YAML alias of what it stands in")
        node = self._anchors.get(anchor or "", _Node())  # the composer refuses one that is unknown
        self._take(node, None)
        return node.size

    def _take(self, node: _Node, anchor: str | None) -> None:
        self._bound(node.height)
        if anchor is not None:
            self._anchors[anchor] = node
        if self._open:
            outer = self._open[-1]
            outer.size += node.size
            outer.height = max(outer.height, node.height)

    def _bound(self, height: int) -> None:
        if len(self._open) + height > MAX_DEPTH:
            raise DocumentError(f"nests deeper than {MAX_DEPTH} levels")


def _where(error: yaml.MarkedYAMLError) -> str:
    return f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _flatten(values: list[Any]) -> Iterator[dict[str, Any]]:
    """Documents that are there: empty ones are left out, the items of Lists stand for the List."""
    levels = [iter(values)]
    while levels:
        value = next(levels[-1], _END)
        if value is _END:
            levels.pop()
        elif isinstance(value, dict):
            items = value.get("items")
            if not _is_list(value.get("kind")) or not isinstance(items, list):
                yield value
            elif len(levels) >= MAX_DEPTH:
                raise DocumentError(f"nests deeper than {MAX_DEPTH} levels")
            else:
                levels.append(iter(items))
        elif value is not None:
            raise DocumentError(f"holds a {type(value).__name__} where an object should stand")


_END = object()


def _is_list(kind: object) -> bool:
    return isinstance(kind, str) and kind.endswith("List")
