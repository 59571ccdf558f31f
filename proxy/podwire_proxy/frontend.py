"""What a client dials, and how it is served.

    Frontend   an address, a protocol, a port; without address a NodePort
    Plan       to which endpoints it leads, and what else happens to the packet
    Backend    an endpoint's address and port

A frontend leads to one of two lists of endpoints, or to one of them by who asks:

    CLUSTER    all of the cluster's (a ClusterIP, or externalTrafficPolicy Cluster)
    LOCAL      this node's alone (internalTrafficPolicy Local)
    SPLIT      pods and the node itself to all, the world to this node's
               (externalTrafficPolicy Local, and its short circuits)
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from podwire_core.family import Family
from podwire_core.nft.objects import digest
from podwire_core.objects import Protocol


class Backend(NamedTuple):
    """Where a connection may end up."""

    address: str
    port: int


class Frontend(msgspec.Struct, frozen=True, order=True, gc=False):
    """What a client dials. `address` is empty for a NodePort: any of the node's addresses."""

    family: Family
    address: str
    protocol: Protocol
    port: int

    @property
    def is_nodeport(self) -> bool:
        """Whether it answers at the node's addresses."""
        return not self.address

    @property
    def parts(self) -> tuple[str, ...]:
        """Its key in nft maps: `10.96.0.10 . tcp . 80`, or `tcp . 30080` for a NodePort."""
        address = (self.address,) if self.address else ()
        return (*address, self.protocol.nft, str(self.port))

    def __str__(self) -> str:
        bracketed = f"[{self.address}]" if self.family is Family.IPV6 else self.address
        return f"{bracketed if self.address else 'node'}:{self.port}/{self.protocol}"


class Policy(StrEnum):
    """Which list of endpoints serves a frontend; see the module."""

    CLUSTER = "cluster"
    LOCAL = "local"
    SPLIT = "split"


class Affinity(NamedTuple):
    """A client returns to its endpoint. name: whose affinity; timeout: seconds since the last."""

    name: str
    timeout: int

    def of(self, policy: Policy) -> tuple[int, int]:
        """Two numbers of 32 bits that name one list of one Service's port, and no other."""
        number = int(digest(f"{self.name} {policy}", 16), 16)
        return number >> 32, number & 0xFFFFFFFF


class Guard(NamedTuple):
    """loadBalancerSourceRanges of one family; node: they hold the node, and so the VIP itself."""

    ranges: tuple[str, ...]
    node: bool

    @property
    def name(self) -> str:
        """Equal ranges share a chain and a set."""
        return digest(f"{' '.join(self.ranges)} {self.node}", 12)


class Plan(msgspec.Struct, frozen=True, gc=False):
    """How a frontend is served.

    label: namespace/name:port of the Service, for people. external: it is dialled from outside
    (NodePort, LoadBalancer, external IP). alive: some endpoint could serve, be it on this node
    or another. near: addresses of endpoints that may reach themselves through this node.
    serving: endpoints whose open conversations go on.
    """

    label: str
    policy: Policy
    external: bool
    cluster: frozenset[Backend]
    local: frozenset[Backend]
    alive: bool
    near: frozenset[str] = frozenset()
    affinity: Affinity | None = None
    guard: Guard | None = None
    serving: frozenset[Backend] = frozenset()

    @property
    def first(self) -> frozenset[Backend]:
        """The endpoints of the list that `endpoints-…` holds: of LOCAL the local ones."""
        return self.local if self.policy is Policy.LOCAL else self.cluster

    @property
    def second(self) -> frozenset[Backend]:
        """The endpoints that `local-endpoints-…` holds, for the world outside."""
        return self.local if self.policy is Policy.SPLIT else frozenset()

    @property
    def lacks_local(self) -> bool:
        """Whether a policy asks for endpoints on this node, and they are all elsewhere."""
        return self.alive and not self.local and self.policy is not Policy.CLUSTER
