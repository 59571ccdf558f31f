"""What the proxy needs of Nodes and ServiceCIDRs: where we are, who is a pod, which addresses.

pod-cidrs            who counts as a pod (options.Local)
nodeport-addresses   where NodePorts answer
service-cidrs        what Services get addresses from: the rest of it is no one's
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from podwire_core.family import FAMILIES, Family, family_of
from podwire_core.nft.intervals import disjoint, network_text
from podwire_core.nft.objects import Element
from podwire_core.objects import Node, ObjectName, ServiceCIDR
from podwire_core.snapshot import Snapshot
from podwire_proxy import layout as names
from podwire_proxy.cidrs import LOOPBACK, without_loopback
from podwire_proxy.endpoints import Place
from podwire_proxy.layout import Layout, table
from podwire_proxy.options import Options


@dataclass(frozen=True)
class Cluster:
    """What of the cluster concerns our node. CIDRs are canonical."""

    place: Place
    pod_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()

    @classmethod
    def of(cls, node: str, options: Options, snapshot: Snapshot) -> Cluster:
        """As the objects say now."""
        mine = snapshot.get(Node, ObjectName("", node))
        match options.local.mode:
            case "nodes":
                pods = [cidr for each in snapshot.all(Node) for cidr in each.pod_cidrs]
            case "own":
                pods = list(mine.pod_cidrs) if mine else []
            case _:
                pods = list(options.local.cidrs)
        services = [cidr for each in snapshot.all(ServiceCIDR) for cidr in each.spec.cidrs or ()]
        place = Place(node, mine.zone, mine.internal_ips) if mine else Place(node)
        return cls(place, disjoint(pods), disjoint(services))

    def layouts(self, options: Options) -> dict[Family, Layout]:
        """Each family's table."""
        known = {family_of(cidr) for cidr in self.pod_cidrs}
        return {family: Layout(family, options, family in known) for family in FAMILIES}

    def nodeport_networks(self, options: Options) -> tuple[str, ...]:
        """Where NodePorts answer, as far as the node has addresses in there; disjoint."""
        found: list[str] = []
        for family in FAMILIES:
            own = [each for each in self.place.ips if family_of(each) is family]
            cidrs = options.nodeport_cidrs(family) or [f"{each}/{family.bits}" for each in own]
            found += without_loopback(cidrs)
        if options.localhost_nodeports:
            found.append(str(LOOPBACK[Family.IPV4]))
        return tuple(found)

    def elements(self, options: Options) -> Iterator[Element]:
        """The sets of the drawing above."""
        yield from _filled(names.POD_CIDRS, self.pod_cidrs)
        yield from _filled(names.SERVICE_CIDRS, self.service_cidrs)
        yield from _filled(names.NODEPORT_ADDRESSES, self.nodeport_networks(options))


def _filled(name: str, cidrs: Iterable[str]) -> Iterator[Element]:
    for cidr in cidrs:
        yield Element(table(family_of(cidr)), name, (network_text(cidr),))
