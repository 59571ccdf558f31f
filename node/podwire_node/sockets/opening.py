"""The plane is opened in a thread, because it may have to be compiled; nftables serves meanwhile.

begin() ─► thread: open_plane, and the programs for traffic from outside ─► bell ─► loop

Where these alone cannot be, sockets are served all the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from podwire_ebpf.errors import BpfError
from podwire_ebpf.plane import External, Place, Plane, open_plane

#: A compile that hangs ends by itself (podwire_ebpf.compilation); nothing waits longer for it.
_FAREWELL_S = 1.0


class Opened(NamedTuple):
    """external: None where it was not asked for, or was refused: by what."""

    plane: Plane
    external: External | None = None
    refused: BpfError | None = None


Outcome = Opened | BpfError


def opener(place: Place, *, external: bool) -> Callable[[], Outcome]:
    """What opens a place's plane."""

    def open_both() -> Outcome:
        try:
            plane = open_plane(place)
        except BpfError as error:
            return error
        return _with_external(plane) if external else Opened(plane)

    return open_both


def _with_external(plane: Plane) -> Opened:
    try:
        return Opened(plane, plane.external())
    except BpfError as error:
        return Opened(plane, refused=error)
    except BaseException:
        plane.close()
        raise


class Opening:
    """One attempt at a time. Close it: what is opened after that is closed by the thread."""

    def __init__(self, open_both: Callable[[], Outcome]) -> None:
        self._open = open_both
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._outcome: Outcome | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def runs(self) -> bool:
        """Whether an attempt has begun of which outcome() was not asked yet."""
        return self._thread is not None

    def fileno(self) -> int:
        """Readable when an attempt is over."""
        return self._bell

    def begin(self) -> None:
        """Try."""
        self._thread = threading.Thread(target=self._work, name="open-sockets", daemon=True)
        self._thread.start()

    def outcome(self) -> Outcome | None:
        """What came of it; None where it is not over."""
        with self._lock:
            found, self._outcome = self._outcome, None
        if found is not None and self._thread is not None:
            self._thread.join()
            self._thread = None
            os.eventfd_read(self._bell)
        return found

    def close(self) -> None:
        """Wait for nothing: whatever comes is given back."""
        with self._lock:
            self._closed = True
            found, self._outcome = self._outcome, None
        if isinstance(found, Opened):
            found.plane.close()
        if self._thread is not None:
            self._thread.join(_FAREWELL_S)
        if self._thread is None or not self._thread.is_alive():  # else it might ring
            os.close(self._bell)

    def _work(self) -> None:
        try:
            found = self._open()
        except Exception as error:  # noqa: BLE001 - told as what it is: the thread's end is no answer
            found = BpfError(f"a fault of podwire's own: {error!r}; please report it")
        with self._lock:
            if not self._closed:
                self._outcome = found
                os.eventfd_write(self._bell, 1)
                return
        if isinstance(found, Opened):
            found.plane.close()
