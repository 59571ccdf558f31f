"""One view compared: see findings, whose table this works through. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from podwire_cni.attachment import is_host_name
from podwire_cni.family import IPAddress, host_network
from podwire_cni.leases import Lease
from podwire_node.cni.audit.findings import Finding, Kind
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
from podwire_node.cni.released.neighbours import Neighbour


def find(view: View) -> list[Finding]:
    """Every difference of the view, in the order of Kind, then by subject."""
    order = {kind: position for position, kind in enumerate(Kind)}
    rows = _Comparison(view).rows()
    return sorted(rows, key=lambda each: (order[each.kind], each.subject, each.sentence))


class _Comparison:
    """One view, with what its comparison looks things up by."""

    def __init__(self, view: View) -> None:
        self._view = view
        # What a pod sends is no difference: it tells only that a link without a lease is in use.
        self._links = {
            link.name: replace(link, heard=0) for link in view.links if is_host_name(link.name)
        }
        self._heard = {link.name: link.heard for link in view.links}
        self._by_index = {link.index: link for link in self._links.values()}
        self._by_mac = {link.mac: link for link in view.links}
        self._routes: dict[IPAddress, list[HostRoute]] = {}
        for route in view.routes:
            self._routes.setdefault(route.address, []).append(route)
        self._neighbours = {(each.link, each.address): each.mac for each in view.neighbours}
        self._leases = {lease.attachment.host_name: lease for lease in view.leases}
        self._remembered: Mapping[str, Remembered] = view.remembered or {}

    def rows(self) -> Iterator[Finding]:
        for name, lease in self._leases.items():
            link = self._links.get(name)
            yield from [self._unlinked(lease)] if link is None else self._linked(lease, link)
        for name, link in self._links.items():
            if name not in self._leases and name not in self._view.passing:
                yield self._unleased(link)
        yield from self._stray_routes()
        yield from self._stray_neighbours()
        yield from self._unleased_ports()

    # ------------------------------------------------------------------- a lease's own

    def _unlinked(self, lease: Lease) -> Finding:
        name = lease.attachment.host_name
        known = self._remembered.get(name)
        if renamed := self._by_mac.get(lease.attachment.host_mac):
            text = f"the link {name} of {_pod(lease)} is called {renamed.name} now; rename it back"
            return _of(lease, Kind.LINK_RENAMED, name, text)
        if known and known.alive:
            text = f"{_pod(lease)} lives, but its link {name} is gone; DEL frees its addresses"
            return _of(lease, Kind.LEASE_OF_LIVE_POD, name, text)
        # Unlike a link, it goes where no runtime can be asked, too: without a link nobody can be
        # using the addresses, and a pod that died where no cache is read would hold them for ever.
        text = f"{_pod(lease)} holds {_list(lease.addresses)}, but has no link {name}"
        return _of(lease, Kind.LEASE_WITHOUT_LINK, name, text, Delete(lease.attachment))

    def _linked(self, lease: Lease, link: Link) -> Iterator[Finding]:
        if not link.up:
            text = f"the link {link.name} of {_pod(lease)} is down"
            # What a link carries goes when it goes down.
            steps = (BringUp(link), *_wiring(lease.addresses, link, _mac(lease, link)))
            yield _of(lease, Kind.LINK_DOWN, link.name, text, *steps)
        if not link.checks_source and any(each.version == 4 for each in lease.addresses):
            text = f"{_pod(lease)} may send from others' IPv4 addresses: rp_filter of {link.name}"
            step = CheckSource(link)
            yield _of(lease, Kind.SOURCE_UNCHECKED, link.name, f"{text} is 0", step)
        for address in lease.addresses:
            yield from self._route(lease, link, address)
            yield from self._neighbour(lease, link, address)
        mapped = self._view.mapped
        if lease.ports and mapped is not None and lease.attachment not in mapped:
            text = f"the hostPorts of {_pod(lease)} are not in force"
            yield _of(lease, Kind.PORTS_MISSING, link.name, text, PutPorts(lease))

    def _route(self, lease: Lease, link: Link, address: IPAddress) -> Iterator[Finding]:
        routes = self._routes.get(address, [])
        ways = _before(routes, link)
        put = PutRoute(address, link)
        if not routes:
            text = f"no route leads to {address} of {_pod(lease)}"
            yield _of(lease, Kind.ROUTE_MISSING, str(address), text, put)
        elif not all(way.link in self._by_index for way in ways):
            text = f"a route that is not podwire's leads to {address} of {_pod(lease)}"
            yield _of(lease, Kind.ROUTE_FOREIGN, str(address), text)
        elif ways:
            names = ", ".join(self._by_index[way.link].name for way in ways)
            text = f"{address} of {_pod(lease)} is routed to {names}, not to {link.name}"
            removals = (RemoveRoute(way) for way in ways)
            yield _of(lease, Kind.ROUTE_ELSEWHERE, str(address), text, *removals, put)

    def _neighbour(self, lease: Lease, link: Link, address: IPAddress) -> Iterator[Finding]:
        wanted = _mac(lease, link)
        found = self._neighbours.get((link.index, address))
        if found != wanted:
            state = f"is {found}, not {wanted}" if found else "is missing"
            text = f"the neighbour {address} of {_pod(lease)} {state}"
            step = PutNeighbour(address, link, wanted)
            yield _of(lease, Kind.NEIGHBOUR_WRONG, str(address), text, step)

    # ----------------------------------------------------------------- nobody's, so far

    def _unleased(self, link: Link) -> Finding:
        """A link that no lease knows: by who else knows it."""
        addresses = self._addresses_of(link)
        known = self._remembered.get(link.name)
        pod = known.pod if known else link.alias
        container = known.attachment.container if known else ""
        what = f"the link {link.name} ({pod or 'no alias'}, {_list(addresses)}) has no lease"
        steps: tuple[Step, ...] = ()
        instance = 0.0
        if why := self._unjudged(addresses, known):
            kind, text = Kind.LINK_UNJUDGED, f"{what} and stays: {why}"
        elif known and known.alive:
            kind, text = Kind.LINK_OF_LIVE_POD, f"{what}, but its pod lives"
            steps = _leasing(known, known.addresses or addresses, link)
        else:
            kind, text = Kind.LINK_WITHOUT_LEASE, f"{what}, and no runtime has its pod"
            leased = {each for lease in self._view.leases for each in lease.addresses}
            steps = (RemoveLink(link, tuple(each for each in addresses if each not in leased)),)
            instance = float(self._heard[link.name])
        return Finding(kind, link.name, text, pod, container, steps, instance)

    def _unjudged(self, addresses: tuple[IPAddress, ...], known: Remembered | None) -> str:
        """Why nobody can say whether the link of these addresses may go; "" when one can."""
        if self._view.remembered is None:
            return "libcni's cache, which tells whether its pod lives, cannot be read"
        if not self._remembers_ours():
            return "libcni's cache knows no pod that podwire wired; the runtime's may be elsewhere"
        if not self._view.ranges:
            return "nobody here knows the node's ranges"
        if not all(self._in_ranges(address) for address in addresses):
            return "its addresses are not of this node's ranges"
        if known and known.alive and not (known.addresses or addresses):
            return "its pod lives, and nobody knows its addresses"
        return ""

    def _remembers_ours(self) -> bool:
        """Whether the cache is that of a runtime whose pods are here.

        An empty folder proves nothing: it may have been made for a mount alone.
        """
        here = (*self._links, *self._leases, *self._view.passing)
        return any(name in self._remembered for name in here)

    def _stray_routes(self) -> Iterator[Finding]:
        for routes in self._routes.values():
            for route in routes:
                if lease := self._strays(route):
                    text = f"the route to {route.address} leads to {_pod(lease)}, which has it not"
                    step = RemoveRoute(route)
                    yield _of(lease, Kind.ROUTE_STRAY, str(route.address), text, step)

    def _stray_neighbours(self) -> Iterator[Finding]:
        for each in self._view.neighbours:
            if lease := self._strays(each):
                text = f"the neighbour {each.address} is {_pod(lease)}, which has it not"
                step = RemoveNeighbour(each)
                yield _of(lease, Kind.NEIGHBOUR_STRAY, str(each.address), text, step)

    def _strays(self, entry: HostRoute | Neighbour) -> Lease | None:
        """The lease on whose link an entry is, although it does not hold the address.

        Outside the ranges it is somebody's own work: a virtual address that a pod serves. A link
        without a lease is judged as a whole.
        """
        link = self._by_index.get(entry.link)
        lease = self._leases.get(link.name) if link else None
        strays = lease and entry.address not in lease.addresses and self._in_ranges(entry.address)
        return lease if strays else None

    def _unleased_ports(self) -> Iterator[Finding]:
        held = {lease.attachment for lease in self._view.leases}
        for each in sorted((self._view.mapped or frozenset()) - held):
            if each.host_name not in self._view.passing:
                text = f"hostPorts of {each} are in force, but it has no lease"
                kind, step = Kind.PORTS_WITHOUT_LEASE, RemovePorts(each)
                yield Finding(kind, each.host_name, text, "", each.container, (step,))

    def _addresses_of(self, link: Link) -> tuple[IPAddress, ...]:
        entries: Iterable[HostRoute | Neighbour] = (*self._view.routes, *self._view.neighbours)
        found = {each.address for each in entries if each.link == link.index}
        return tuple(sorted(found, key=lambda address: (address.version, int(address))))

    def _in_ranges(self, address: IPAddress) -> bool:
        return any(
            address.version == range_.version and address in range_ for range_ in self._view.ranges
        )


def _of(lease: Lease, kind: Kind, subject: str, sentence: str, *steps: Step) -> Finding:
    container = lease.attachment.container
    return Finding(kind, subject, sentence, lease.pod, container, steps, lease.allocated)


def _before(routes: list[HostRoute], link: Link) -> list[HostRoute]:
    """The routes that the kernel prefers to the link's own, or has beside it; best first."""
    own = [route.priority for route in routes if route.link == link.index]
    bar = min(own) if own else max((route.priority for route in routes), default=0)
    others = [each for each in routes if each.link != link.index and each.priority <= bar]
    return sorted(others, key=lambda route: (route.priority, route.link))


def _wiring(addresses: tuple[IPAddress, ...], link: Link, mac: str) -> Iterator[Step]:
    """What the plugin puts on a host end."""
    for address in addresses:
        yield PutRoute(address, link)
        yield PutNeighbour(address, link, mac)


def _leasing(known: Remembered, addresses: tuple[IPAddress, ...], link: Link) -> tuple[Step, ...]:
    mac = link.peer or known.attachment.pod_mac
    return (LeaseAgain(known, addresses), BringUp(link), *_wiring(addresses, link, mac))


def _mac(lease: Lease, link: Link) -> str:
    return link.peer or lease.attachment.pod_mac


def _pod(lease: Lease) -> str:
    return f"{lease.pod} ({lease.attachment})"


def _list(addresses: tuple[IPAddress, ...]) -> str:
    return ", ".join(str(host_network(address)) for address in addresses) or "no address"
