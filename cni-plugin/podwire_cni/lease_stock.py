"""Open databases that wait for the next call, in a process that serves many.

Opening costs several times what a lease costs: the schema is read, and whoever closes last folds
the log into the file. The agent keeps what its calls opened; a process for one call does not.

```
 with leases.kept_open(state_dir):     Leases(…) ─ close ─► idle ─ the next Leases(…) ─►
```

A file that was removed or replaced meanwhile is another file: what is open of the old one is
closed and not used again.
"""

import os
import threading
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, TypeVar

_MOST_IDLE = 16  # of one file; more calls than that at once open their own

Identity: TypeAlias = tuple[int, int]  # of a file: device and inode


class Closeable(Protocol):
    """What is kept."""

    def close(self) -> None:
        """Give it up."""


_Open = TypeVar("_Open", bound=Closeable)


class Stock(Generic[_Open]):
    """Idle ones by the path of their file. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Path, list[tuple[Identity, _Open]]] = {}

    def keep(self, path: Path) -> None:
        """From now on what is given back of this file waits for the next call."""
        with self._lock:
            self._idle.setdefault(path, [])

    def drop(self, path: Path) -> None:
        """Close what waits, and keep no more."""
        with self._lock:
            waiting = self._idle.pop(path, [])
            while waiting:  # a call that is about to take one finds none
                waiting.pop()[1].close()

    def take(self, path: Path) -> tuple[Identity, _Open] | None:
        """One of the file that has this path now, or None."""
        while waiting := self._idle.get(path):
            with self._lock:
                if not waiting:
                    return None
                identity, opened = waiting.pop()
            if identity == identity_of(path):
                return identity, opened
            opened.close()
        return None

    def give(self, path: Path, identity: Identity | None, opened: _Open) -> None:
        """Take it back, or close it where nothing is kept. identity: None for no file."""
        with self._lock:
            waiting = self._idle.get(path)
            if waiting is not None and identity is not None and len(waiting) < _MOST_IDLE:
                waiting.append((identity, opened))
                return
        opened.close()


def identity_of(path: Path) -> Identity | None:
    """Which file has this path now; None for none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - once a call, and half the time of Path's
    except OSError:
        return None
    return status.st_dev, status.st_ino
