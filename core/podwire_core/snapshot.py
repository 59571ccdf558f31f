"""The objects as they stand now, and the changes that brought them there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar, cast

from podwire_core.objects import (
    ClusterNetworkPolicy,
    EndpointSlice,
    KubernetesObject,
    Namespace,
    NetworkPolicy,
    Node,
    ObjectName,
    Pod,
    Service,
    ServiceCIDR,
)

O = TypeVar("O", bound=KubernetesObject)  # noqa: E741 - reads as "object" in the two signatures

Kind = type[KubernetesObject]

#: Every kind the agent reads, by (API group, kind).
AGENT_KINDS: dict[tuple[str, str], Kind] = {
    ("", "Node"): Node,
    ("", "Namespace"): Namespace,
    ("", "Pod"): Pod,
    ("", "Service"): Service,
    ("discovery.k8s.io", "EndpointSlice"): EndpointSlice,
    ("networking.k8s.io", "NetworkPolicy"): NetworkPolicy,
    ("networking.k8s.io", "ServiceCIDR"): ServiceCIDR,
    ("policy.networking.k8s.io", "ClusterNetworkPolicy"): ClusterNetworkPolicy,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One object came, changed (`new`) or went (`new` is None)."""

    kind: Kind
    name: ObjectName
    new: KubernetesObject | None

    def __str__(self) -> str:
        return f"{'-' if self.new is None else '+'} {self.kind.__name__} {self.name}"


class Snapshot:
    """All objects by kind and name. Apply changes to it; ask it for kinds.

    Deterministic: iteration over a kind is sorted by name, whatever the order of arrival.
    """

    def __init__(self, objects: Iterable[KubernetesObject] = ()) -> None:
        self._kinds: dict[Kind, dict[ObjectName, KubernetesObject]] = {}
        for each in objects:
            self._of(type(each))[each.name] = each

    def __len__(self) -> int:
        return sum(len(objects) for objects in self._kinds.values())

    def _of(self, kind: Kind) -> dict[ObjectName, KubernetesObject]:
        return self._kinds.setdefault(kind, {})

    def copy(self) -> Snapshot:
        """Another snapshot of the same objects, which later changes of this one do not reach."""
        other = Snapshot()
        other._kinds = {kind: dict(objects) for kind, objects in self._kinds.items()}
        return other

    def apply(self, change: Change) -> bool:
        """Take a change in; false when it changed nothing (a relist repeats what is known)."""
        objects = self._of(change.kind)
        if objects.get(change.name) == change.new:
            return False
        if change.new is None:
            del objects[change.name]
        else:
            objects[change.name] = change.new
        return True

    def get(self, kind: type[O], name: ObjectName) -> O | None:
        """One object, or None."""
        return cast("O | None", self._of(kind).get(name))

    def has(self, kind: Kind) -> bool:
        """Whether there is any object of a kind."""
        return bool(self._of(kind))

    def all(self, kind: type[O]) -> tuple[O, ...]:
        """Every object of a kind, sorted by namespace and name."""
        objects = self._of(kind)
        return tuple(cast("O", objects[name]) for name in sorted(objects))

    def changes(self) -> list[Change]:
        """The changes that would bring an empty snapshot here, sorted by kind and name."""
        kinds = sorted(self._kinds, key=lambda kind: kind.__name__)
        return [Change(kind, each.name, each) for kind in kinds for each in self.all(kind)]

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Labels of a namespace; one that no object describes has its name label only."""
        known = self.get(Namespace, ObjectName("", name))
        return known.labels if known else Namespace.bare(name).labels
