"""Whether a real control plane is done: nothing it was told is still on its way (pure).

every workload     its controller has seen its last version, and all its pods are new and ready
every Service      its slices have the ready pods that it selects, and no others
what was applied   has come through the mirror
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from podwire_core import typed
from podwire_core.family import canonical_network, family_of
from podwire_core.feed.decode import Kinds
from podwire_core.objects import KubernetesObject, ObjectName
from podwire_core.objects.base import ClusterObject, Struct
from podwire_core.objects.cluster import NodeSpec
from podwire_core.snapshot import Snapshot
from podwire_lab.control.manifests import MAX_FILE_NAME, file_name
from podwire_lab.workloads import (
    LAB_KINDS,
    Condition,
    LabEndpointSlice,
    LabMeta,
    LabPod,
    LabService,
)

#: Taints that Kubernetes' own controllers give and take; others are people's.
_PASSING_TAINTS = {
    f"node.kubernetes.io/{each}" for each in ("not-ready", "unreachable", "network-unavailable")
}

#: An object, and the version at which somebody left it.
Versions = Mapping[tuple[str, ObjectName], int]


class RollingUpdate(Struct, frozen=True):
    """How a StatefulSet rolls: pods below the partition stay as they are."""

    partition: int = 0


class UpdateStrategy(Struct, frozen=True):
    """Whether old pods are replaced at all: with OnDelete, by hand."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class WorkloadSpec(Struct, frozen=True):
    """How many pods its author wants; a DaemonSet's author does not say."""

    replicas: int = 1
    update_strategy: UpdateStrategy = UpdateStrategy()


class WorkloadStatus(Struct, frozen=True):
    """How far its controller is. The last three are a DaemonSet's."""

    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    updated_number_scheduled: int = 0


class Workload(KubernetesObject, frozen=True):
    """What pods are made from, as a real controller says how it stands."""

    metadata: LabMeta
    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()

    @property
    def lags(self) -> str:
        """What of it is still on its way, in a few words; "" when nothing is."""
        if self.status.observed_generation < self.metadata.generation:
            return "its last change is not seen yet"
        wanted, there, ready = self._counts()
        new, updated = self._rolled()
        if updated < new:
            return f"{updated} of {new} pods are of its last version"
        if ready < wanted or there != wanted:
            return f"{ready} of {wanted} pods are ready, {there} are there"
        return ""

    def _counts(self) -> tuple[int, int, int]:
        """Pods that are wanted, there, ready."""
        return self.spec.replicas, self.status.replicas, self.status.ready_replicas

    def _rolled(self) -> tuple[int, int]:
        """Pods that are to be of its last version, and that are."""
        return self.spec.replicas, self.status.updated_replicas


class RealDeployment(Workload, frozen=True):
    """A Deployment."""


class RealReplicaSet(Workload, frozen=True):
    """A ReplicaSet: it rolls nothing."""

    def _rolled(self) -> tuple[int, int]:
        return 0, 0


class RealStatefulSet(Workload, frozen=True):
    """A StatefulSet."""

    def _rolled(self) -> tuple[int, int]:
        strategy = self.spec.update_strategy
        if strategy.type == "OnDelete":
            return 0, 0
        partition = strategy.rolling_update.partition if strategy.rolling_update else 0
        return self.spec.replicas - partition, self.status.updated_replicas


class RealDaemonSet(Workload, frozen=True):
    """A DaemonSet: a pod on each node that it is for."""

    def _counts(self) -> tuple[int, int, int]:
        wanted = self.status.desired_number_scheduled
        return wanted, wanted, self.status.number_ready

    def _rolled(self) -> tuple[int, int]:
        if self.spec.update_strategy.type == "OnDelete":
            return 0, 0
        return self.status.desired_number_scheduled, self.status.updated_number_scheduled


class RegisteredSpec(NodeSpec, frozen=True):
    """Its podCIDRs, and what keeps pods away."""

    def __post_init__(self) -> None:
        """Every taint is kept, where core's Node keeps one."""
        self._set_canonical("pod_cidrs", canonical_network)


class RegisteredStatus(Struct, frozen=True):
    """What a kubelet says of its node."""

    conditions: tuple[Condition, ...] | None = None


class RegisteredNode(ClusterObject, frozen=True):
    """A node as its kubelet registered it; core's Node keeps no condition but the network's."""

    spec: RegisteredSpec = RegisteredSpec()
    status: RegisteredStatus = RegisteredStatus()

    @property
    def lacks(self) -> str:
        """What keeps it from taking pods, in a few words; "" when nothing does."""
        if not self.spec.pod_cidrs:
            return "its Node has no podCIDRs yet"
        rows = self.status.conditions or ()
        if not any(row.type == "Ready" and row.status == "True" for row in rows):
            return "its Node is not Ready yet"
        taints = {row.key for row in self.spec.taints or ()} & _PASSING_TAINTS
        return f"its Node still has the taint {min(taints)}" if taints else ""


_WORKLOADS = (RealDeployment, RealReplicaSet, RealStatefulSet, RealDaemonSet)

#: What a lab reads of a real control plane's objects.
KUBERNETES_KINDS: Kinds = {
    **LAB_KINDS,
    ("", "Node"): RegisteredNode,
    **{("apps", kind.__name__.removeprefix("Real")): kind for kind in _WORKLOADS},
}
_KINDS = {kind for _, kind in LAB_KINDS}


def unsettled(snapshot: Snapshot) -> tuple[str, ...]:
    """What is still on its way, a sentence each. The snapshot is one of KUBERNETES_KINDS."""
    return (*_lagging_workloads(snapshot), *_lagging_services(snapshot))


def not_mirrored(objects: Path, versions: Versions) -> tuple[str, ...]:
    """What was applied at a version that the folder of objects does not show yet.

    Kinds that a lab does not read, and names that no file can have, are never shown.
    """
    return tuple(
        f"{kind} {name} has not come through yet"
        for (kind, name), version in versions.items()
        if kind in _KINDS
        and len(file := file_name(kind, name)) <= MAX_FILE_NAME
        and _version(objects / file) < version
    )


def _lagging_workloads(snapshot: Snapshot) -> Iterator[str]:
    for kind in _WORKLOADS:
        for each in snapshot.all(kind):
            if each.lags:
                yield f"{kind.__name__.removeprefix('Real')} {each.name}: {each.lags}"


def _lagging_services(snapshot: Snapshot) -> Iterator[str]:
    slices: dict[ObjectName, set[str]] = {}
    for each in snapshot.all(LabEndpointSlice):
        if each.service:
            there = slices.setdefault(each.service, set())
            there |= {ip for row in each.endpoints or () if row.ready for ip in row.addresses}
    for service in snapshot.all(LabService):
        if service.spec.selector and not service.spec.publish_not_ready_addresses:
            wanted = _ready_addresses(service, snapshot)
            if slices.get(service.name, set()) != wanted:
                yield f"Service {service.name}: its endpoints are not those of its ready pods yet"


def _ready_addresses(service: LabService, snapshot: Snapshot) -> set[str]:
    """Addresses of the ready pods that a Service selects, in its families."""
    selector = (service.spec.selector or {}).items()
    families = service.spec.ip_families or ()
    return {
        ip
        for pod in snapshot.all(LabPod)
        if pod.name.namespace == service.name.namespace
        and selector <= pod.labels.items()
        and pod.ready
        and not pod.terminating
        and not pod.finished
        for ip in (row.ip for row in pod.status.pod_ips or ())
        if family_of(ip) in families
    }


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = "0"


class _Stamp(msgspec.Struct):
    metadata: _Meta


def _version(file: Path) -> int:
    """The version of the object in a file; 0 while there is none. Versions compare: KEP 5504."""
    try:
        return int(typed.decode(file.read_bytes(), _Stamp).metadata.resource_version)
    except (OSError, ValueError):
        return 0
