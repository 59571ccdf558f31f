"""NetworkPolicies (networking.k8s.io/v1)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from podwire_core.family import canonical_network
from podwire_core.objects.base import KubernetesObject, Port, Protocol, Struct
from podwire_core.objects.cluster import Pod
from podwire_core.selectors import EVERYTHING, LabelSelector


class IPBlock(Struct, frozen=True):
    """A CIDR and what is cut out of it."""

    cidr: str
    except_: tuple[str, ...] | None = msgspec.field(default=None, name="except")

    def __post_init__(self) -> None:
        self._set_canonical("cidr", canonical_network)
        self._set_canonical("except_", canonical_network)


class PolicyPeer(Struct, frozen=True):
    """Who may talk: pods here, pods of namespaces, or a block of addresses."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None

    def __post_init__(self) -> None:
        selects = self.pod_selector is not None or self.namespace_selector is not None
        if self.ip_block is not None and selects:
            raise ValueError("`ipBlock`: excludes `podSelector` and `namespaceSelector`")
        if self.ip_block is None and not selects:
            raise ValueError("a peer needs `podSelector`, `namespaceSelector` or `ipBlock`")


class PolicyPort(Struct, frozen=True):
    """A port, a range, a name, or (without port) a whole protocol."""

    protocol: Protocol = Protocol.TCP
    port: Port | Annotated[str, msgspec.Meta(min_length=1, max_length=63)] | None = None
    end_port: Port | None = None

    def __post_init__(self) -> None:
        if self.end_port is None:
            return
        if not isinstance(self.port, int):
            raise ValueError("`endPort`: needs a numeric `port`")
        if self.end_port < self.port:
            raise ValueError(f"`endPort`: {self.end_port} is below `port` {self.port}")


class IngressRule(Struct, frozen=True):
    """Peers AND ports; nothing said means anyone, or any port of any protocol."""

    from_: tuple[PolicyPeer, ...] | None = msgspec.field(default=None, name="from")
    ports: tuple[PolicyPort, ...] | None = None

    @property
    def peers(self) -> tuple[PolicyPeer, ...]:
        """The sources; empty means everyone."""
        return self.from_ or ()


class EgressRule(Struct, frozen=True):
    """Peers AND ports; nothing said means anyone, or any port of any protocol."""

    to: tuple[PolicyPeer, ...] | None = None
    ports: tuple[PolicyPort, ...] | None = None

    @property
    def peers(self) -> tuple[PolicyPeer, ...]:
        """The destinations; empty means everyone."""
        return self.to or ()


class PolicyType(StrEnum):
    """A direction that a policy isolates."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


class NetworkPolicySpec(Struct, frozen=True):
    """Subjects, directions and rules."""

    pod_selector: LabelSelector | None = None
    policy_types: tuple[PolicyType, ...] | None = None
    ingress: tuple[IngressRule, ...] | None = None
    egress: tuple[EgressRule, ...] | None = None


class NetworkPolicy(KubernetesObject, frozen=True):
    """What selected pods may receive and send, beside what other policies allow."""

    spec: NetworkPolicySpec = NetworkPolicySpec()

    @property
    def directions(self) -> frozenset[PolicyType]:
        """Directions it isolates: those it names, else Ingress, and Egress if it has such rules."""
        if self.spec.policy_types:
            return frozenset(self.spec.policy_types)
        implied = {PolicyType.EGRESS} if self.spec.egress else set()
        return frozenset({PolicyType.INGRESS} | implied)

    def selects(self, pod: Pod) -> bool:
        """Whether the pod is a subject: of the policy's namespace, and matched by podSelector."""
        selector = self.spec.pod_selector or EVERYTHING
        return pod.name.namespace == self.name.namespace and selector.matches(pod.labels)

    def rules(self, direction: PolicyType) -> tuple[IngressRule | EgressRule, ...]:
        """The allow rules of one direction; empty allows nothing."""
        if direction is PolicyType.INGRESS:
            return self.spec.ingress or ()
        return self.spec.egress or ()
