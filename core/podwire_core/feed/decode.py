"""One plain document to one typed object, or to one error that names object and field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from podwire_core import typed
from podwire_core.errors import ObjectError
from podwire_core.objects import KubernetesObject, ObjectName
from podwire_core.objects.refusals import explain
from podwire_core.snapshot import Kind

Kinds = Mapping[tuple[str, str], Kind]


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
        return typed.convert(document, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        field, reason = explain(str(error))
        called = name_of(document, kind)
        label = f"{kind.__name__} {called or 'without a name'}"
        raise ObjectError(source, label, field, reason) from error


def decode_json(raw: bytes | msgspec.Raw, kind: Kind, source: str) -> KubernetesObject:
    """The same for an object as the API sends it: straight from bytes, which is much faster."""
    try:
        return typed.decode(raw, kind)
    except msgspec.ValidationError:
        return decode(msgspec.json.decode(raw), kind, source)  # says what is wrong, and where
