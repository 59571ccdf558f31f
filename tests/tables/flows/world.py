"""A world: the objects of a cluster, the proxy's options, and the flows that hold there."""

from __future__ import annotations

from dataclasses import dataclass

from flows.objects import Svc, nodes, service_cidrs
from flows.places import ADDRESSES, NOBODY, NODE1_ADDRESSES, SERVICE_CIDRS, ZONES, service_address
from flows.rows import Flow
from podwire_core.family import Family
from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy.options import Options

KUBE_PROXYS = Options()  # but for who is a pod: all Nodes' networks tell
FIRST = 10  # the number of a world's first Service


@dataclass(frozen=True, eq=False)
class World:
    """See the module.

    zone: node1's, "" for none. bound: Services whose balancer's address node1 has itself, as
    some balancers have it. seldom: rows are many and alike; over the kernel each is tried a few
    times, and is not expected to reach all its ends. cidrs: what Services get addresses from.
    """

    name: str
    services: tuple[Svc, ...]
    flows: tuple[Flow, ...]
    options: Options = KUBE_PROXYS
    zone: str = ZONES["node1"]
    bound: tuple[str, ...] = ()
    seldom: bool = False
    cidrs: tuple[str, ...] = SERVICE_CIDRS

    def __post_init__(self) -> None:
        known = {each.name for each in self.services} | ADDRESSES.keys() | {"nobody"}
        unknown = {flow.to for flow in self.flows} - known
        assert not unknown, f"{self.name}: {unknown} are no one's"
        promises = [flow.promise for flow in self.flows]
        assert len(set(promises)) == len(promises), f"{self.name}: one promise is made twice"

    def objects(self) -> list[KubernetesObject]:
        """Everything that an API server would hold."""
        found: list[KubernetesObject] = [*nodes(self.zone), service_cidrs(self.cidrs)]
        for number, each in enumerate(self.services, FIRST):
            found += each.objects(number)
        return found

    def changes(self) -> tuple[Snapshot, list[Change]]:
        """The objects as an agent's first update is told of them."""
        objects = self.objects()
        return Snapshot(objects), [Change(type(each), each.name, each) for each in objects]

    def address(self, flow: Flow, family: Family) -> str:
        """Where the flow's packets are sent."""
        if flow.to in ADDRESSES:
            return ADDRESSES[flow.to][family]
        return service_address(self.number(flow.to), family, flow.kind)

    def number(self, service: str) -> int:
        """The number at the end of a Service's addresses."""
        if service == "nobody":
            return NOBODY
        return FIRST + [each.name for each in self.services].index(service)

    def bound_addresses(self) -> list[str]:
        """Balancers' addresses that node1 has itself."""
        numbers = [self.number(name) for name in self.bound]
        return [service_address(each, family, "lb") for each in numbers for family in Family]

    def node_addresses(self) -> list[str]:
        """Every address that is node1's own."""
        own = [address for name in NODE1_ADDRESSES for address in ADDRESSES[name].values()]
        return own + self.bound_addresses()

    def source(self, flow: Flow, family: Family) -> str:
        """The client's address: a node that dials an address of its own dials from it."""
        address = self.address(flow, family)
        if flow.source == "node" and address in self.node_addresses():
            return address
        return ADDRESSES[flow.source][family]
