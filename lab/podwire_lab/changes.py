"""What a user asks of a running lab: manifests put in, and taken out again.

the small control plane     files of manifests/ (applied)
a real one                  requests to its API server (kubernetes.applying)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podwire_core.errors import ObjectError
from podwire_core.objects import ObjectName
from podwire_lab import applied
from podwire_lab.folders import Folders
from podwire_lab.kubernetes import applying
from podwire_lab.kubernetes.applying import Sourced
from podwire_lab.kubernetes.settled import Versions
from podwire_lab.topology import Lab

#: Where a real API server has the kinds that people name in short.
_VERSIONS = {
    "Pod": "v1",
    "Service": "v1",
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "ClusterNetworkPolicy": "policy.networking.k8s.io/v1alpha2",
    "EndpointSlice": "discovery.k8s.io/v1",
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
}


@dataclass(frozen=True)
class Done:
    """What was done, named for people; what could not be; and versions to wait for.

    documents: how many there were at all.
    """

    names: tuple[str, ...]
    errors: tuple[ObjectError, ...] = ()
    versions: Versions = field(default_factory=dict)
    documents: int = 1


def apply(lab: Lab, paths: Sequence[Path]) -> Done:
    """Put manifests into the lab. Raises applying.Unreachable."""
    if lab.kubernetes:
        sourced, errors = read_documents(paths)
        return apply_documents(lab, sourced, errors)
    read = applied.read(paths)
    names = applied.apply(Folders.of(lab.name), read.manifests)
    return Done(names, read.errors, documents=len(read.manifests) + len(read.errors))


def apply_documents(
    lab: Lab, documents: Sequence[Sourced], errors: Sequence[ObjectError] = ()
) -> Done:
    """Apply to a real control plane what was read already. Raises applying.Unreachable."""
    taken = applying.apply(lab, documents)
    count = len(documents) + len(errors)
    return Done(taken.names, (*errors, *taken.errors), taken.versions, count)


def delete(lab: Lab, paths: Sequence[Path]) -> Done:
    """Take manifests out; the names of those that were there. Raises applying.Unreachable."""
    if lab.kubernetes:
        sourced, errors = read_documents(paths)
        gone = applying.delete(lab, sourced)
        return Done(gone.names, (*errors, *gone.errors))
    read = applied.read(paths)
    return Done(applied.delete(Folders.of(lab.name), read.manifests), read.errors)


def delete_named(lab: Lab, kind: str, name: ObjectName) -> Done:
    """Take one object out by its name. Raises applied.NotApplied, applying.Unreachable."""
    if not lab.kubernetes:
        return Done(applied.delete_named(Folders.of(lab.name), kind, name))
    where = {} if kind in {"Namespace", "ClusterNetworkPolicy"} else {"namespace": name.namespace}
    document = {
        "apiVersion": _VERSIONS[kind],
        "kind": kind,
        "metadata": {"name": name.name, **where},
    }
    gone = applying.delete(lab, [Sourced("", document)])
    return Done(gone.names, gone.errors)


def read_documents(paths: Sequence[Path]) -> tuple[list[Sourced], list[ObjectError]]:
    """Documents for a real control plane, and what is wrong with files."""
    found, errors = applied.documents(paths)
    return [Sourced(source, document) for source, document in found], errors
