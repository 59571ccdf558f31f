"""The file that leases are in: one SQLite database, and the boot that it belongs to.

```
 stateDir/              0700
   leases.db            0600   tables leases, ports, uids, frontiers
   leases.db-wal, -shm         while somebody has it open
   leases.boot                 the boot id that leases.db is of
```

Rules for maintainers:

* A file of another boot is nobody's: its pods did not survive either. It is replaced, whatever
  a power cut left of it. One of this boot that cannot be read is an error: a fresh one would
  give running pods' addresses away a second time.
* Write-ahead log, synchronous=NORMAL: after a power cut there is no pod to have an address, so
  nothing waits for the disk. A killed process is another matter: what it committed is the
  kernel's already, what it did not is rolled back by whoever comes next.
* An older podwire's file has no boot beside it, and the table `leases` alone. It is taken over
  with every lease of this boot in it. That table never changes, so that an older podwire can
  take the file back.
* Nobody opens the file but SQLite. POSIX locks are a process's, not a descriptor's: closing any
  other descriptor of the file would drop the locks of every other thread.
"""

import ipaddress
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from podwire_cni.errors import InputOutputFailed, TryAgain
from podwire_cni.family import IPAddress
from podwire_cni.lease_stock import Identity, Stock, identity_of
from podwire_cni.state_dir import create_private, locked, read_text, replace_text

FILE_NAME = "leases.db"
BOOT_NAME = "leases.boot"

_LAYOUT = 3  # PRAGMA user_version; an older podwire's files have 0
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
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holders ON leases (container, interface, network)
    WHERE released IS NULL;
CREATE INDEX IF NOT EXISTS resting ON leases (instr(address, ':') > 0, released, address)
    WHERE released IS NOT NULL;
CREATE TABLE IF NOT EXISTS ports (
    protocol       TEXT NOT NULL,
    host_port      INTEGER NOT NULL,
    host_ip        TEXT NOT NULL,
    container_port INTEGER NOT NULL,
    network        TEXT NOT NULL,
    container      TEXT NOT NULL,
    interface      TEXT NOT NULL,
    PRIMARY KEY (protocol, host_port, host_ip)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uids (
    container TEXT NOT NULL,
    interface TEXT NOT NULL,
    network   TEXT NOT NULL,
    uid       TEXT NOT NULL,
    PRIMARY KEY (container, interface, network)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS openers ON ports (container, interface, network);
CREATE TABLE IF NOT EXISTS frontiers (range TEXT PRIMARY KEY, address TEXT NOT NULL) WITHOUT ROWID;
"""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CACHE = 256  # KiB a connection; its default of 2 MiB would be most of what an agent has in memory

# Threads of one process wait here, and not in SQLite, which sleeps up to 0.1 s between tries.
_WRITING = threading.Lock()

_STOCK: Stock[sqlite3.Connection] = Stock()

Row: TypeAlias = Sequence[Any]  # of SQL values; SQLite keeps whatever it is given


@contextmanager
def kept_open(directory: Path) -> Iterator[None]:
    """Until it ends, this process opens the directory's file once and not for each call."""
    path = directory / FILE_NAME
    _STOCK.keep(path)
    try:
        yield
    finally:
        _STOCK.drop(path)


class LeaseFile:
    """The open file. Every method may raise TryAgain or InputOutputFailed.

    directory: made with mode 0700 when `create` is true; otherwise a directory without a file
    of this boot reads as an empty one.  lock_timeout: seconds.
    """

    def __init__(self, directory: Path, boot: str, *, create: bool, lock_timeout: float) -> None:
        self.path = directory / FILE_NAME
        self._boot = boot
        self._timeout = lock_timeout
        kept = _STOCK.take(self.path)
        self._identity, self._database = kept or self._connected(create=create)
        try:
            with self._translated():
                self._database.execute(f"PRAGMA busy_timeout = {int(lock_timeout * 1000)}")
                if kept is None:
                    self._lay_out()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close it, or keep it for the next call. The last to close folds the log into the file."""
        _STOCK.give(self.path, self._identity, self._database)

    def rows(self, sql: str, values: Row = ()) -> list[Row]:
        """Every row of a statement's answer."""
        with self._translated():
            return self._database.execute(sql, values).fetchall()

    def each(self, sql: str, values: Row = ()) -> Iterator[Row]:
        """The rows one by one, for who may stop at the first."""
        with self._translated():
            yield from self._database.execute(sql, values)

    def write(self, sql: str, values: Sequence[Row]) -> None:
        """Run a statement for each row of values."""
        with self._translated():
            self._database.executemany(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing, and nobody writes in between."""
        if not _WRITING.acquire(timeout=self._timeout):
            raise TryAgain(f"lease database {self.path} is locked", "by a call of this process")
        try:
            with self._block("BEGIN IMMEDIATE"):
                yield
        finally:
            _WRITING.release()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads of one moment; writers do not wait for it."""
        with self._block("BEGIN"):
            yield

    @contextmanager
    def _block(self, begin: str) -> Iterator[None]:
        with self._translated():
            self._database.execute(begin)
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                # A full disk has made SQLite roll back already.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def address(self, value: object) -> IPAddress:
        """A row's address, checked: there may have been a hand in the file, or a bad disk."""
        try:
            # ip_address() would also take four bytes.
            return ipaddress.ip_address(value if isinstance(value, str) else "")
        except ValueError:
            raise self.corrupt("address", value) from None

    def time(self, column: str, value: object) -> float:
        """A row's seconds since the epoch, checked."""
        if isinstance(value, float):
            return value
        raise self.corrupt(column, value)

    def corrupt(self, column: str, value: object) -> InputOutputFailed:
        """The error for a row that no podwire has written."""
        return InputOutputFailed(
            f"lease database {self.path} holds a corrupt row", f"{column} is {value!r}"
        )

    def _connected(self, *, create: bool) -> tuple[Identity | None, sqlite3.Connection]:
        """An open database, and which file it is; None for one that nobody else sees."""
        with self._translated():
            there = self._prepared(create=create)
            # Before it is opened: if it is replaced in between, it counts as another file.
            identity = identity_of(self.path) if there else None
            target = str(self.path) if there else ":memory:"
            # One thread at a time has it, if not always the same one.
            database = sqlite3.connect(target, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(f"PRAGMA cache_size = -{_CACHE}")
        return identity, database

    def _prepared(self, *, create: bool) -> bool:
        """Whether there is a file of this boot, or with `create` an empty one now."""
        if read_text(self.path.with_name(BOOT_NAME)) not in {None, self._boot}:
            self._replace()
        if create:
            create_private(self.path)
        return self.path.exists()

    def _replace(self) -> None:
        """Remove another boot's file, unless somebody did so meanwhile."""
        marker = self.path.with_name(BOOT_NAME)
        with locked(self.path.parent, self._timeout):
            if read_text(marker) == self._boot:
                return
            if not self._is_of_this_boot():
                for suffix in ("", "-wal", "-shm"):
                    self.path.with_name(FILE_NAME + suffix).unlink(missing_ok=True)
                create_private(self.path)
            replace_text(marker, self._boot)

    def _is_of_this_boot(self) -> bool:
        """Whether an older podwire, which leaves no marker, has taken the file over since."""
        try:
            with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
                sql = "DELETE FROM leases WHERE boot != ?"
                database.execute(sql, (self._boot,))
                return bool(database.execute("SELECT 1 FROM leases LIMIT 1").fetchall())
        except sqlite3.Error:
            return False

    def _lay_out(self) -> None:
        """Give the file log and tables, once; an older podwire's keeps its leases."""
        if self._identity is not None:
            self._begin_log()
        ((layout,),) = self._database.execute("PRAGMA user_version")
        if layout >= _LAYOUT:
            return
        with self.transaction():
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._database.execute(statement)
            self._database.execute("DELETE FROM leases WHERE boot != ?", (self._boot,))
            self._database.execute(f"PRAGMA user_version = {_LAYOUT}")
        if self._identity is not None:
            replace_text(self.path.with_name(BOOT_NAME), self._boot)

    def _begin_log(self) -> None:
        """Switch to the write-ahead log, where the file has none yet.

        While another call has it open it works as it did before, slower and just as right; the
        next call tries again.
        """
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY:
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # The low byte is the primary code; the others tell the occasion.
            # Python's own errors (text that is not UTF-8) have none.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise self._failure(code, error) from error
        except OSError as error:
            raise self._failure(0, error) from error

    def _failure(self, code: int, error: Exception) -> InputOutputFailed | TryAgain:
        if code in _BUSY:
            return TryAgain(f"lease database {self.path} is locked", str(error))
        if code in _DAMAGED:
            return InputOutputFailed(
                f"cannot use lease database {self.path}: it is damaged",
                f"{error}; drain the node, remove {self.path}*, and make its pods anew",
            )
        return InputOutputFailed(f"cannot use lease database {self.path}", str(error))
