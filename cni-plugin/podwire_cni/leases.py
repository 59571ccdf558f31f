"""Who has which address, and which port of the node.

One row of `leases` is one address:

* leased: `released` is null; it belongs to (network, container, interface).
* resting: `released` says since when; the next allocation may take it (see `ranges`).
* no row: nobody had it since the node booted.

An address is leased once on the whole node, whatever the networks are called, and so is a port
of the node (see `lease_ports`).

Every change is one immediate transaction, so a process killed at any moment leaves either the
state before or the state after. Nobody waits for the lock longer than `lock_timeout`.

`sqlite3 /run/podwire/cni/leases.db 'select * from leases'` is the documentation of a node.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from podwire_cni.attachment import Attachment
from podwire_cni.errors import AddressesExhausted, AddressTaken, BadConfig, InputOutputFailed
from podwire_cni.family import IPAddress
from podwire_cni.lease_file import FILE_NAME, LeaseFile, Row, kept_open
from podwire_cni.lease_ports import OWNED, LeasePorts, key, words
from podwire_cni.lease_use import LeaseUse
from podwire_cni.ports import PortMapping
from podwire_cni.ranges import AddressRange, choose

__all__ = ["FILE_NAME", "LOCK_TIMEOUT", "Lease", "Leases", "boot_id", "kept_open"]

LOCK_TIMEOUT = 10.0  # seconds; a runtime gives a call at least a minute

_HELD = f"{OWNED} AND released IS NULL"


@dataclass(frozen=True, slots=True)
class Lease:
    """What one attachment holds.

    pod: "namespace/name", or the container's id.  addresses: in the order of the configuration's
    ranges where these are known, else IPv4 first.  allocated: seconds since the epoch.
    uid: of the Kubernetes Pod, "" where no ADD has said it, or an older podwire's alone.
    """

    attachment: Attachment
    pod: str
    addresses: tuple[IPAddress, ...]
    ports: tuple[PortMapping, ...] = ()
    allocated: float = 0.0
    uid: str = ""


@functools.cache
def boot_id() -> str:
    """The kernel's name for this boot: a random UUID (random(4), "boot_id")."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Leases:
    """The open database; a context manager, for one thread.

    directory: created with mode 0700 when `create` is true. Otherwise a directory without
    a database reads as no leases at all.
    boot: a database of another boot is void.  clock: seconds since the epoch.
    lock_timeout: seconds.

    Every method may raise TryAgain (locked for too long) or InputOutputFailed.
    """

    def __init__(
        self,
        directory: Path,
        boot: str,
        *,
        create: bool = True,
        clock: Callable[[], float] = time.time,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        self._boot = boot
        self._clock = clock
        self._file = LeaseFile(directory, boot, create=create, lock_timeout=lock_timeout)
        self._use = LeaseUse(self._file)
        self._ports = LeasePorts(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def acquire(
        self,
        attachment: Attachment,
        pod: str,
        ranges: Sequence[AddressRange],
        cooldown: float,
        *,
        wanted: Sequence[IPAddress] = (),
        ports: Sequence[PortMapping] = (),
        uid: str = "",
    ) -> Lease:
        """Lease one address of each range and every port, or nothing of it.

        Idempotent: an attachment that holds addresses of these very ranges keeps them.
        pod: "namespace/name", for people.  cooldown: seconds.  uid: see Lease; "" says nothing.
        wanted: at most one address of each range, taken even while it rests.
        Raises AddressesExhausted that counts what the range is used for, AddressTaken or PortTaken
        that names the holder, BadConfig for a wanted address outside of the ranges.
        """
        _require_offered(wanted, ranges)
        with self._file.transaction():
            held = self._addresses(attachment)
            if not (_fits(held, ranges) and set(wanted) <= set(held)):
                self._release(attachment)
                held = self._allocate(ranges, cooldown, wanted)
                self._insert(attachment, pod, held)
            self._ports.claim(attachment, pod, ports)
            if uid:
                owner = key(attachment)
                self._file.write("INSERT OR REPLACE INTO uids VALUES (?, ?, ?, ?)", [(*owner, uid)])
            lease = self._leases(OWNED, key(attachment))[0]
        return _arranged(lease, ranges)

    def release(self, attachment: Attachment) -> tuple[IPAddress, ...]:
        """Give the attachment's addresses back to rest, and its ports; those that it held."""
        with self._file.transaction():
            held = self._addresses(attachment)
            self._release(attachment)
        return tuple(held)

    def find(self, attachment: Attachment, ranges: Sequence[AddressRange] = ()) -> Lease | None:
        """The attachment's lease, its addresses ordered like the ranges; or None."""
        with self._file.snapshot():
            found = self._leases(OWNED, key(attachment))
        return _arranged(found[0], ranges) if found else None

    def all(self, network: str | None = None) -> list[Lease]:
        """Every lease, or those of one network, sorted by attachment."""
        with self._file.snapshot():
            if network is None:
                return self._leases("TRUE", ())
            return self._leases("network = ?", (network,))

    def readable(self) -> tuple[list[Lease], list[InputOutputFailed]]:
        """Every lease that can be read, and what is wrong with the others."""
        found: list[Lease] = []
        wrong: list[InputOutputFailed] = []
        with self._file.snapshot():
            for each in self.attachments():
                try:
                    found += self._leases(OWNED, key(each))
                except InputOutputFailed as error:
                    wrong.append(error)
        return found, wrong

    def attachments(self, network: str | None = None) -> list[Attachment]:
        """Every attachment that holds a lease, or those of one network, sorted."""
        rows = self._file.rows(
            "SELECT DISTINCT network, container, interface FROM leases"
            " WHERE released IS NULL AND (?1 IS NULL OR network = ?1) ORDER BY 1, 2, 3",
            (network,),
        )
        return [Attachment(*row) for row in rows]

    def resting(self) -> list[tuple[IPAddress, float]]:
        """Every address that was given back and when, in seconds since the epoch; oldest first."""
        rows = self._file.rows(
            "SELECT address, released FROM leases"
            " WHERE released IS NOT NULL ORDER BY released, address"
        )
        return [
            (self._file.address(address), self._file.time("released", released))
            for address, released in rows
        ]

    def require_vacancy(self, ranges: Sequence[AddressRange], cooldown: float) -> None:
        """Raise AddressesExhausted unless an `acquire` by a newcomer would succeed now.

        Takes the write lock for a moment, so that a read-only file system is noticed.
        """
        with self._file.transaction():
            self._allocate(ranges, cooldown, ())

    def _allocate(
        self, ranges: Sequence[AddressRange], cooldown: float, wanted: Sequence[IPAddress]
    ) -> list[IPAddress]:
        rested_since = self._clock() - cooldown
        chosen: list[IPAddress] = []
        # IPv4 first: the IPv6 address is chosen to read like it.
        for range_ in sorted(ranges, key=lambda range_: range_.family.number):
            companion = chosen[0] if chosen else None
            address = next(filter(range_.offers, wanted), None)
            if address is not None:
                self._require_free(address)
            else:
                address = choose(range_, self._use, rested_since, companion)
            if address is None:
                leased, resting = self._use.counted(range_)
                raise AddressesExhausted(
                    f"no address left in {range_}: {leased} of {range_.capacity} leased",
                    f"{resting} resting",
                )
            chosen.append(address)
        return chosen

    def _require_free(self, address: IPAddress) -> None:
        rows = self._file.rows(
            "SELECT pod, container, interface FROM leases WHERE address = ? AND released IS NULL",
            (str(address),),
        )
        for pod, container, interface in rows:
            raise AddressTaken(f"{address} is leased to {pod}", f"by {container}/{interface}")

    def _leases(self, owner: str, values: Row) -> list[Lease]:
        """The leases of the owners that meet a condition, sorted, IPv4 addresses first."""
        held: dict[Attachment, list[IPAddress]] = defaultdict(list)
        known: dict[Attachment, tuple[str, float, str]] = {}
        for *owned_by, pod, address, allocated, uid in self._file.rows(
            "SELECT network, container, interface, pod, address, allocated, coalesce(uid, '')"  # noqa: S608 - constants
            " FROM leases LEFT JOIN uids USING (container, interface, network)"
            f" WHERE {owner} AND released IS NULL",
            values,
        ):
            attachment = Attachment(*owned_by)
            held[attachment].append(self._file.address(address))
            known[attachment] = (pod, self._file.time("allocated", allocated), str(uid))
        ports = self._ports.of(owner, values)
        return [
            Lease(one, known[one][0], _ordered(held[one], ()), tuple(ports[one]), *known[one][1:])
            for one in sorted(held, key=words)
        ]

    def _addresses(self, attachment: Attachment) -> list[IPAddress]:
        rows = self._file.rows(
            f"SELECT address FROM leases WHERE {_HELD}",  # noqa: S608 - a constant
            key(attachment),
        )
        return [self._file.address(address) for (address,) in rows]

    def _insert(self, attachment: Attachment, pod: str, addresses: Sequence[IPAddress]) -> None:
        owner, now = words(attachment), self._clock()
        self._file.write(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
            [(str(address), *owner, pod, self._boot, now) for address in addresses],
        )

    def _release(self, attachment: Attachment) -> None:
        self._file.write(
            f"UPDATE leases SET released = ? WHERE {_HELD}",  # noqa: S608 - a constant
            [(self._clock(), *key(attachment))],
        )
        self._file.write(f"DELETE FROM uids WHERE {OWNED}", [key(attachment)])  # noqa: S608 - a constant
        self._ports.give_up(attachment)


def _require_offered(wanted: Sequence[IPAddress], ranges: Sequence[AddressRange]) -> None:
    for address in wanted:
        if not any(range_.offers(address) for range_ in ranges):
            listed = ", ".join(map(str, ranges))
            raise BadConfig(f"ips: {address} is not a pod's address of [{listed}]")


def _fits(held: Sequence[IPAddress], ranges: Sequence[AddressRange]) -> bool:
    """Whether the addresses are one of each range."""
    return len(held) == len(ranges) and all(
        any(range_.offers(address) for address in held) for range_ in ranges
    )


def _arranged(lease: Lease, ranges: Sequence[AddressRange]) -> Lease:
    """The lease, its addresses in the order of the ranges."""
    return replace(lease, addresses=_ordered(lease.addresses, ranges))


def _ordered(held: Sequence[IPAddress], ranges: Sequence[AddressRange]) -> tuple[IPAddress, ...]:
    """Sorted like the families of the ranges; IPv4 first when no range tells."""
    families = [range_.family.number for range_ in ranges] or [4, 6]
    known = [address for address in held if address.version in families]
    return tuple(sorted(known, key=lambda address: families.index(address.version)))
