"""The ring of events, read where the kernel writes it (linux/bpf.h, Documentation/bpf/ringbuf.rst).

    page 0        consumer's position; ours to write
    page 1        producer's position; the kernel's
    page 2 …      the data, twice in a row, so that no record is cut at the end

A record is a header (length with two bits, page) and its bytes, padded to eight. A record whose
BUSY bit stands is not written yet: reading ends there.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from contextlib import ExitStack

from podwire_ebpf import codecs, layout
from podwire_ebpf.records import Event, Lost
from podwire_ebpf.tables import Table

_BUSY, _DISCARD = 1 << 31, 1 << 30
_HEADER = 8
_MOST = 4096  # events a read gives at once; the descriptor stays readable for the rest


class Events:
    """A reader of the ring, of whom there can be one. `fileno` is readable when events wait.

    It has descriptors of its own, and outlives the plane: `close` it. Raises OSError.
    """

    def __init__(self, descriptor: int, lost: Table[int, Lost], size: int = layout.RING[1]) -> None:
        page = mmap.PAGESIZE
        self._size, self._data = size, page
        self._fence = threading.Lock()
        with ExitStack() as held:
            self._descriptor = _own(descriptor, held)
            self._lost = Table(lost.layout, _own(lost.descriptor, held))
            # The consumer's position is one number, and so is the producer's.
            consumer = held.enter_context(
                mmap.mmap(self._descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            )
            producer = held.enter_context(
                mmap.mmap(
                    self._descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
                )
            )
            self._consumed = held.enter_context(memoryview(consumer).cast("Q"))
            self._produced = held.enter_context(memoryview(producer).cast("B"))
            self._held = held.pop_all()

    def fileno(self) -> int:
        """To wait on with epoll or select."""
        return self._descriptor

    @property
    def lost(self) -> int:
        """How many events found no room since the ring was made."""
        told = self._lost.get(0)
        return told.events if told else 0

    def read(self, limit: int = _MOST) -> list[Event]:
        """Events that are there, oldest first and at most so many. It never waits."""
        found: list[Event] = []
        position, end = self._consumed[0], self._position()
        while position < end and len(found) < limit:
            length = self._header(position)
            if length & _BUSY:
                break
            size = length & ~(_BUSY | _DISCARD)
            if not length & _DISCARD and size == layout.EVENT_SIZE:
                found.append(codecs.unpack_event(self._bytes(position + _HEADER, size)))
            position += (size + _HEADER + 7) & ~7
        self._consumed[0] = position
        return found

    def close(self) -> None:
        """Unmap the ring."""
        self._held.close()

    # A lock is taken for the barrier that comes with it: what follows is read after it, as the
    # kernel wrote it before (its smp_store_release), on machines that reorder reads too.

    def _position(self) -> int:
        (position,) = struct.unpack_from("=Q", self._produced)
        with self._fence:
            return int(position)

    def _header(self, position: int) -> int:
        (length,) = struct.unpack_from("=I", self._produced, self._offset(position))
        with self._fence:
            return int(length)

    def _bytes(self, position: int, size: int) -> bytes:
        begin = self._offset(position)
        return bytes(self._produced[begin : begin + size])

    def _offset(self, position: int) -> int:
        return self._data + (position & (self._size - 1))


def _own(descriptor: int, held: ExitStack) -> int:
    """Another descriptor of the same map."""
    mine = os.dup(descriptor)
    held.callback(os.close, mine)
    return mine
