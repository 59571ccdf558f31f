"""What a user applied, as files: manifests checked and put into the lab, and taken out again."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire_core import typed
from podwire_core.errors import ObjectError, PodwireError
from podwire_core.feed.directory import SUFFIXES
from podwire_core.feed.documents import MAX_FILE_BYTES, DocumentError, parse_documents
from podwire_core.files import write_json
from podwire_core.objects import ObjectName
from podwire_lab.control.controller import read_bounded
from podwire_lab.control.manifests import (
    Document,
    Ignored,
    Manifest,
    doubts,
    file_name,
    read_manifest,
)
from podwire_lab.folders import Folders
from podwire_lab.workloads import LabPod, OwnerReference

#: Kinds as people type them.
_KINDS = {
    "Pod": ("pod", "pods", "po"),
    "Service": ("service", "services", "svc"),
    "Namespace": ("namespace", "namespaces", "ns"),
    "NetworkPolicy": ("networkpolicy", "networkpolicies", "netpol"),
    "ClusterNetworkPolicy": ("clusternetworkpolicy", "clusternetworkpolicies", "cnp"),
    "EndpointSlice": ("endpointslice", "endpointslices"),
    "Deployment": ("deployment", "deployments", "deploy"),
    "ReplicaSet": ("replicaset", "replicasets", "rs"),
    "StatefulSet": ("statefulset", "statefulsets", "sts"),
    "DaemonSet": ("daemonset", "daemonsets", "ds"),
}
_CLUSTER_WIDE = {"ClusterNetworkPolicy"}
_SPELLINGS = {word: kind for kind, words in _KINDS.items() for word in words}


class NotApplied(PodwireError):  # noqa: N818 - a state of the lab
    """Nothing of that name was applied; the text says what could be meant."""


@dataclass(frozen=True)
class Read:
    """What files hold: usable manifests in order, what is wrong with the others, what is odd."""

    manifests: tuple[Manifest, ...]
    errors: tuple[ObjectError, ...]


def kind_called(word: str) -> str | None:
    """The kind that a person means: deploy, deployments and Deployment are Deployment."""
    return _SPELLINGS.get(word.lower())


def read(paths: Iterable[Path]) -> Read:
    """Manifests of files, of folders (not of folders in them), and of standard input ("-")."""
    found, errors = documents(paths)
    manifests: list[Manifest] = []
    for source, document in found:
        try:
            manifests.append(read_manifest(source, document))
        except ObjectError as error:
            errors.append(error)
        else:
            errors.extend(doubts(manifests[-1]))
    return Read(tuple(manifests), tuple(errors))


def documents(paths: Iterable[Path]) -> tuple[list[tuple[str, Document]], list[ObjectError]]:
    """Every document with the file it stands in, and what is wrong with files."""
    found: list[tuple[str, Document]] = []
    errors: list[ObjectError] = []
    for file in _files(paths, errors):
        try:
            parsed = parse_documents(_bytes(file), is_json=file.suffix == ".json")
        except (OSError, DocumentError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            errors.append(ObjectError(str(file), "", "", reason or str(error)))
        else:
            found += [(str(file), document) for document in parsed]
    return found, errors


def is_ignored(error: ObjectError) -> bool:
    """Whether it is about what a lab leaves aside, rather than about a mistake that stops it."""
    return isinstance(error, Ignored)


def apply(folders: Folders, manifests: Sequence[Manifest]) -> tuple[str, ...]:
    """Put manifests into the lab, each in the place of an earlier one of its name; their names."""
    for manifest in manifests:
        write_json(folders.manifests / _file(manifest), manifest.document)
    return tuple(f"{manifest.kind} {manifest.name}" for manifest in manifests)


def delete(folders: Folders, manifests: Sequence[Manifest]) -> tuple[str, ...]:
    """Take manifests out of the lab; the names of those that were there."""
    gone = []
    for manifest in manifests:
        file = folders.manifests / _file(manifest)
        if file.exists():
            gone += _take(file)
        if manifest.kind == "Namespace":
            gone += _empty(folders, manifest.name.name)
    return tuple(gone)


def delete_named(folders: Folders, kind: str, name: ObjectName) -> tuple[str, ...]:
    """Take one object out by its name, a namespace with all that was applied in it; their names.

    Raises NotApplied.
    """
    inside: list[str] = []
    if kind == "Namespace":
        inside = _empty(folders, name.name)
        name = ObjectName("", name.name)
    elif kind in _CLUSTER_WIDE:
        name = ObjectName("", name.name)
    # Only names of files that are there: what a person types never becomes a path.
    there = {file.name: file for file in folders.manifests.glob("*.json")}
    file = there.get(file_name(kind, name))
    if file is not None:
        return (*_take(file), *inside)
    if inside:
        return tuple(inside)
    if kind == "Pod" and (owner := _owner(folders, name)):
        raise NotApplied(
            f"pod {name} belongs to {owner.kind} {owner.name}, which would make another:"
            f" `podwire lab delete {_KINDS[owner.kind][-1]}/{owner.name} -n {name.namespace}`"
            " takes all of its pods away"
        )
    raise NotApplied(f"no {kind} {name} was applied here: {_those_there(there, kind)}")


def _take(file: Path) -> list[str]:
    """Take one file away; its object's name, or none when somebody else was first."""
    kind, namespace, name = file.name.removesuffix(".json").split(".", 2)
    try:
        file.unlink()
    except FileNotFoundError:
        return []
    return [f"{kind} {ObjectName(namespace, name)}"]


def _empty(folders: Folders, namespace: str) -> list[str]:
    """Take out everything of a namespace. A namespace's name has no dot (objects.Label)."""
    if not namespace:  # what lives in none belongs to none
        return []
    files = sorted(folders.manifests.glob("[!.]*.json"))
    return [name for file in files if file.name.split(".")[1] == namespace for name in _take(file)]


def _owner(folders: Folders, pod: ObjectName) -> OwnerReference | None:
    """Who made a pod; None for one that is not there, or that a user wrote."""
    files = {file.name: file for file in folders.objects.glob("Pod.*.json")}
    try:
        raw = files[file_name("Pod", pod)].read_bytes()
    except (KeyError, OSError):
        return None
    return typed.decode(raw, LabPod).owner


def _those_there(there: Iterable[str], kind: str) -> str:
    names = sorted(f.removeprefix(f"{kind}.") for f in there if f.startswith(f"{kind}."))
    plain = (name.removesuffix(".json").replace(".", "/", 1).removeprefix("/") for name in names)
    known = ", ".join(plain)
    return f"there are {known}" if known else "there is none of this kind"


def _file(manifest: Manifest) -> str:
    return file_name(manifest.kind, manifest.name)


def _files(paths: Iterable[Path], errors: list[ObjectError]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        if not inside:
            errors.append(ObjectError(str(path), "", "", "holds no *.yaml, *.yml or *.json"))
        yield from inside


def _bytes(file: Path) -> bytes:
    """What is in it, as far as a reader needs it to see that it is too much."""
    if str(file) == "-":
        return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    return read_bounded(file)
