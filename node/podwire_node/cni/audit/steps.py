"""What a repair is made of: one change each, as values.

`put` steps replace what is there, and removing what is gone already is success: each may be done
twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from podwire_cni.attachment import Attachment
from podwire_cni.family import IPAddress
from podwire_cni.leases import Lease
from podwire_node.cni.audit.view import HostRoute, Link, Remembered
from podwire_node.cni.released.neighbours import Neighbour


@dataclass(frozen=True, slots=True)
class BringUp:
    """Set a link up."""

    link: Link


@dataclass(frozen=True, slots=True)
class CheckSource:
    """Have the link drop what comes from an IPv4 address that is not its pod's."""

    link: Link


@dataclass(frozen=True, slots=True)
class PutRoute:
    """Have the address' route lead to the link."""

    address: IPAddress
    link: Link


@dataclass(frozen=True, slots=True)
class PutNeighbour:
    """Have the address' permanent neighbour on the link."""

    address: IPAddress
    link: Link
    mac: str


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Remove a route."""

    route: HostRoute


@dataclass(frozen=True, slots=True)
class RemoveNeighbour:
    """Remove a neighbour."""

    neighbour: Neighbour


@dataclass(frozen=True, slots=True)
class RemoveLink:
    """Remove exactly this link, and forget these addresses, which nobody holds."""

    link: Link
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """What the plugin does for a DEL."""

    attachment: Attachment


@dataclass(frozen=True, slots=True)
class LeaseAgain:
    """Lease to an attachment the very addresses that it uses, and admit its pod."""

    remembered: Remembered
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class PutPorts:
    """Put a lease's hostPorts in force."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class RemovePorts:
    """Put an attachment's hostPorts out of force."""

    attachment: Attachment


#: What the kernel alone does.
Change: TypeAlias = BringUp | CheckSource | PutRoute | PutNeighbour | RemoveRoute | RemoveNeighbour
Step: TypeAlias = Change | RemoveLink | Delete | LeaseAgain | PutPorts | RemovePorts
