"""Once a minute, in a thread, for it may fork: programs are attached, and calls reach them.

Others may detach what is ours, and no one announces it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

from podwire_ebpf.errors import BpfError
from podwire_ebpf.proof import Proof

PERIOD_S = 60.0
_FAREWELL_S = 1.0

Found = Proof | BpfError


class Prover:
    """prove: looks, in the thread. The first look is asked for; close it."""

    def __init__(self, prove: Callable[[], Proof], period: float = PERIOD_S) -> None:
        self._prove, self._period = prove, period
        self._asked = threading.Condition()
        self._wanted = self._closed = False
        self._found: deque[Found] = deque(maxlen=1)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._work, name="prove-sockets", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable when there is something new."""
        return self._bell

    def ask(self) -> None:
        """Look now."""
        with self._asked:
            self._wanted = True
            self._asked.notify()

    def hear(self) -> Found | None:
        """What was found last; None when that was heard already."""
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return None
        return self._found.popleft() if self._found else None

    def close(self) -> None:
        """Look no more."""
        with self._asked:
            self._closed = True
            self._asked.notify()
        self._thread.join(_FAREWELL_S)
        if not self._thread.is_alive():  # else it might ring
            os.close(self._bell)

    def _work(self) -> None:
        with self._asked:
            self._asked.wait_for(lambda: self._wanted or self._closed)
        while not self._closed:
            self._wanted = False
            self._found.append(self._look())
            with self._asked:
                if not self._closed:
                    os.eventfd_write(self._bell, 1)
                self._asked.wait_for(lambda: self._wanted or self._closed, self._period)

    def _look(self) -> Found:
        try:
            return self._prove()
        except BpfError as error:
            return error
        except Exception as error:  # noqa: BLE001 - told as what it is: one look's fault is not the next one's
            return BpfError(f"a fault of podwire's own: {error!r}; please report it")
