"""What the lease database held at one moment."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from podwire_cni.family import IPAddress
from podwire_cni.leases import Lease, Leases, boot_id


@dataclass(frozen=True)
class Listing:
    """Leases by attachment, and addresses that rest, those given back last first.

    networks: of all leases there are, also of those that are left out.
    resting: seconds since the epoch of each.  now: the same clock's.
    """

    state_dir: Path
    networks: tuple[str, ...]
    leases: tuple[Lease, ...]
    resting: tuple[tuple[IPAddress, float], ...]
    now: float


def read_listing(state_dir: Path, network: str | None) -> Listing:
    """Read it. network: its leases alone; None for all, and what rests. Raises CniError."""
    with Leases(state_dir, boot_id(), create=False) as leases:
        every = leases.all()
        resting = leases.resting() if network is None else []
    found = tuple(lease for lease in every if network in {None, lease.attachment.network})
    networks = tuple(sorted({lease.attachment.network for lease in every}))
    return Listing(state_dir, networks, found, tuple(reversed(resting)), time.time())


def pod_of(lease: Lease) -> str:
    """Its pod, "" for a container whose runtime told no name: its lease has the id in its place."""
    return "" if lease.pod == lease.attachment.container else lease.pod
