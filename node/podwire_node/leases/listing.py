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

    resting: seconds since the epoch of each.  now: the same clock's.
    """

    state_dir: Path
    leases: tuple[Lease, ...]
    resting: tuple[tuple[IPAddress, float], ...]
    now: float


def read_listing(state_dir: Path, network: str | None) -> Listing:
    """Read it. network: None for all; addresses rest for the whole node. Raises CniError."""
    with Leases(state_dir, boot_id(), create=False) as leases:
        found, resting = leases.all(network), leases.resting()
    return Listing(state_dir, tuple(found), tuple(reversed(resting)), time.time())
