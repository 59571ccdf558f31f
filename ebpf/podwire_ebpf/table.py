"""A map of the kernel as a table of Python: typed rows in and out, many at a time.

A batch is a bounded part of a table, so neither a read nor a write holds more than some thousand
rows as bytes. A read while others write sees each row whole, and not all of one moment.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from podwire_ebpf import syscall
from podwire_ebpf.layout import Kind, Layout

K = TypeVar("K")
V = TypeVar("V")

BATCH = 4096
_NO_BATCHES = 524  # ENOTSUPP, of this kind of map in this kernel (per-CPU arrays before 5.13)
_FULL = frozenset({errno.E2BIG, errno.ENOSPC, errno.ENOMEM})
_TRIES = 8  # an element's memory is taken without waiting, so a try may fail that the next does not
_ARRAYS = frozenset({Kind.ARRAY, Kind.PERCPU_ARRAY})
_POSSIBLE = Path("/sys/devices/system/cpu/possible")


class Table(Generic[K, V]):
    """One map, whose descriptor it owns.

    Values of a per-CPU array are sums over the CPUs; what is written goes to the first of them.
    Rows of an array that are zero at all are no rows to who reads many.
    """

    def __init__(self, described: Layout[K, V], descriptor: int) -> None:
        self.layout = described
        self.descriptor = descriptor
        self.stride = described.element_size
        self._copies = 1
        if described.kind is Kind.PERCPU_ARRAY:
            self.stride = (self.stride + 7) & ~7
            self._copies = possible_cpus()
        self.element_size = self.stride * self._copies

    def read(self) -> dict[K, V]:
        """All rows."""
        return dict(self.items())

    def items(self) -> Iterator[tuple[K, V]]:
        """All rows, read part by part."""
        unpack = self.layout.key.unpack
        for key, value in self.raw():
            yield unpack(key), self.decode(value)

    def raw(self) -> Iterator[tuple[bytes, bytes]]:
        """All rows as the kernel has them; of a per-CPU map the CPUs' values in one row."""
        size, each = self.layout.key.size, self.element_size
        nothing = bytes(each) if self.layout.kind in _ARRAYS else None
        for part in self._parts():
            for number in range(part.count):
                value = part.values[number * each : (number + 1) * each]
                if value != nothing:
                    yield part.keys[number * size : (number + 1) * size], value

    def get(self, key: K) -> V | None:
        """A row's value; None: there is none."""
        try:
            found = syscall.lookup(self.descriptor, self.layout.key.pack(key), self.element_size)
        except FileNotFoundError:
            return None
        return self.decode(found)

    def update(self, rows: Mapping[K, V]) -> None:
        """Put rows in. Raises OSError (E2BIG) when some have no room; all others are in."""
        if self.put(rows.items()):
            raise OSError(errno.E2BIG, f"table {self.layout.name} is full")

    def put(self, rows: Iterable[tuple[K, V]]) -> list[K]:
        """Put rows in; the keys of those that have no room. Raises OSError for all else."""
        refused: list[K] = []
        every = iter(rows)
        while part := list(islice(every, BATCH)):
            keys = [self.layout.key.pack(key) for key, _ in part]
            values = [self._encode(key, value) for key, value in part]
            refused += [part[number][0] for number in self._put(keys, values)]
        return refused

    def delete(self, keys: Iterable[K]) -> None:
        """Take rows out; one that is not there is no error."""
        every = map(self.layout.key.pack, keys)
        while part := list(islice(every, BATCH)):
            self._delete(part)

    def close(self) -> None:
        """Give the descriptor back; the map stays where it is pinned."""
        # A thread that reads on reads no other file that gets the number.
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    # ------------------------------------------------------------------------------ values

    def _encode(self, key: K, value: V) -> bytes:
        packed = self.layout.value.pack(key, value)
        return packed if self._copies == 1 else packed.ljust(self.element_size, b"\0")

    def decode(self, raw: bytes) -> V:
        """A value as `raw` gives it."""
        unpack, size = self.layout.value.unpack, self.layout.value.size
        if self._copies == 1:
            return unpack(raw)
        each = len(raw) // self._copies
        copies = [unpack(raw[at : at + size]) for at in range(0, len(raw), each)]
        sums: Any = map(sum, zip(*copies, strict=True))
        return type(copies[0])(*sums)

    # ------------------------------------------------------------------------------ batches

    def _parts(self) -> Iterator[syscall.Part]:
        cursor, count, first = None, min(BATCH, self.layout.elements), True
        while first or cursor is not None:
            try:
                part = syscall.lookup_batch(
                    self.descriptor, cursor, count, self.layout.key.size, self.element_size
                )
            except OSError as error:
                if error.errno == _NO_BATCHES and first:
                    yield from self._one_by_one()
                    return
                if error.errno != errno.ENOSPC or count > self.layout.elements:
                    raise
                count *= 2  # a bucket that is fuller than a part
                continue
            yield part
            cursor, first = part.cursor, False

    def _one_by_one(self) -> Iterator[syscall.Part]:
        """The same where the kernel reads no batches of such a map."""
        key = None
        for _ in range(self.layout.elements):
            try:
                key = syscall.next_key(self.descriptor, key, self.layout.key.size)
                value = syscall.lookup(self.descriptor, key, self.element_size)
            except FileNotFoundError:
                return
            yield syscall.Part(key, value, 1, None)

    def _put(self, keys: list[bytes], values: list[bytes]) -> Iterator[int]:
        """The numbers of the rows that found no room."""
        done, code = syscall.update_batch(
            self.descriptor, b"".join(keys), b"".join(values), len(keys)
        )
        if not code:
            return
        if code not in _FULL and code != _NO_BATCHES:
            raise OSError(code, f"table {self.layout.name}: {os.strerror(code)}")
        for number in range(done, len(keys)):
            if not self._put_one(keys[number], values[number]):
                yield number

    def _put_one(self, key: bytes, value: bytes) -> bool:
        for _ in range(_TRIES):
            try:
                syscall.update(self.descriptor, key, value)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                if error.errno != errno.ENOMEM:
                    return False
            else:
                return True
        return False

    def _delete(self, keys: list[bytes]) -> None:
        at = 0
        while at < len(keys):
            rest = keys[at:]
            done, code = syscall.delete_batch(self.descriptor, b"".join(rest), len(rest))
            if not code:
                return
            if code == _NO_BATCHES:
                self._delete_one(keys[at])
            elif code != errno.ENOENT:
                raise OSError(code, f"table {self.layout.name}: {os.strerror(code)}")
            at += done + 1  # the next one was not there

    def _delete_one(self, key: bytes) -> None:
        with suppress(FileNotFoundError):
            syscall.delete(self.descriptor, key)


def possible_cpus() -> int:
    """How many CPUs the kernel keeps room for: "0-3,8" is five, there is none for a hole."""
    ranges = (each.partition("-") for each in _POSSIBLE.read_text().strip().split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
