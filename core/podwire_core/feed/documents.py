"""Bytes of a manifest file to plain documents, within bounds.

A manifest is hostile until proven otherwise: the file's size, the number of its documents,
how deep they nest (libyaml's composer recurses in C, and a few thousand brackets end the
process) and YAML's aliases (a kilobyte of which can stand for gigabytes) are all bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_DOCUMENTS = 20_000
MAX_ALIASES = 100
MAX_DEPTH = 100

#: libyaml when it is there: 10 times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: YAML 1.1 implicit types that Kubernetes manifests never mean: a date stays its text.
_JsonLoader: Any = type("_JsonLoader", (_Loader,), {})
_JsonLoader.yaml_implicit_resolvers = {
    first: [row for row in rows if row[0] != "tag:yaml.org,2002:timestamp"]
    for first, rows in _Loader.yaml_implicit_resolvers.items()
}


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
    documents = list(_flatten(values))
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
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise DocumentError(f"is not YAML: {_first_line(error)}") from error


def _refuse_bombs(text: str) -> None:
    """Walk the events, which libyaml makes without recursion, before anything is composed."""
    aliases = depth = 0
    for event in yaml.parse(text, _JsonLoader):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if aliases > MAX_ALIASES:
            raise DocumentError(f"uses more than {MAX_ALIASES} YAML aliases")
        if depth > MAX_DEPTH:
            raise DocumentError(f"nests deeper than {MAX_DEPTH} levels")


def _where(error: yaml.MarkedYAMLError) -> str:
    return f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _flatten(values: Iterable[Any]) -> Iterable[dict[str, Any]]:
    """Documents that are there: empty ones are left out, the items of Lists stand for the List."""
    for value in values:
        if value is None:
            continue
        if not isinstance(value, dict):
            raise DocumentError(f"holds a {type(value).__name__} where an object should stand")
        items = value.get("items")
        if str(value.get("kind", "")).endswith("List") and isinstance(items, list):
            yield from _flatten(items)
        else:
            yield value
