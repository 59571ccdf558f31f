"""The API's objects as the lab's files: `python -m podwire_lab.kubernetes.mirror --lab NAME`.

    API server ──list, watch──► a document a file in objects/      what cannot be: problems.json

What reads a lab's objects (status, draw, exec, logs, DNS, the reachability table) reads the
same files, whoever runs the control plane. Documents go through as the server sent them, but
for metadata.managedFields, which is larger than all the rest and read by nobody here.

While the server is away, files stay as they are. A restart takes away what went meanwhile.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import select
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from types import FrameType
from typing import cast

import msgspec

from podwire_core.errors import ObjectError, PodwireError
from podwire_core.feed.cluster import FOUND_WITHIN_S, ClusterFeed
from podwire_core.feed.reflector import Resource
from podwire_core.files import write_json, write_whole
from podwire_core.objects import KubernetesObject, ObjectMeta, ObjectName
from podwire_core.snapshot import Change, Kind
from podwire_lab.control.manifests import MAX_FILE_NAME, file_name
from podwire_lab.folders import Folders
from podwire_lab.kubernetes import api

log = logging.getLogger("podwire.lab.mirror")

Part = msgspec.Raw | msgspec.UnsetType


class MirroredMeta(ObjectMeta, frozen=True):
    """All metadata but managedFields; selfLink and generateName are read by nobody."""

    uid: str | msgspec.UnsetType = msgspec.UNSET
    resource_version: str | msgspec.UnsetType = msgspec.UNSET
    generation: int | msgspec.UnsetType = msgspec.UNSET
    deletion_grace_period_seconds: int | msgspec.UnsetType = msgspec.UNSET
    annotations: Part = msgspec.UNSET  # type: ignore[assignment]  # all, where core's keep one
    owner_references: Part = msgspec.UNSET
    finalizers: Part = msgspec.UNSET

    def __post_init__(self) -> None:
        """Annotations go through as they are."""


class Mirrored(KubernetesObject, frozen=True):
    """An object of any of our kinds: what it is called is read, the rest goes through."""

    metadata: MirroredMeta
    spec: Part = msgspec.UNSET
    status: Part = msgspec.UNSET
    # EndpointSlice's own
    address_type: Part = msgspec.UNSET
    endpoints: Part = msgspec.UNSET
    ports: Part = msgspec.UNSET

    @property
    def name(self) -> ObjectName:
        """As the server has it: a cluster-wide object has no namespace."""
        return ObjectName(self.metadata.namespace, self.metadata.name)


_POLICIES = "policy.networking.k8s.io"
#: kind → (apiVersion, its path)
_SERVED = {
    "Node": ("v1", "/api/v1/nodes"),
    "Namespace": ("v1", "/api/v1/namespaces"),
    "Pod": ("v1", "/api/v1/pods"),
    "Service": ("v1", "/api/v1/services"),
    "EndpointSlice": ("discovery.k8s.io/v1", "/apis/discovery.k8s.io/v1/endpointslices"),
    "NetworkPolicy": ("networking.k8s.io/v1", "/apis/networking.k8s.io/v1/networkpolicies"),
    "ServiceCIDR": ("networking.k8s.io/v1", "/apis/networking.k8s.io/v1/servicecidrs"),
    "ClusterNetworkPolicy": (
        f"{_POLICIES}/v1alpha2",
        f"/apis/{_POLICIES}/v1alpha2/clusternetworkpolicies",
    ),
    "Deployment": ("apps/v1", "/apis/apps/v1/deployments"),
    "ReplicaSet": ("apps/v1", "/apis/apps/v1/replicasets"),
    "StatefulSet": ("apps/v1", "/apis/apps/v1/statefulsets"),
    "DaemonSet": ("apps/v1", "/apis/apps/v1/daemonsets"),
}
#: A struct of its own for each kind, which is how a feed tells them apart.
KINDS: dict[str, Kind] = {
    kind: cast("Kind", msgspec.defstruct(kind, (), bases=(Mirrored,), frozen=True))
    for kind in _SERVED
}
_OPTIONAL = {"ClusterNetworkPolicy"}  # its definition is no part of Kubernetes
RESOURCES = tuple(
    Resource(KINDS[kind], path, optional=kind in _OPTIONAL, absent_s=FOUND_WITHIN_S)
    for kind, (_, path) in _SERVED.items()
)


class Files:
    """The folder of objects, and what stands in it."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._digests: dict[str, bytes] = {}
        self._refused: dict[str, ObjectError] = {}
        self._problems: list[dict[str, str]] | None = None

    def take(self, change: Change) -> None:
        """Write one object, or take it away."""
        kind = change.kind.__name__
        name = file_name(kind, change.name)
        if len(name) > MAX_FILE_NAME:
            self._refuse(name, f"{kind} {change.name}", gone=change.new is None)
            return
        if change.new is None:
            self._digests.pop(name, None)
            (self._folders.objects / name).unlink(missing_ok=True)
            log.info("- %s", name.removesuffix(".json"))
            return
        content = document(cast("Mirrored", change.new))
        digest = hashlib.sha256(content).digest()
        if self._digests.get(name) != digest:
            write_whole(self._folders.objects / name, content)
            log.info("%s %s", "~" if name in self._digests else "+", name.removesuffix(".json"))
            self._digests[name] = digest

    def _refuse(self, name: str, label: str, *, gone: bool) -> None:
        """Remember what no file can hold, for as long as it is there."""
        self._refused.pop(name, None)
        if not gone:
            reason = f"is too long for a lab to show: its file's name has {len(name)} characters"
            self._refused[name] = ObjectError("the API server", label, "metadata.name", reason)

    def forget_others(self) -> None:
        """Take away what a mirror before this one left and the server has no more."""
        for path in self._folders.objects.glob("[!.]*.json"):
            if path.name not in self._digests:
                path.unlink(missing_ok=True)

    def tell(self, standing: Iterable[ObjectError]) -> None:
        """Say what cannot be shown, and what keeps us from the server."""
        problems = [asdict(each) for each in (*standing, *self._refused.values())]
        if problems != self._problems:
            write_json(self._folders.root / "problems.json", problems)
            self._problems = problems


def document(found: Mirrored) -> bytes:
    """The document to publish. Kind and version are not in what a list holds."""
    kind = type(found).__name__
    version = _SERVED[kind][0]
    head = msgspec.json.encode({"apiVersion": version, "kind": kind})
    body = msgspec.json.encode(found)
    return head[:-1] + b"," + body[1:] + b"\n"


def run(lab_name: str) -> None:
    """Keep objects/ as the server has them, for ever. Raises FeedError, OSError."""
    folders = Folders.of(lab_name)
    files = Files(folders)
    server = api.connect(folders.load())
    synced = False
    with ClusterFeed(server, RESOURCES) as feed:
        while True:
            batch = feed.read()
            for change in batch.changes:
                files.take(change)
            for error in batch.errors:
                log.warning("%s", error)
            if batch.synced and not synced:
                synced = True
                files.forget_others()
            files.tell(batch.standing)
            select.select([feed], [], [])


def _end(_signal: int, _frame: FrameType | None) -> None:
    """Files are written whole or not at all, so any moment is a good one to end."""
    logging.shutdown()
    os._exit(0)  # reflectors' threads wait for the server, and nobody waits for them


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="podwire_lab.kubernetes.mirror", description="an API server's objects as files"
    )
    parser.add_argument("--lab", required=True, help="the lab's name")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _end)
    try:
        run(options.lab)
    except (PodwireError, OSError) as error:
        log.error("%s", error)  # noqa: TRY400 - a person reads the cause, not the way to it
        sys.exit(1)


if __name__ == "__main__":
    main()
