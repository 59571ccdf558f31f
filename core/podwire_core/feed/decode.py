"""One plain document to one typed object, or to one error that names object and field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from podwire_core.errors import ObjectError
from podwire_core.objects import KubernetesObject, ObjectName
from podwire_core.objects.base import LABEL_PATTERN, NAME_PATTERN
from podwire_core.snapshot import Kind

Kinds = Mapping[tuple[str, str], Kind]

_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
#: msgspec names a pattern by its repr(); a person wants to know what it stands for.
_PATTERNS = {
    repr(NAME_PATTERN): "is no object name: use letters, digits, -, _, . and :",
    repr(LABEL_PATTERN): "is no DNS label: use a-z, 0-9 and -",
}
_QUOTED_FIELD = re.compile(r"^`(?P<field>\w+)`: ")


def kind_of(document: Mapping[str, Any], kinds: Kinds) -> Kind | None:
    """The struct for a document, by API group and kind (versions of a group read alike)."""
    version, kind = document.get("apiVersion", ""), document.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        return None
    group, slash, _version = version.partition("/")
    return kinds.get((group if slash else "", kind))


def name_of(document: Mapping[str, Any], kind: Kind) -> ObjectName | None:
    """What the document calls itself, as far as that can be read at all."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        return None
    if not kind.namespaced():
        return ObjectName("", metadata["name"])
    namespace = metadata.get("namespace") or "default"
    return ObjectName(namespace, metadata["name"]) if isinstance(namespace, str) else None


def decode(document: Mapping[str, Any], kind: Kind, source: str) -> KubernetesObject:
    """The document as its kind's struct. Raises ObjectError, naming object and field."""
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        field, reason = explain(str(error))
        called = name_of(document, kind)
        label = f"{kind.__name__} {called or 'without a name'}"
        raise ObjectError(source, label, field, reason) from error


def decode_json(raw: bytes | msgspec.Raw, kind: Kind, source: str) -> KubernetesObject:
    """The same for an object as the API sends it: straight from bytes, which is much faster."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        return decode(msgspec.json.decode(raw), kind, source)  # says what is wrong, and where


def explain(message: str) -> tuple[str, str]:
    """msgspec's sentence taken apart: ("spec.ports[0].port", "Expected `int` >= 1").

    A struct's own check begins with the field in back quotes; that field joins the path.
    """
    at = _AT.search(message)
    path, reason = (at["path"], message[: at.start()]) if at else ("", message)
    own = _QUOTED_FIELD.match(reason)
    if own:
        path = f"{path}.{own['field']}".lstrip(".")
        reason = reason[own.end() :]
    pattern = reason.removeprefix("Expected `str` matching regex ")
    return path, _PATTERNS.get(pattern, reason)
