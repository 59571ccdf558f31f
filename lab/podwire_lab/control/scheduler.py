"""Which node a pod runs on: few of its own kind first, then few pods at all, then by order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from podwire_core.objects.cluster import ZONE_LABEL
from podwire_lab.topology import Lab, LabNode
from podwire_lab.workloads import HOSTNAME_LABEL, LabPod, LabPodSpec

#: (namespace, kind, name) of what a pod was made from.
Owner = tuple[str, str, str]


def owner_of(pod: LabPod) -> Owner:
    """Who made a pod; a pod that a user wrote is its own."""
    if pod.owner is None:
        return (pod.name.namespace, "Pod", pod.name.name)
    return (pod.name.namespace, pod.owner.kind, pod.owner.name)


def node_labels(node: LabNode) -> dict[str, str]:
    """Labels of a lab's node."""
    zone = {ZONE_LABEL: node.zone} if node.zone else {}
    return {HOSTNAME_LABEL: node.name, "kubernetes.io/os": "linux", **zone}


def fits(spec: LabPodSpec, node: LabNode) -> bool:
    """Whether nodeName and nodeSelector let the pod run on the node."""
    labels = node_labels(node)
    wanted = (spec.node_selector or {}).items()
    return spec.node_name in {"", node.name} and all(
        labels.get(key) == value for key, value in wanted
    )


class Scheduler:
    """Counts what stands where; each choice counts for the next one."""

    def __init__(self, lab: Lab, pods: Iterable[LabPod]) -> None:
        self._nodes = lab.nodes
        self._pods: Counter[str] = Counter()
        self._owned: Counter[tuple[Owner, str]] = Counter()
        for pod in pods:
            if pod.spec.node_name:
                self._count(owner_of(pod), pod.spec.node_name)

    def choose(self, spec: LabPodSpec, owner: Owner) -> str | None:
        """A node for one more pod of the owner; None when it fits on none."""
        allowed = [node.name for node in self._nodes if fits(spec, node)]
        if not allowed:
            return None
        best = min(allowed, key=lambda node: (self._owned[owner, node], self._pods[node]))
        self._count(owner, best)
        return best

    def _count(self, owner: Owner, node: str) -> None:
        self._pods[node] += 1
        self._owned[owner, node] += 1


def why_nowhere(spec: LabPodSpec) -> str:
    """What a person is told of a pod that fits on no node."""
    if spec.node_name:
        return f"spec.nodeName: the lab has no node {spec.node_name}"
    rows = ", ".join(f"{key}={value}" for key, value in sorted((spec.node_selector or {}).items()))
    return f"spec.nodeSelector: no node has {rows}"
