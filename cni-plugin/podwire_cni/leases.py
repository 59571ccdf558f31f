"""Who has which address: one SQLite database in the state directory.

One row is one address:

* leased: `released` is null; it belongs to (network, container, interface).
* resting: `released` says since when; the next allocation may take it (see `ranges`).
* no row: nobody had it since the node booted.

A row of another boot counts as no row: the pods it was for did not survive either. An
address is leased once on the whole node, whatever the networks are called.

Every change is one immediate transaction, so a process killed at any moment leaves
either the state before or the state after (SQLite rolls a hot journal back). Nobody
waits for the lock longer than `lock_timeout`.

`sqlite3 /run/podwire/cni/leases.db 'select * from leases'` is the documentation of a node.
"""

import ipaddress
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from podwire_cni.attachment import Attachment
from podwire_cni.errors import AddressesExhausted, InputOutputFailed, TryAgain
from podwire_cni.family import IPAddress
from podwire_cni.ranges import AddressRange, Use, choose

FILE_NAME = "leases.db"
LOCK_TIMEOUT = 10.0  # seconds; a runtime gives a call at least a minute

_SCHEMA = """
CREATE TABLE IF NOT EXISTS leases (
    address   TEXT PRIMARY KEY,
    network   TEXT NOT NULL,
    container TEXT NOT NULL,
    interface TEXT NOT NULL,
    pod       TEXT NOT NULL,
    boot      TEXT NOT NULL,
    allocated REAL NOT NULL,
    released  REAL
) WITHOUT ROWID
"""
_OWNED = "network = ? AND container = ? AND interface = ? AND boot = ? AND released IS NULL"


@dataclass(frozen=True, slots=True)
class Lease:
    """The addresses of one attachment, in the order of the configuration's ranges."""

    attachment: Attachment
    pod: str
    addresses: tuple[IPAddress, ...]


def boot_id() -> str:
    """The kernel's name for this boot: a random UUID (random(4), "boot_id")."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Leases:
    """The open database; a context manager.

    directory: created with mode 0700 when `create` is true. Otherwise a directory without
    a database reads as no leases at all.
    boot: rows of another boot are void.  clock: seconds since the epoch.
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
        self._path = directory / FILE_NAME
        self._boot = boot
        self._clock = clock
        with self._translated():
            if create:
                _create_private(self._path)
            target = str(self._path) if self._path.exists() else ":memory:"
            self._database = sqlite3.connect(target, timeout=lock_timeout, isolation_level=None)
        try:
            with self._translated():
                self._database.execute(_SCHEMA)
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()

    def acquire(
        self, attachment: Attachment, pod: str, ranges: Sequence[AddressRange], cooldown: float
    ) -> Lease:
        """Lease one address of each range, or none of any.

        Idempotent: an attachment that holds addresses of these very ranges keeps them.
        pod: "namespace/name", for the reader of the database.  cooldown: seconds.
        Raises AddressesExhausted that counts what the range is used for.
        """
        with self._transaction():
            self._database.execute("DELETE FROM leases WHERE boot != ?", (self._boot,))
            held = self._addresses(attachment)
            if not _fits(held, ranges):
                self._release(attachment)
                held = self._allocate(ranges, cooldown)
                self._insert(attachment, pod, held)
        return Lease(attachment, pod, _ordered(held, ranges))

    def release(self, attachment: Attachment) -> tuple[IPAddress, ...]:
        """Give the attachment's addresses back to rest; those that it held."""
        with self._transaction():
            held = self._addresses(attachment)
            self._release(attachment)
        return tuple(held)

    def find(self, attachment: Attachment, ranges: Sequence[AddressRange] = ()) -> Lease | None:
        """The attachment's lease, its addresses ordered like the ranges; or None."""
        with self._translated():
            rows = self._database.execute(
                f"SELECT address, pod FROM leases WHERE {_OWNED}",  # noqa: S608 - a constant
                (*_key(attachment), self._boot),
            ).fetchall()
        if not rows:
            return None
        held = [self._address(address) for address, _ in rows]
        return Lease(attachment, rows[0][1], _ordered(held, ranges))

    def attachments(self, network: str) -> list[Attachment]:
        """Every attachment of the network that holds a lease, sorted."""
        with self._translated():
            rows = self._database.execute(
                "SELECT DISTINCT network, container, interface FROM leases"
                " WHERE network = ? AND boot = ? AND released IS NULL ORDER BY 1, 2, 3",
                (network, self._boot),
            ).fetchall()
        return [Attachment(*row) for row in rows]

    def require_vacancy(self, ranges: Sequence[AddressRange], cooldown: float) -> None:
        """Raise AddressesExhausted unless an `acquire` by a newcomer would succeed now.

        Takes the write lock for a moment, so that a read-only file system is noticed.
        """
        with self._transaction():
            self._allocate(ranges, cooldown)

    def _allocate(self, ranges: Sequence[AddressRange], cooldown: float) -> list[IPAddress]:
        now = self._clock()
        chosen: list[IPAddress] = []
        # IPv4 first: the IPv6 address is chosen to read like it.
        for range_ in sorted(ranges, key=lambda range_: range_.family.number):
            use = self._use(range_)
            address = choose(range_, use, now, cooldown, chosen[0] if chosen else None)
            if address is None:
                raise AddressesExhausted(
                    f"no address left in {range_}: {len(use.leased)} of {range_.capacity} leased",
                    f"{use.cooling(now, cooldown)} cooling down",
                )
            chosen.append(address)
        return chosen

    def _use(self, range_: AddressRange) -> Use:
        rows = self._database.execute(
            "SELECT address, released FROM leases WHERE boot = ?", (self._boot,)
        )
        known = {self._address(address): self._time(released) for address, released in rows}
        inside = {address: at for address, at in known.items() if range_.offers(address)}
        return Use(
            leased=frozenset(address for address, at in inside.items() if at is None),
            released={address: at for address, at in inside.items() if at is not None},
        )

    def _address(self, value: object) -> IPAddress:
        """A row's address. SQLite keeps whatever it is given: a hand in the file, a bad disk."""
        try:
            # ip_address() would also take four bytes.
            return ipaddress.ip_address(value if isinstance(value, str) else "")
        except ValueError:
            raise self._corrupt("address", value) from None

    def _time(self, value: object) -> float | None:
        if value is None or isinstance(value, float):
            return value
        raise self._corrupt("released", value)

    def _corrupt(self, column: str, value: object) -> InputOutputFailed:
        return InputOutputFailed(
            f"lease database {self._path} holds a corrupt row", f"{column} is {value!r}"
        )

    def _addresses(self, attachment: Attachment) -> list[IPAddress]:
        lease = self.find(attachment)
        return list(lease.addresses) if lease else []

    def _insert(self, attachment: Attachment, pod: str, addresses: Sequence[IPAddress]) -> None:
        self._database.executemany(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
            [
                (str(address), *_key(attachment), pod, self._boot, self._clock())
                for address in addresses
            ],
        )

    def _release(self, attachment: Attachment) -> None:
        self._database.execute(
            f"UPDATE leases SET released = ? WHERE {_OWNED}",  # noqa: S608 - a constant
            (self._clock(), *_key(attachment), self._boot),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                # A full disk has made SQLite roll back already.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # The low byte is the primary code; the others tell the occasion.
            # Python's own errors (text that is not UTF-8) have none.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise TryAgain(f"lease database {self._path} is locked", str(error)) from error
            raise InputOutputFailed(
                f"cannot use lease database {self._path}", str(error)
            ) from error
        except OSError as error:
            raise InputOutputFailed(
                f"cannot use lease database {self._path}", str(error)
            ) from error


def _create_private(path: Path) -> None:
    """Create the file with mode 0600 and the missing folders above it with 0700."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    # SQLite gives its journal the mode of the database.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _fits(held: Sequence[IPAddress], ranges: Sequence[AddressRange]) -> bool:
    """Whether the addresses are one of each range."""
    return len(held) == len(ranges) and all(
        any(range_.offers(address) for address in held) for range_ in ranges
    )


def _ordered(held: Sequence[IPAddress], ranges: Sequence[AddressRange]) -> tuple[IPAddress, ...]:
    """Sorted like the families of the ranges; IPv4 first when no range tells."""
    families = [range_.family.number for range_ in ranges] or [4, 6]
    known = [address for address in held if address.version in families]
    return tuple(sorted(known, key=lambda address: families.index(address.version)))


def _key(attachment: Attachment) -> tuple[str, str, str]:
    return attachment.network, attachment.container, attachment.interface
