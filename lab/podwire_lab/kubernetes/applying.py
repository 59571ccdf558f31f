"""Manifests given to the API server and taken back, as `kubectl apply --server-side` does it.

    document ──► where its kind is served (discovery) ──► PATCH, apply ──► its version
                                                                └──► what is wrong, by field

Namespaces go first, whatever file they stand in. The field manager is kubectl's, so that a
person's `kubectl apply --server-side` of the same file later is no conflict.

Source: kubernetes.io/docs/reference/using-api/server-side-apply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from podwire_core import typed
from podwire_core.errors import ObjectError, PodwireError
from podwire_core.feed.api_server import ApiError, ApiServer
from podwire_core.objects import ObjectName
from podwire_lab.kubernetes import api
from podwire_lab.topology import Lab

Document = Mapping[str, Any]

_FIRST = ("CustomResourceDefinition", "Namespace")
_APPLY = "application/apply-patch+yaml"
_QUERY = urlencode({"fieldManager": "kubectl", "force": "true", "fieldValidation": "Strict"})
#: How long a new namespace may be without its default ServiceAccount, which pods need.
_ACCOUNT_PATIENCE_S = 20
_SEVERAL = re.compile(r", (?=[a-z]\w*(?:[.\[][\w.\-\[\]]*)?: )")
_FIELD = re.compile(
    r"(?:^|is invalid: |: )\.?(?P<field>[a-z]\w*(?:[.\[][\w.\-\[\]\"=/]*)?): (?P<reason>.+)"
)


class Unreachable(PodwireError):  # noqa: N818 - a state of the lab
    """The API server gives no answer; the text says why."""


@dataclass(frozen=True)
class Sourced:
    """A document, and the file it stands in."""

    source: str
    document: Document

    @property
    def kind(self) -> str:
        """Its kind, as it spells it."""
        return str(self.document.get("kind") or "")

    @property
    def namespace(self) -> str:
        """Where it says that it lives; "" when it does not say."""
        return str(_metadata(self.document).get("namespace") or "")

    @property
    def name(self) -> str:
        """What it is called; "" when it is not."""
        return str(_metadata(self.document).get("name") or "")

    @property
    def label(self) -> str:
        """It, for people."""
        name = ObjectName(self.namespace, self.name) if self.name else "without a name"
        return f"{self.kind or 'object'} {name}"

    def error(self, where: str, reason: str) -> ObjectError:
        """What is wrong with it."""
        return ObjectError(self.source, self.label, where, reason)


@dataclass(frozen=True)
class Applied:
    """What the server took: names for people, each object's version, and what it refused."""

    names: tuple[str, ...] = ()
    versions: Mapping[tuple[str, ObjectName], int] = field(default_factory=dict)
    errors: tuple[ObjectError, ...] = ()


def apply(lab: Lab, documents: Sequence[Sourced]) -> Applied:
    """Apply all documents; one that is refused is an error, and the rest goes on.

    Raises Unreachable.
    """
    ordered = sorted(documents, key=lambda each: _rank(each.kind))
    return api.ask(lab, lambda server: _apply(_Door(server), ordered))


def delete(lab: Lab, documents: Sequence[Sourced]) -> Applied:
    """Delete all documents' objects, namespaces last; those that are not there are not named.

    Raises Unreachable.
    """
    ordered = sorted(documents, key=lambda each: _rank(each.kind), reverse=True)
    return api.ask(lab, lambda server: _delete(_Door(server), ordered))


def _rank(kind: str) -> int:
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)


def _apply(door: _Door, documents: Iterable[Sourced]) -> Applied:
    names: list[str] = []
    versions: dict[tuple[str, ObjectName], int] = {}
    errors: list[ObjectError] = []
    for each in documents:
        try:
            found = door.apply(each)
        except _RefusedError as refused:
            errors += refused.errors
            continue
        name = ObjectName(found.namespace, found.name)
        names.append(f"{each.kind} {name}")
        versions[each.kind, name] = int(found.resource_version)
    return Applied(tuple(names), versions, tuple(errors))


def _delete(door: _Door, documents: Iterable[Sourced]) -> Applied:
    names: list[str] = []
    errors: list[ObjectError] = []
    for each in documents:
        try:
            if door.delete(each):
                names.append(each.label)
        except _RefusedError as refused:
            errors += refused.errors
    return Applied(names=tuple(names), errors=tuple(errors))


# ------------------------------------------------------------------------------ one object


class _RefusedError(Exception):
    """The server does not take an object."""

    def __init__(self, errors: Sequence[ObjectError]) -> None:
        super().__init__()
        self.errors = tuple(errors)


class _Stamp(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    resource_version: str = "0"


class _Answer(msgspec.Struct):
    metadata: _Stamp


class _Served(msgspec.Struct):
    """One row of discovery."""

    name: str
    kind: str
    namespaced: bool


class _ServedList(msgspec.Struct):
    resources: list[_Served] = []


class _Door:
    """The server, and what of its discovery was needed so far."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._served: dict[str, dict[str, _Served]] = {}
        self._accounts: set[str] = set()

    def apply(self, each: Sourced) -> _Stamp:
        """Apply one. Raises _RefusedError, Unreachable."""
        path = self._path(each)
        if each.kind == "Pod":
            self._await_account(each.namespace or "default")
        return self._send("PATCH", f"{path}?{_QUERY}", each, each.document, _APPLY)

    def delete(self, each: Sourced) -> bool:
        """Delete one; whether it was there. Raises _RefusedError, Unreachable."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            self._server.send("DELETE", self._path(each), options)
        except ApiError as error:
            if error.status == 404:
                return False
            raise _refusal(each, error) from error
        return True

    def _send(self, method: str, path: str, each: Sourced, body: Document, kind: str) -> _Stamp:
        try:
            answer = self._server.send(method, path, body, kind)
        except ApiError as error:
            raise _refusal(each, error) from error
        return typed.decode(answer, _Answer).metadata

    def _path(self, each: Sourced) -> str:
        """Where the object is. Raises _RefusedError, Unreachable."""
        version = each.document.get("apiVersion")
        for where, value in (("apiVersion", version), ("kind", each.kind)):
            if not isinstance(value, str) or not value:
                raise _RefusedError([each.error(where, "is missing")])
        if not each.name:
            raise _RefusedError([each.error("metadata.name", "is missing")])
        base = f"/apis/{quote(str(version))}" if "/" in str(version) else f"/api/{version}"
        served = self._resources(base, each).get(each.kind)
        if served is None:
            reason = f"the API server knows no {each.kind} of {version}"
            raise _RefusedError([each.error("kind", reason)])
        where = f"/namespaces/{quote(each.namespace or 'default', '')}" if served.namespaced else ""
        return f"{base}{where}/{served.name}/{quote(each.name, '')}"

    def _resources(self, base: str, each: Sourced) -> dict[str, _Served]:
        if base not in self._served:
            try:
                rows = typed.decode(self._get(base), _ServedList).resources
            except ApiError as error:
                if error.status != 404:
                    raise _refusal(each, error) from error
                rows = []
            self._served[base] = {row.kind: row for row in rows if "/" not in row.name}
        return self._served[base]

    def _get(self, path: str) -> bytes:
        answer = self._server.get(path, {})
        try:
            return answer.body()
        finally:
            answer.release()

    def _await_account(self, namespace: str) -> None:
        """Wait for a namespace's default ServiceAccount: a pod is refused before it is there."""
        if namespace in self._accounts:
            return
        query = {
            "watch": "1",
            "fieldSelector": "metadata.name=default",
            "timeoutSeconds": str(_ACCOUNT_PATIENCE_S),
        }
        path = f"/api/v1/namespaces/{quote(namespace, '')}/serviceaccounts"
        try:
            answer = self._server.get(path, query)
        except ApiError:
            return  # the pod's own request says what is wrong
        try:
            if any(b'"ADDED"' in line for line in answer.lines()):
                self._accounts.add(namespace)
        except ApiError:
            return
        finally:
            answer.release()


# ------------------------------------------------------------------------- what is refused


def _refusal(each: Sourced, error: ApiError) -> _RefusedError:
    """What the server said of an object, a sentence for each field. Raises Unreachable."""
    if error.status == 0:
        raise Unreachable(f"the API server gives no answer: {error}") from error
    return _RefusedError(list(_reasons(each, str(error).partition(" ")[2])))


def _reasons(each: Sourced, message: str) -> Iterator[ObjectError]:
    """The server's sentence (ApiError has no more of its answer), a field at a time."""
    for sentence in _SEVERAL.split(message.partition(" is invalid: ")[2].strip("[]")):
        found = _FIELD.search(sentence or message)
        where, reason = (found["field"], found["reason"]) if found else ("", message)
        yield each.error(where, reason or "was refused")


def _metadata(document: Document) -> Mapping[str, Any]:
    metadata = document.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
