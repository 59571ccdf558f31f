"""A node as an audit sees it, in dictionaries: pods that are wired, and all that can go wrong.

Pod n is `default/pod-n`, container `c-n`, with 10.244.1.n and fd00:10:244:1::n (n < 10), on the
link whose index is 100 + n.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from podwire_cni.attachment import Attachment
from podwire_cni.family import IPAddress
from podwire_cni.leases import Lease
from podwire_cni.ports import PortMapping
from podwire_node.cni.audit.steps import (
    BringUp,
    CheckSource,
    Delete,
    LeaseAgain,
    PutNeighbour,
    PutPorts,
    PutRoute,
    RemoveLink,
    RemoveNeighbour,
    RemovePorts,
    RemoveRoute,
    Step,
)
from podwire_node.cni.audit.view import HostRoute, Link, Remembered, View
from podwire_node.cni.audit.world import RepairError
from podwire_node.cni.released.neighbours import Neighbour

RANGES = (ipaddress.ip_network("10.244.1.0/24"), ipaddress.ip_network("fd00:10:244:1::/64"))
PORTS = (PortMapping(8080, 80, "tcp"),)
UPLINK = 2


def attachment(number: int) -> Attachment:
    """Pod number's."""
    return Attachment("podnet", f"c-{number}", "eth0")


def addresses(number: int) -> tuple[IPAddress, ...]:
    """Pod number's."""
    return (
        ipaddress.ip_address(f"10.244.1.{number}"),
        ipaddress.ip_address(f"fd00:10:244:1::{number}"),
    )


def lease(number: int, ports: tuple[PortMapping, ...] = ()) -> Lease:
    """Pod number's, as ADD made it."""
    return Lease(attachment(number), f"default/pod-{number}", addresses(number), ports, 1000.0)


def link(number: int) -> Link:
    """Pod number's host end."""
    owner = attachment(number)
    return Link(100 + number, owner.host_name, owner.host_mac, True, f"default/pod-{number}")


def priority(address: IPAddress) -> int:
    """What the kernel gives a route that asks for none."""
    return 0 if address.version == 4 else 1024


class AuditNode:
    """A World. steps: all that was done to it."""

    def __init__(self) -> None:
        self.leases: dict[Attachment, Lease] = {}
        self.links: dict[int, Link] = {UPLINK: Link(UPLINK, "uplink", "02:00:00:00:00:02", True)}
        self.routes: set[HostRoute] = set()
        self.neighbours: dict[tuple[int, IPAddress], str] = {}
        self.remembered: dict[str, Remembered] | None = {}
        self.mapped: set[Attachment] | None = set()
        self.steps: list[Step] = []
        self.refuse: str = ""

    def add(self, number: int, ports: tuple[PortMapping, ...] = ()) -> None:
        """Wire pod number as ADD does."""
        self.leases[attachment(number)] = lease(number, ports)
        self.links[100 + number] = link(number)
        for address in addresses(number):
            self.put_route(address, 100 + number)
            self.neighbours[100 + number, address] = attachment(number).pod_mac
        if ports and self.mapped is not None:
            self.mapped.add(attachment(number))

    def remember(self, number: int, *, alive: bool = True) -> None:
        """Have a runtime know pod number."""
        known = Remembered(attachment(number), alive, f"default/pod-{number}", addresses(number))
        assert self.remembered is not None
        self.remembered[attachment(number).host_name] = known

    def put_route(self, address: IPAddress, index: int, before: int = 0) -> None:
        """Replace the route of that priority. before: how much earlier than a plain one."""
        rank = priority(address) - before
        self.routes -= {r for r in self.routes if (r.address, r.priority) == (address, rank)}
        self.routes.add(HostRoute(address, index, rank))

    def cut(self, index: int) -> None:
        """Take what a link carries, as when it goes down."""
        self.routes = {each for each in self.routes if each.link != index}
        self.neighbours = {k: mac for k, mac in self.neighbours.items() if k[0] != index}

    def drop(self, index: int) -> None:
        """Remove a link and all that is on it; one that is gone is no error."""
        self.links.pop(index, None)
        self.cut(index)

    def is_well(self, number: int) -> bool:
        """Whether pod number's addresses are its own, and lead to it."""
        index = 100 + number
        found = self.leases.get(attachment(number))
        return (
            found is not None
            and found.addresses == addresses(number)
            and index in self.links
            and self.links[index].up
            and all(self._leads(address, index) for address in addresses(number))
        )

    def _leads(self, address: IPAddress, index: int) -> bool:
        routes = [each for each in self.routes if each.address == address]
        best = min(routes, key=lambda each: each.priority, default=None)
        mac = self.neighbours.get((index, address))
        return best is not None and best.link == index and mac is not None

    # ------------------------------------------------------------------------- World

    def look(self) -> View:
        """See World."""
        return View(
            leases=tuple(self.leases.values()),
            links=tuple(self.links.values()),
            routes=sorted(self.routes, key=lambda each: (str(each.address), each.link)),
            neighbours=[Neighbour(a, index, mac) for (index, a), mac in self.neighbours.items()],
            ranges=RANGES,
            remembered=self.remembered,
            mapped=None if self.mapped is None else frozenset(self.mapped),
        )

    def do(self, step: Step, _deadline: float) -> None:
        """See World."""
        if self.refuse:
            raise RepairError(self.refuse)
        self.steps.append(step)
        match step:
            case Delete(owner):
                self._delete(owner)
            case LeaseAgain(known, held):
                self.leases[known.attachment] = Lease(
                    known.attachment, known.pod, held, known.ports, 2000.0
                )
            case RemoveLink(gone, _):
                self.drop(gone.index)
            case PutPorts(Lease(owner)):
                assert self.mapped is not None
                self.mapped.add(owner)
            case RemovePorts(owner):
                assert self.mapped is not None
                self.mapped.discard(owner)
            case _:
                self._change(step)

    def _change(self, step: Step) -> None:
        match step:
            case BringUp(down):
                self.links[down.index] = replace(self.links[down.index], up=True)
            case CheckSource(loose):
                self.links[loose.index] = replace(self.links[loose.index], checks_source=True)
            case PutRoute(address, way):
                self.put_route(address, way.index)
            case PutNeighbour(address, way, mac):
                self.neighbours[way.index, address] = mac
            case RemoveRoute(route):
                self.routes.discard(route)
            case RemoveNeighbour(each):
                self.neighbours.pop((each.link, each.address), None)

    def _delete(self, owner: Attachment) -> None:
        for index, each in list(self.links.items()):
            if each.name == owner.host_name:
                self.drop(index)
        self.leases.pop(owner, None)
        if self.mapped is not None:
            self.mapped.discard(owner)
