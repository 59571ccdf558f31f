"""Leases as tables that 80 columns hold.

A pod has a line for each address and each port, so that nothing is cut. A network stands beside
its pods only where there is more than one; an interface only where one is not eth0.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from rich.table import Table
from rich.text import Text

from podwire_cni.leases import Lease
from podwire_cni.ports import PortMapping
from podwire_node.leases.listing import Listing, pod_of

#: Most rows of resting addresses; --json has them all.
MOST_RESTING = 10
_CONTAINER = 12  # characters of an id, as container tools show it
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))

_Cell = Callable[[Lease], str]


def leases_table(listing: Listing) -> Table:
    """A row a pod."""
    columns = _columns(listing)
    table = Table()
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name == "Age")
    for lease in listing.leases:
        table.add_row(*(Text(cell(lease)) for cell in columns.values()))
    return table


def resting_table(listing: Listing) -> Table | None:
    """The addresses given back last, or None when none was since the node booted."""
    if not listing.resting:
        return None
    table = Table("Resting", "For")
    for address, released in listing.resting[:MOST_RESTING]:
        table.add_row(str(address), age(listing.now - released))
    return table


def age(seconds: float) -> str:
    """Two units at most: 12s, 5m03s, 2h07m, 3d04h. A clock set back counts as no time."""
    rest = max(0, int(seconds))
    for (size, unit), (smaller, next_unit) in pairwise(_UNITS):
        if rest >= size:
            return f"{rest // size}{unit}{rest % size // smaller:02d}{next_unit}"
    return f"{rest}s"


def _columns(listing: Listing) -> dict[str, _Cell]:
    leases = listing.leases
    columns: dict[str, _Cell] = {"Pod": _pod, "Addresses": _addresses}
    if len({lease.attachment.network for lease in leases}) > 1:
        columns["Network"] = lambda lease: lease.attachment.network
    if any(lease.attachment.interface != "eth0" for lease in leases):
        columns["Interface"] = lambda lease: lease.attachment.interface
    columns["Container"] = lambda lease: lease.attachment.container[:_CONTAINER]
    if any(lease.ports for lease in leases):
        columns["Host ports"] = lambda lease: "\n".join(map(_port, lease.ports))
    columns["Age"] = lambda lease: age(listing.now - lease.allocated)
    return columns


def _pod(lease: Lease) -> str:
    # The id has a column of its own.
    return pod_of(lease) or "-"


def _addresses(lease: Lease) -> str:
    return "\n".join(map(str, lease.addresses))


def _port(port: PortMapping) -> str:
    """8080 → 80, with what is not everywhere or not TCP."""
    host = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
    where = f"{host}:{port.host_port}" if host else str(port.host_port)
    return f"{where} → {port.container_port}" + (
        "" if port.protocol == "tcp" else f"/{port.protocol}"
    )


def summary(listing: Listing) -> str:
    """One line below the tables."""
    leases, resting = listing.leases, len(listing.resting)
    pods = "1 attachment" if len(leases) == 1 else f"{len(leases)} attachments"
    count = sum(len(lease.addresses) for lease in leases)
    addresses = "1 address" if count == 1 else f"{count} addresses"
    shown = f", the last {MOST_RESTING} above" if resting > MOST_RESTING else ""
    return f"{pods}, {addresses}" + (f"; {resting} given back{shown}" if resting else "")


def nothing(listing: Listing, network: str | None) -> str:
    """What to say where there are no leases, and where else they may be."""
    if network and listing.networks:
        return (
            f"no pod of network {network} has an address in {listing.state_dir}; "
            f"there are pods of {', '.join(listing.networks)}"
        )
    of = f" of network {network}" if network else ""
    return (
        f"no pod{of} has an address in {listing.state_dir}; an agent with another cniStateDir"
        " has its leases there: give --state-dir, or --config FILE"
    )
