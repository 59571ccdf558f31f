"""Memory: the collector of cycles, told when there is nothing for it to do; and what is free."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """For a block that makes hundreds of thousands of objects and no cycle among them.

    The collector looks through all there is each time their number has grown by a quarter: a
    fifth of the time that filling the tables takes. What is let go is freed all the same.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def give_back() -> None:
    """Let the kernel have what malloc keeps for later, after much was made and let go.

    Ten megabytes once ten thousand Services are filled in, in some milliseconds. Where the C
    library is not glibc, nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
