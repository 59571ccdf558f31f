"""The World of a node: its lease database, its network namespace, its runtime's memory."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from podwire_cni.attachment import Attachment, is_host_name
from podwire_cni.errors import CniError
from podwire_cni.family import IPAddress, IPNetwork
from podwire_cni.host import Host
from podwire_cni.leases import Lease, Leases, boot_id
from podwire_cni.ranges import AddressRange
from podwire_cni.rtnetlink import Refused
from podwire_cni.verbs import detach
from podwire_node.cni.audit.kernel import Kernel
from podwire_node.cni.audit.remembered import FOLDER, read_remembered
from podwire_node.cni.audit.steps import (
    BringUp,
    Change,
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
from podwire_node.cni.audit.view import Link, Remembered, View
from podwire_node.cni.audit.world import RepairError
from podwire_node.cni.released.neighbours import Neighbour


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node keeps what an audit compares.

    state_dir: the leases' folder.  ranges: CIDRs that pods' addresses come from, asked each time;
    what is none counts for nothing.  results: libcni's cache.  mapped: whose hostPorts are kept,
    None where nobody keeps any.
    """

    state_dir: Path
    ranges: Callable[[], Iterable[str]] = tuple
    results: Path = FOLDER
    mapped: Callable[[], Iterable[Attachment]] | None = None


class Ground:
    """A World in the network namespace of the thread that makes it; for one thread.

    host: what the plugin asks of where it runs; its state_dir is the place's.
    """

    def __init__(self, place: Place, host: Host, kernel: Kernel) -> None:
        self._place = place
        self._host = host
        self._kernel = kernel

    # ----------------------------------------------------------------------------- look

    def look(self) -> View:
        """See World."""
        with _told("cannot read what is there"):
            mapped = frozenset(self._place.mapped()) if self._place.mapped else None
            before = self._leases()
            links = self._kernel.links()
            ours = {link.name: link for link in links if is_host_name(link.name)}
            passing = {each.attachment.host_name for each in self._hidden(before, ours)}
            addresses = {address for lease in before for address in lease.addresses}
            indices = {link.index for link in ours.values()}
            routes = self._kernel.routes(
                lambda route: route.address in addresses or route.link in indices
            )
            neighbours = [each for each in self._kernel.neighbours() if each.link in indices]
            after = self._leases()
        known = set(after)
        stable = [lease for lease in before if lease in known]
        passing |= {lease.attachment.host_name for lease in known.symmetric_difference(before)}
        return View(
            leases=tuple(each for each in stable if each.attachment.host_name not in passing),
            links=tuple(self._with_peers(stable, links, neighbours)),
            routes=routes,
            neighbours=neighbours,
            passing=frozenset(passing),
            ranges=tuple(self._ranges()),
            remembered=self._remembered(stable, ours),
            mapped=mapped,
        )

    def _ranges(self) -> Iterator[IPNetwork]:
        for text in self._place.ranges():
            with suppress(ValueError):
                yield ipaddress.ip_network(text)

    def _leases(self) -> list[Lease]:
        with Leases(self._place.state_dir, boot_id(), create=False) as leases:
            return leases.all()

    def _hidden(self, leases: Iterable[Lease], links: dict[str, Link]) -> Iterator[Lease]:
        """Leases whose link is there, though the dump missed it."""
        for lease in leases:
            name = lease.attachment.host_name
            if name not in links and self._kernel.has_link(name):
                yield lease

    def _with_peers(
        self, leases: Iterable[Lease], links: Iterable[Link], neighbours: Iterable[Neighbour]
    ) -> Iterator[Link]:
        """The links; where a neighbour is not as it was made, with what the pod's end has now."""
        macs = {(each.link, each.address): each.mac for each in neighbours}
        held = {lease.attachment.host_name: lease for lease in leases}
        for link in links:
            lease = held.get(link.name)
            if lease and any(
                macs.get((link.index, address)) != lease.attachment.pod_mac
                for address in lease.addresses
            ):
                yield replace(link, peer=self._kernel.peer_mac(link))
            else:
                yield link

    def _remembered(
        self, leases: Sequence[Lease], links: dict[str, Link]
    ) -> dict[str, Remembered] | None:
        """Read only when something is to be judged by it."""
        names = {lease.attachment.host_name for lease in leases}
        return read_remembered(self._place.results) if names != links.keys() else {}

    # ------------------------------------------------------------------------ put right

    def do(self, step: Step, deadline: float) -> None:
        """See World."""
        with _told("cannot be repaired"):
            match step:
                case Delete(attachment):
                    detach(self._host, self._place.state_dir, attachment)
                case LeaseAgain(known, addresses):
                    self._host.admit(self._lease(known, addresses), deadline)
                case PutPorts(lease):
                    self._host.admit(lease, deadline)
                case RemovePorts(attachment):
                    self._host.forget(Lease(attachment, "", ()))
                case RemoveLink(link, addresses):
                    self._kernel.remove_link(link)
                    self._host.forget_addresses(addresses)
                case _:
                    self._change(step)

    def _change(self, step: Change) -> None:
        match step:
            case BringUp(link):
                self._kernel.bring_up(link)
            case CheckSource(link):
                self._kernel.check_source(link)
            case PutRoute(address, link):
                self._kernel.put_route(address, link)
            case PutNeighbour(address, link, mac):
                self._kernel.put_neighbour(address, link, mac)
            case RemoveRoute(route):
                self._kernel.remove_route(route)
            case RemoveNeighbour(neighbour):
                self._kernel.remove_neighbour(neighbour)

    def _lease(self, known: Remembered, addresses: tuple[IPAddress, ...]) -> Lease:
        ranges = [
            AddressRange(range_)
            for address in addresses
            for range_ in self._ranges()
            if address.version == range_.version and address in range_
        ]
        with Leases(self._place.state_dir, boot_id()) as leases:
            return leases.acquire(
                known.attachment, known.pod, ranges, 0.0, wanted=addresses, ports=known.ports
            )


@contextmanager
def on_the_ground(place: Place, host: Host) -> Iterator[Ground]:
    """A Ground of the calling thread's network namespace. Raises RepairError."""
    with _told("cannot ask rtnetlink"):
        kernel = Kernel()
    with kernel:
        yield Ground(place, host, kernel)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except CniError as error:
        raise RepairError(f"{what}: {error.message}") from error
    except Refused as error:
        raise RepairError(f"{what}: {error}") from error
    except OSError as error:
        raise RepairError(f"{what}: {error.strerror or error}") from error
