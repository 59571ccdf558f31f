"""What the lab reads of Kubernetes objects beyond what an agent reads: how pods run.

    Pod                                  → LabPod: containers, probes, uid, readiness
    Deployment, ReplicaSet               → Replicas    pods of one template, any names
    StatefulSet                          → StatefulSet pods of one template, names that stay
    DaemonSet                            → DaemonSet   one pod a node
    Service, EndpointSlice               → with the fields that DNS and the control plane need

Structs are views: the control plane publishes a pod's spec as its author wrote it, so nothing
that a struct does not know is lost on the way to the runner.

Sources: Kubernetes API reference, core/v1, apps/v1, discovery.k8s.io/v1.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from podwire_core.feed.decode import Kinds
from podwire_core.objects import (
    ClusterNetworkPolicy,
    Container,
    Endpoint,
    EndpointSlice,
    KubernetesObject,
    Namespace,
    NetworkPolicy,
    Node,
    ObjectMeta,
    Pod,
    PodSpec,
    PodStatus,
    Port,
    Protocol,
    Service,
    ServiceCIDR,
    ServiceSpec,
    Struct,
)
from podwire_core.objects.base import Label
from podwire_core.selectors import LabelSelector

HOSTNAME_LABEL = "kubernetes.io/hostname"
#: The annotation that says which version of its template a pod was made from.
REVISION = "podwire.lab/revision"

#: The annotation that lets a pod take longer to go than LONGEST_GRACE_S, in whole seconds.
LONGEST_GRACE = "podwire.lab/longest-grace"
#: A lab's pods go quickly, whatever a manifest made for production says.
LONGEST_GRACE_S = 3

Count = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
#: A DNS label, which is what Kubernetes asks for: it becomes part of a file's name.
ContainerName = Annotated[Label, msgspec.Meta(min_length=1)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=86_400)]


class OwnerReference(Struct, frozen=True):
    """Who made an object."""

    kind: str
    name: str


class LabMeta(ObjectMeta, frozen=True):
    """Metadata with the identity: uid tells a pod from an earlier one of its name."""

    uid: str = ""
    generation: int = 0
    deletion_grace_period_seconds: int | None = None
    annotations: dict[str, str] | None = None  # type: ignore[assignment]  # core's keep one
    owner_references: tuple[OwnerReference, ...] | None = None

    def __post_init__(self) -> None:
        """All annotations are kept: ours say from which template a pod was made."""


# ------------------------------------------------------------------------ containers


class HTTPGet(Struct, frozen=True):
    """A probe that succeeds on a status of 200 to 399. `port` may be a container port's name."""

    port: Port | str
    path: str = "/"


class TCPSocket(Struct, frozen=True):
    """A probe that succeeds when the port accepts."""

    port: Port | str


class Exec(Struct, frozen=True):
    """A probe that succeeds when the command, run in the container, exits with 0."""

    command: tuple[str, ...] = ()


class Probe(Struct, frozen=True):
    """How to find out whether a container may be sent to. No handler: it always may."""

    http_get: HTTPGet | None = None
    tcp_socket: TCPSocket | None = None
    exec: Exec | None = None
    initial_delay_seconds: Seconds = 0
    period_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 10
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 1
    success_threshold: Annotated[int, msgspec.Meta(ge=1)] = 1
    failure_threshold: Annotated[int, msgspec.Meta(ge=1)] = 3


class FieldRef(Struct, frozen=True):
    """A field of the pod itself: metadata.name, status.podIP and their like."""

    field_path: str


class EnvSource(Struct, frozen=True):
    """Where a variable's value comes from; a lab knows no Secrets and no ConfigMaps."""

    field_ref: FieldRef | None = None


class EnvVar(Struct, frozen=True):
    """One variable of a container's environment."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[^=\0]+$")]
    value: str = ""
    value_from: EnvSource | None = None


class VolumeMount(Struct, frozen=True):
    """Where a volume is mounted; of all volumes a lab has the ServiceAccount's alone."""

    mount_path: str


class LabContainer(Container, frozen=True, kw_only=True):
    """One container. `image` is only shown: a lab runs commands of its host."""

    name: ContainerName
    image: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[EnvVar, ...] | None = None
    readiness_probe: Probe | None = None
    volume_mounts: tuple[VolumeMount, ...] | None = None

    def port(self, wanted: int | str) -> int | None:
        """A port's number by number or name; None for a name that it does not declare."""
        if isinstance(wanted, int):
            return wanted
        return {row.name: row.container_port for row in self.ports or ()}.get(wanted)


# ------------------------------------------------------------------------------- Pod


class ReadinessGate(Struct, frozen=True):
    """A condition that someone else sets, without which the pod is not ready."""

    condition_type: str


class LabPodSpec(PodSpec, frozen=True):
    """How a pod runs, and where."""

    containers: tuple[LabContainer, ...] | None = None
    init_containers: tuple[LabContainer, ...] | None = None
    restart_policy: str = "Always"
    node_selector: dict[str, str] | None = None
    hostname: str = ""
    subdomain: str = ""
    termination_grace_period_seconds: Seconds = 30
    readiness_gates: tuple[ReadinessGate, ...] | None = None
    service_account_name: str = ""

    def __post_init__(self) -> None:
        if self.restart_policy not in {"Always", "OnFailure", "Never"}:
            raise ValueError(f"`restartPolicy`: {self.restart_policy!r} is no restart policy")
        names = [each.name for each in (*(self.init_containers or ()), *(self.containers or ()))]
        if not self.containers:
            raise ValueError("`containers`: a pod needs at least one")
        if len(set(names)) < len(names):
            raise ValueError("`containers`: two of them have one name")


class Condition(Struct, frozen=True):
    """One condition of a pod; `status` is "True", "False" or "Unknown"."""

    type: str
    status: str
    last_transition_time: str | None = None


class ContainerStatus(Struct, frozen=True):
    """What is known of one container."""

    name: str
    ready: bool = False
    restart_count: int = 0


class LabPodStatus(PodStatus, frozen=True):
    """The pod's phase, addresses and readiness; `message` is for people."""

    message: str = ""
    start_time: str | None = None
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None

    def holds(self, condition: str) -> bool:
        """Whether a condition is True."""
        rows = self.conditions or ()
        return any(row.type == condition and row.status == "True" for row in rows)


class LabPod(Pod, frozen=True, kw_only=True):
    """A pod as the runner needs it. Its spec is required: a pod runs something."""

    metadata: LabMeta  # type: ignore[assignment]  # it has a uid too, which core's keep differently
    spec: LabPodSpec
    status: LabPodStatus = LabPodStatus()

    @property
    def ready(self) -> bool:
        """Whether its Ready condition holds."""
        return self.status.holds("Ready")

    @property
    def terminating(self) -> bool:
        """Whether it has been told to go."""
        return self.metadata.deletion_timestamp is not None

    @property
    def finished(self) -> bool:
        """Whether all its containers have ended for good."""
        return self.status.phase in {"Succeeded", "Failed"}

    @property
    def owner(self) -> OwnerReference | None:
        """Who made it; None for a pod that a user wrote."""
        return next(iter(self.metadata.owner_references or ()), None)

    @property
    def revision(self) -> str:
        """The version of the template that it was made from."""
        return (self.metadata.annotations or {}).get(REVISION, "")

    @property
    def longest_grace(self) -> int:
        """Seconds that it may take to go when it is told to, at most."""
        asked = (self.metadata.annotations or {}).get(LONGEST_GRACE, "")
        return int(asked) if re.fullmatch(r"[0-9]{1,5}", asked) else LONGEST_GRACE_S

    def port(self, wanted: int | str, protocol: Protocol) -> int | None:
        """A Service's targetPort in this pod; None when the pod declares no port of that name."""
        if isinstance(wanted, int):
            return wanted
        named = {(row.name, row.protocol): row.container_port for row in self.ports}
        return named.get((wanted, protocol))


# ------------------------------------------------------------- what pods are made from


class TemplateMeta(Struct, frozen=True):
    """Metadata that every pod of a template gets."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class PodTemplate(Struct, frozen=True, kw_only=True):
    """The pod that an owner makes copies of."""

    metadata: TemplateMeta = TemplateMeta()
    spec: LabPodSpec


class OwnerSpec(Struct, frozen=True, kw_only=True):
    """A selector, and the template that it must match."""

    selector: LabelSelector
    template: PodTemplate

    def __post_init__(self) -> None:
        if not self.selector.matches(self.template.metadata.labels or {}):
            raise ValueError("`selector`: does not match the template's labels")


class ReplicasSpec(OwnerSpec, frozen=True, kw_only=True):
    """How many pods."""

    replicas: Count = 1


class StatefulSetSpec(ReplicasSpec, frozen=True, kw_only=True):
    """How many pods, and the headless Service that names them."""

    service_name: str = ""


class Replicas(KubernetesObject, frozen=True, kw_only=True):
    """So many pods of one template; a change of the template rolls."""

    spec: ReplicasSpec


class Deployment(Replicas, frozen=True, kw_only=True):
    """Replicas, as most people write them."""


class ReplicaSet(Replicas, frozen=True, kw_only=True):
    """Replicas; in a lab a ReplicaSet rolls as a Deployment does."""


class StatefulSet(KubernetesObject, frozen=True, kw_only=True):
    """NAME-0, NAME-1 …, each with its own DNS name."""

    spec: StatefulSetSpec


class DaemonSet(KubernetesObject, frozen=True, kw_only=True):
    """A pod on each node that the template's nodeSelector allows."""

    spec: OwnerSpec


# ------------------------------------------------------------- Service, EndpointSlice


class LabServiceSpec(ServiceSpec, frozen=True):
    """A Service's spec with what allocation, endpoints and DNS need."""

    external_name: str = ""
    publish_not_ready_addresses: bool = False
    allocate_load_balancer_node_ports: bool = True
    load_balancer_class: str = ""
    traffic_distribution: str | None = None


class LabService(Service, frozen=True):
    """A Service as the control plane and DNS read it."""

    spec: LabServiceSpec = LabServiceSpec()

    @property
    def headless(self) -> bool:
        """Whether its name stands for its endpoints rather than for an address of its own."""
        return self.spec.cluster_ip == "None"

    @property
    def outer_ips(self) -> tuple[str, ...]:
        """Addresses for those outside the cluster: its balancer's, and those its author named."""
        ingress = self.status.load_balancer.ingress or ()
        named = self.spec.external_ips or ()
        return (*(row.ip for row in ingress if row.ip), *named)


class LabEndpoint(Endpoint, frozen=True):
    """An endpoint with the name that DNS knows it by."""

    hostname: str = ""


class LabEndpointSlice(EndpointSlice, frozen=True):
    """A slice as DNS reads it."""

    endpoints: tuple[LabEndpoint, ...] | None = None

    def ready_for(self, service: Service) -> int:
        """How many endpoints it gives a Service; none when no port of the Service leads there."""
        if service.spec.ports and not self.ports:
            return 0
        return sum(endpoint.ready for endpoint in self.endpoints or ())


#: For DirectoryFeed(folder, LAB_KINDS): everything a lab reads, by (API group, kind).
LAB_KINDS: Kinds = {
    ("", "Node"): Node,
    ("", "Namespace"): Namespace,
    ("", "Pod"): LabPod,
    ("", "Service"): LabService,
    ("discovery.k8s.io", "EndpointSlice"): LabEndpointSlice,
    ("networking.k8s.io", "NetworkPolicy"): NetworkPolicy,
    ("networking.k8s.io", "ServiceCIDR"): ServiceCIDR,
    ("policy.networking.k8s.io", "ClusterNetworkPolicy"): ClusterNetworkPolicy,
    ("apps", "Deployment"): Deployment,
    ("apps", "ReplicaSet"): ReplicaSet,
    ("apps", "StatefulSet"): StatefulSet,
    ("apps", "DaemonSet"): DaemonSet,
}
