"""A table whose rows stand in blocks: so many in one element of the kernel's array.

A per-CPU array has each element in memory of its own, so rows that are used together are near each
other only within an element. Only the programs write such rows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NoReturn, TypeVar

from podwire_ebpf import syscall
from podwire_ebpf.table import Table

V = TypeVar("V")

_INDEX = struct.Struct("=I")


class Blocks(Table[int, V]):
    """Rows by number: row 70 of blocks of 64 is the sixth of element 1."""

    def raw(self) -> Iterator[tuple[bytes, bytes]]:
        """All rows that are not zero; of a per-CPU map the CPUs' values in one row."""
        block = self.layout.block
        for key, element in super().raw():
            (place,) = _INDEX.unpack(key)
            for number in range(block):
                row = self._row(element, number)
                if any(row):
                    yield _INDEX.pack(place * block + number), row

    def get(self, key: int) -> V | None:
        """A row's value; None: there is none."""
        place, number = divmod(key, self.layout.block)
        try:
            element = syscall.lookup(self.descriptor, _INDEX.pack(place), self.element_size)
        except FileNotFoundError:
            return None
        return self.decode(self._row(element, number))

    def put(self, _: Iterable[tuple[int, V]]) -> NoReturn:
        """No: another row of the block could count at the same moment."""
        raise ValueError(f"{self.layout.name} is read alone")

    def _row(self, element: bytes, number: int) -> bytes:
        """A row of an element, of all CPUs."""
        size = self.layout.value.size
        starts = range(number * size, len(element), self.stride)
        return b"".join(element[at : at + size] for at in starts)
