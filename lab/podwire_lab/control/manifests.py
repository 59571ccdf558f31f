"""What a user applied: each document, what the lab reads in it, or why it cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from podwire_core.errors import ObjectError
from podwire_core.feed.decode import kind_of, name_of
from podwire_core.objects import KubernetesObject, Node, ObjectName, ServiceCIDR
from podwire_core.objects.refusals import explain
from podwire_lab.workloads import LAB_KINDS

Document = dict[str, Any]

#: An object's file is KIND.NAMESPACE.NAME.json; with the longest kind, a namespace of 63 and
#: the 20 characters that a pod's name adds to its owner's, it stays below Linux' 255 bytes.
MAX_NAME = 140
MAX_FILE_NAME = 255  # Linux' NAME_MAX


class Ignored(ObjectError):  # noqa: N818 - a state of the object
    """Nobody's mistake: an object of a kind that a lab leaves aside."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """One object as its author wrote it, and as the lab reads it. Compared by identity."""

    source: str
    document: Document
    found: KubernetesObject

    @property
    def kind(self) -> str:
        """Its kind, in the API's spelling."""
        return str(self.document["kind"])

    @property
    def name(self) -> ObjectName:
        """Its namespace and name."""
        return self.found.name

    def error(self, field: str, reason: str) -> ObjectError:
        """What is wrong with it."""
        return ObjectError(self.source, f"{self.kind} {self.name}", field, reason)


def file_name(kind: str, name: ObjectName) -> str:
    """The file that holds an object: Service.shop.api.json, Node..node1.json."""
    return f"{kind}.{name.namespace}.{name.name}.json"


def read_manifest(source: str, document: Document) -> Manifest:
    """One document, decoded. Raises ObjectError when a lab cannot use it.

    Kinds that a lab does not know (ConfigMap, Ingress …) and Nodes, which are the lab's own,
    raise as well, so that a user hears what was ignored.
    """
    for field in ("apiVersion", "kind"):
        if not document.get(field):
            called = name_of(document, KubernetesObject)
            label = f"{document.get('kind') or 'object'} {called or 'without a name'}"
            raise ObjectError(source, label, field, "is missing")
    kind = kind_of(document, LAB_KINDS)
    called = name_of(document, kind or KubernetesObject)
    label = f"{document.get('kind', 'object')} {called or 'without a name'}"
    if kind is None:
        reason = f"is ignored: a lab does not know {_spelt(document)}"
        raise Ignored(source, label, "kind", reason)
    if kind is Node or kind is ServiceCIDR:
        own = "nodes are" if kind is Node else "ranges of addresses are"
        raise Ignored(source, label, "kind", f"is ignored: {own} the lab's own")
    try:
        plain = msgspec.json.decode(msgspec.json.encode(document))
        found = msgspec.convert(plain, kind)
    except (ValueError, TypeError, RecursionError) as error:
        field, reason = explain(str(error))
        raise ObjectError(source, label, field, reason) from error
    _check_name(source, label, found)
    return Manifest(source, plain, found)


def _spelt(document: Document) -> str:
    return f"{document['apiVersion']} {document['kind']}"


def _check_name(source: str, label: str, found: KubernetesObject) -> None:
    """Names become names of files and of network namespaces."""
    if len(found.metadata.name) > MAX_NAME:
        reason = f"is longer than the {MAX_NAME} characters a lab takes"
        raise ObjectError(source, label, "metadata.name", reason)


def without_doubles(
    manifests: Iterable[Manifest],
) -> tuple[tuple[Manifest, ...], tuple[ObjectError, ...]]:
    """One manifest an object: the first wins, the others are errors."""
    first: dict[str, Manifest] = {}
    errors = []
    for manifest in manifests:
        winner = first.setdefault(file_name(manifest.kind, manifest.name), manifest)
        if winner is not manifest:
            errors.append(manifest.error("", f"stands in {winner.source} already, which wins"))
    return tuple(first.values()), tuple(errors)
