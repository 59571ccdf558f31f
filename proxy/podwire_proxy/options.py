"""How Services are served on this node, where a person may choose.

    local                who counts as a local pod: asked by traffic policies and by masquerade
    masquerade_all       every client of a ClusterIP is masqueraded
    nodeport_addresses   where NodePorts answer: CIDRs; empty means our Node's InternalIPs
    localhost_nodeports  they answer at 127.0.0.0/8 too (needs route_localnet, IPv4 only)
    localhost_routed     route_localnet is on, whoever turned it on: neighbours are kept out of
                         127.0.0.0/8 for as long as it is
    tcp_serving          Services.serving has TCP's frontends, whose connections end then, too
    masquerade_mark      a packet with this bit in its mark is masqueraded: eBPF programs have sent
                         it to an endpoint, and asked for that; 0 where there are none
    translated_mark      the same for all that they have sent: no NodePort is looked for any more

The meanings are kube-proxy's, and so are the flags that lead here (--detect-local-mode, …).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from podwire_core.family import Family, family_of


@dataclass(frozen=True)
class Local:
    """Which packets come from pods of this cluster.

    nodes: from the podCIDRs of all Nodes; own: of our own Node; cidrs: from these networks;
    interface: in by a link of this name, of which a `*` at the end stands for any rest.
    Where no network is known, no one counts as a pod, and nothing is masqueraded for it.
    """

    mode: Literal["nodes", "own", "cidrs", "interface"] = "nodes"
    cidrs: tuple[str, ...] = ()
    interface: str = ""

    def __post_init__(self) -> None:
        if (self.mode == "interface") != bool(self.interface):
            raise ValueError("`interface`: is needed by the mode of that name, and by no other")


@dataclass(frozen=True)
class Options:
    """See the module. CIDRs are canonical, and those of NodePorts hold no loopback address."""

    local: Local = Local()
    masquerade_all: bool = False
    nodeport_addresses: tuple[str, ...] = ()
    localhost_nodeports: bool = False
    localhost_routed: bool = False
    tcp_serving: bool = False
    masquerade_mark: int = 0
    translated_mark: int = 0

    def nodeport_cidrs(self, family: Family) -> tuple[str, ...]:
        """Where NodePorts of a family answer; empty for its InternalIPs.

        Of a family that no CIDR is of: everywhere, as kube-proxy has it.
        """
        of_family = tuple(cidr for cidr in self.nodeport_addresses if family_of(cidr) is family)
        return of_family or ((family.everything,) if self.nodeport_addresses else ())
