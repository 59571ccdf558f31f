"""What a user applied: each document, what the lab reads in it, or why it cannot be used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from podwire_core import typed
from podwire_core.errors import ObjectError
from podwire_core.feed.decode import kind_of, name_of
from podwire_core.objects import (
    ClusterNetworkPolicy,
    KubernetesObject,
    NetworkPolicy,
    Node,
    ObjectName,
    ServiceCIDR,
)
from podwire_core.objects.refusals import explain
from podwire_core.objects.unread import unread
from podwire_lab.workloads import LAB_KINDS

Document = dict[str, Any]

#: An object's file is KIND.NAMESPACE.NAME.json; with the longest kind, a namespace of 63 and
#: the 20 characters that a pod's name adds to its owner's, it stays below Linux' 255 bytes.
MAX_NAME = 140
MAX_FILE_NAME = 255  # Linux' NAME_MAX

_CLUSTER_POLICIES = "policy.networking.k8s.io/v1alpha2"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_CLUSTERS_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")  # RFC 1123, as API servers have it


class Ignored(ObjectError):  # noqa: N818 - a state of the object
    """No mistake that stops anything: an object of a kind that a lab leaves aside, or a field."""


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
        reason = f"is ignored: a lab does not know {_spelt(document)}{_instead(document)}"
        raise Ignored(source, label, "kind", reason)
    if kind is Node or kind is ServiceCIDR:
        own = "nodes are" if kind is Node else "ranges of addresses are"
        raise Ignored(source, label, "kind", f"is ignored: {own} the lab's own")
    try:
        plain = msgspec.json.decode(msgspec.json.encode(document))
        found = typed.convert(plain, kind)
    except (ValueError, TypeError, RecursionError) as error:
        field, reason = explain(str(error))
        raise ObjectError(source, label, field, reason) from error
    if kind is ClusterNetworkPolicy and document["apiVersion"] != _CLUSTER_POLICIES:
        reason = f"{document['apiVersion']} is not read here: use {_CLUSTER_POLICIES}"
        raise ObjectError(source, label, "apiVersion", reason)
    _check_name(source, label, found)
    return Manifest(source, plain, found)


def _spelt(document: Document) -> str:
    return f"{document['apiVersion']} {document['kind']}"


def _instead(document: Document) -> str:
    """What to write in place of policies of an earlier version."""
    if document["kind"] not in {"AdminNetworkPolicy", "BaselineAdminNetworkPolicy"}:
        return ""
    return f"; write a ClusterNetworkPolicy of {_CLUSTER_POLICIES}, which took its place"


def doubts(manifest: Manifest) -> Iterator[Ignored]:
    """What is odd about a manifest that can be used: a cluster would refuse it, or leave it out."""
    label = f"{manifest.kind} {manifest.name}"
    if not _CLUSTERS_NAME.fullmatch(manifest.found.metadata.name):
        reason = "a cluster refuses it: use a-z, 0-9, - and ."
        yield Ignored(manifest.source, label, "metadata.name", reason)
    if isinstance(manifest.found, NetworkPolicy):
        for field in unread(manifest.document, NetworkPolicy):
            yield Ignored(manifest.source, label, field.path, field.reason(manifest.kind))


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
