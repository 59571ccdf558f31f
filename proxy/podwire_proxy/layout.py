"""One family's table: its name, its maps and sets, and what is asked of a packet.

What depends on the node's options stands here, so that chains.py and skeleton.py need not ask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from podwire_core.family import Family
from podwire_core.nft.expressions import (
    DADDR_TYPE,
    IIFNAME,
    SADDR_TYPE,
    Concat,
    Field,
    concat,
    constant,
    daddr,
    dport,
    hashed,
    original_daddr,
    saddr,
)
from podwire_core.nft.objects import Chain, Element, Table
from podwire_core.nft.statements import Match
from podwire_core.objects import Protocol
from podwire_proxy.options import Options

TABLE_NAME = "podwire-proxy"

FRONTENDS = "frontends"
NODEPORTS = "nodeports"
STICKY = "sticky"
STICKY_NODEPORTS = "sticky-nodeports"
CHOICES = "choices"
UNAVAILABLE = "unavailable"
UNAVAILABLE_NODEPORTS = "unavailable-nodeports"
EXTERNAL = "external"
EXTERNAL_NODEPORTS = "external-nodeports"
REMEMBERED = "remembered"
REMEMBERED_NODEPORTS = "remembered-nodeports"
GUARDED = "guarded"
CLUSTER_IPS = "cluster-ips"
SERVICE_CIDRS = "service-cidrs"
NODEPORT_ADDRESSES = "nodeport-addresses"
POD_CIDRS = "pod-cidrs"
HAIRPIN = "hairpin"
SELF_VIPS = "self-vips"

REFUSE = "refuse"
TAKE_NODE_ADDRESS = "masquerade-all"
TAKE_IT_FROM_NODE = "masquerade-node"


_TABLES = {family: Table(family, TABLE_NAME) for family in Family}


def table(family: Family) -> Table:
    """The proxy's table of a family."""
    return _TABLES[family]


def slots(protocol: Protocol, *, nodeport: bool, second: bool = False) -> str:
    """The map of the slots of every frontend of one protocol.

    A map for each protocol, because nft 1.0.6 refuses a rule whose map holds ports of no
    protocol (`th dport`) once the map is in the kernel: docs/decisions/01-endpoint-maps.md.
    second: of this node's endpoints alone, where another list holds all.
    """
    nodeports, local = "nodeport-" if nodeport else "", "local-" if second else ""
    return f"{nodeports}{local}endpoints-{protocol.nft}"


class Affinity(NamedTuple):
    """Two maps with equal keys that packets fill: to which address a client went, and port.

    Two, because nft 1.0.6 cannot let packets write more than 16 bytes as a key or as a value.
    """

    addresses: str
    ports: str


def affinity(protocol: Protocol) -> Affinity:
    """Which client went where."""
    return Affinity(f"affinity-addresses-{protocol.nft}", f"affinity-ports-{protocol.nft}")


def client(source: Field, number: tuple[int, int]) -> Concat:
    """A client of one list (frontend.Affinity.of): 64 bits of its address, and the numbers."""
    return concat(*hashed(source), *map(constant, number))


def members(protocol: Protocol) -> str:
    """The set of endpoints that a client may be sent back to."""
    return f"members-{protocol.nft}"


def slot_key(family: Family, protocol: Protocol, *, nodeport: bool) -> tuple[Field, ...]:
    """What of a packet says whose slots it picks from."""
    port = dport(protocol.nft)
    return (port,) if nodeport else (daddr(family), port)


@dataclass(frozen=True)
class Layout:
    """A family's table on this node. pods_known: some network of pods is known.

    made: chains and their numbers that many frontends share, by name, so that each is made once.
    """

    family: Family
    options: Options
    pods_known: bool
    made: dict[str, Chain | Element] = field(default_factory=dict, compare=False, repr=False)

    @property
    def table(self) -> Table:
        """The table."""
        return table(self.family)

    @property
    def from_pod(self) -> Match | None:
        """Whether a packet comes from a pod; None where no one can say."""
        if interface := self.options.local.interface:
            return Match(IIFNAME, values=(interface,))
        return Match(saddr(self.family), set=POD_CIDRS) if self.pods_known else None

    @property
    def from_node(self) -> Match:
        """Whether the node itself sends it."""
        return Match(SADDR_TYPE, values=("local",))

    @property
    def to_node(self) -> tuple[Match, ...]:
        """Whether it is for an address where NodePorts answer."""
        named = Match(daddr(self.family), set=NODEPORT_ADDRESSES)
        if self.options.nodeport_cidrs(self.family):  # which hold others' addresses too
            return (named, Match(DADDR_TYPE, values=("local",)))
        return (named,)

    @property
    def was_to_node(self) -> Match:
        """Whether the client dialled a NodePort's address, of a packet that went elsewhere."""
        return Match(original_daddr(self.family), set=NODEPORT_ADDRESSES)
