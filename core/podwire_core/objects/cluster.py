"""Nodes, namespaces and pods (core/v1)."""

from __future__ import annotations

import msgspec
from msgspec.structs import force_setattr

from podwire_core.family import canonical_address, canonical_network
from podwire_core.objects.base import (
    Annotations,
    ClusterObject,
    KubernetesObject,
    Label,
    ObjectMeta,
    Port,
    Protocol,
    Struct,
)

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
#: The condition that cloud controllers set and whoever gives pods their network clears.
NETWORK_UNAVAILABLE = "NetworkUnavailable"
ZONE_LABEL = "topology.kubernetes.io/zone"
#: The taint of a Node that the cluster autoscaler is about to take away.
TO_BE_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"


class NodeAddress(Struct, frozen=True):
    """One row of status.addresses; only InternalIP and ExternalIP hold addresses."""

    type: str
    address: str

    def __post_init__(self) -> None:
        if self.type.endswith("IP"):
            self._set_canonical("address", canonical_address)


class Taint(Struct, frozen=True):
    """What keeps pods away from a node."""

    key: str


class NodeSpec(Struct, frozen=True):
    """podCIDRs: at most one per family. Of all taints only TO_BE_DELETED_TAINT is kept."""

    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] | None = None
    taints: tuple[Taint, ...] | None = None

    def __post_init__(self) -> None:
        self._set_canonical("pod_cidr", canonical_network)
        self._set_canonical("pod_cidrs", canonical_network)
        if self.taints is not None:
            kept = tuple(row for row in self.taints if row.key == TO_BE_DELETED_TAINT)
            force_setattr(self, "taints", kept or None)


class NodeCondition(Struct, frozen=True):
    """One row of status.conditions; status is True, False or Unknown."""

    type: str
    status: str = "Unknown"


class NodeStatus(Struct, frozen=True):
    """The node's addresses, and whether its network is up.

    Of all conditions only NetworkUnavailable is kept: nothing of ours reads the others, and a
    Node whose disk fills up is no change to us.
    """

    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[NodeCondition, ...] | None = None

    def __post_init__(self) -> None:
        if self.conditions:
            kept = tuple(row for row in self.conditions if row.type == NETWORK_UNAVAILABLE)
            force_setattr(self, "conditions", kept or None)


class Node(ClusterObject, frozen=True):
    """A machine of the cluster."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """CIDRs its pods get their addresses from; empty while no one has given it any."""
        return self.spec.pod_cidrs or ((self.spec.pod_cidr,) if self.spec.pod_cidr else ())

    @property
    def network_unavailable(self) -> str:
        """NetworkUnavailable's status: True, False, Unknown; "" where no one has set it."""
        return self.status.conditions[0].status if self.status.conditions else ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of its addresses, in the order the API lists them; names are none."""
        rows = (row for row in self.status.addresses or () if row.type.endswith("IP"))
        return tuple(row.address for row in rows if row.address)

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """Its addresses on the cluster's network, in the order the API lists them."""
        rows = (row for row in self.status.addresses or () if row.type == "InternalIP")
        return tuple(row.address for row in rows if row.address)

    @property
    def zone(self) -> str:
        """The zone it stands in; "" where no one says."""
        return self.labels.get(ZONE_LABEL, "")

    @property
    def leaving(self) -> bool:
        """Whether it is about to go: deleted, or chosen by the cluster autoscaler."""
        return bool(self.metadata.deletion_timestamp or self.spec.taints)


class Namespace(ClusterObject, frozen=True):
    """A namespace, which is its labels."""

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, with the one that the API server always adds (NamespaceDefaultLabelName)."""
        return {**(self.metadata.labels or {}), NAMESPACE_NAME_LABEL: self.metadata.name}

    @classmethod
    def bare(cls, name: str) -> Namespace:
        """A namespace that objects live in although no manifest describes it."""
        return cls(ObjectMeta(name))


class ContainerPort(Struct, frozen=True):
    """A port that a container declares; its name is what named ports resolve to."""

    container_port: Port
    name: Label = ""
    protocol: Protocol = Protocol.TCP


class Container(Struct, frozen=True):
    """The ports of one container. restart_policy marks a sidecar among initContainers."""

    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str = ""


class PodSpec(Struct, frozen=True):
    """Where a pod runs and what it listens on."""

    node_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class PodIP(Struct, frozen=True):
    """One address of a pod."""

    ip: str

    def __post_init__(self) -> None:
        self._set_canonical("ip", canonical_address)


class PodStatus(Struct, frozen=True):
    """The pod's phase and addresses."""

    phase: str = "Pending"
    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] | None = None

    def __post_init__(self) -> None:
        self._set_canonical("pod_ip", canonical_address)


class PodAnnotations(Annotations, frozen=True):
    """What kubelet writes on the Pod that shows a static one: that one's uid."""

    mirror: str = msgspec.field(default="", name="kubernetes.io/config.mirror")


class PodMeta(ObjectMeta, frozen=True):
    """uid: as the Pod's node has it, which tells it from an earlier one of its name.

    A static pod has its uid before the API server hears of it, and its mirror there another one
    (kubelet, pkg/kubelet/pod/mirror_client.go). "" where nobody says it.
    """

    uid: str = ""
    annotations: PodAnnotations | None = None

    def __post_init__(self) -> None:
        """Nothing else of the annotations is kept."""
        if self.annotations is not None:
            force_setattr(self, "uid", self.annotations.mirror or self.uid)
            force_setattr(self, "annotations", None)


class Pod(KubernetesObject, frozen=True):
    """A pod: its labels, its node, its addresses, its named ports."""

    metadata: PodMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ips(self) -> tuple[str, ...]:
        """The addresses it owns now.

        A finished pod keeps status.podIP although its address may belong to another pod
        already, and a hostNetwork pod's addresses are its node's: neither owns any.
        """
        if self.spec.host_network or self.status.phase in {"Succeeded", "Failed"}:
            return ()
        if self.status.pod_ips:
            return tuple(row.ip for row in self.status.pod_ips)
        return (self.status.pod_ip,) if self.status.pod_ip else ()

    @property
    def ports(self) -> tuple[ContainerPort, ...]:
        """Declared ports of containers and of sidecars (init containers that keep running)."""
        sidecars = [c for c in self.spec.init_containers or () if c.restart_policy == "Always"]
        containers = (*(self.spec.containers or ()), *sidecars)
        return tuple(port for container in containers for port in container.ports or ())
