"""Removes links for a process that lives on, without waiting for the kernel to be done.

```
 the call            ├─ index, subscribe ─┤            ├─ announced: gone ─► on with the DEL
 a thread of its own                      ├─ RTM_DELLINK ──── rcu_barrier() ────────┤ answer
 the kernel                               ├─ both ends gone, announced ─┤
                                                     0.6 ms                20 ms and more
```

The kernel answers a deletion after every CPU has let go of what it held (netdev_run_todo,
net/core/dev.c). Both ends have left both namespaces long before, with their names, addresses
and routes, and RTNLGRP_LINK is told. What the answer still brings is a refusal, and whichever
comes first is waited for.
"""

import errno
import os
import select
import socket
import threading

from podwire_cni.namespace import link_index
from podwire_cni.netlink import refusal, remove_index
from podwire_cni.rtnetlink import Socket, index_in

_RTMGRP_LINK = 1  # linux/rtnetlink.h
_RTM_DELLINK = 17
_FAMILY = 16  # where struct ifinfomsg has it; a bridge's ports are announced with another
# Deletions under way. All wait out the same grace periods: 8 at once let a DEL in a row of 60
# take 7 ms, 32 take 2 ms, and 64 no less.
_MOST_AT_ONCE = 32


class LinkRemover:
    """Thread-safe. Works in the network namespace of the thread that calls `remove`."""

    def __init__(self) -> None:
        self._turns = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def remove(self, name: str) -> bool:
        """Remove a link; False when there is none of that name. Raises KernelRefused.

        Its name is free, and what it carried is gone, when this returns.
        """
        with refusal(f"host: link del {name}"), Socket(_RTMGRP_LINK) as events:
            # Looked up after subscribing: its end is heard of, whoever brings it about.
            index = link_index(name)
            if index is None:
                return False
            done, ended = os.pipe()
            try:
                deletion = _Deletion(name, index, ended, self._turns)
                return _announced(events, done, name, index) or deletion.outcome()
            finally:
                os.close(done)


class _Deletion(threading.Thread):
    """Sends one deletion and stays for the answer; closes `ended` when that has come."""

    def __init__(
        self, name: str, index: int, ended: int, turns: threading.BoundedSemaphore
    ) -> None:
        super().__init__(name=f"podwire-cni-del-{name}")
        self._link = name, index
        self._ended = ended
        self._turns = turns
        self._found = False
        self._error: Exception | None = None
        turns.acquire()
        try:
            self.start()
        except BaseException:
            self._finish()
            raise

    def run(self) -> None:
        try:
            with Socket() as node:
                self._found = remove_index(node, *self._link)
        except Exception as error:  # noqa: BLE001 - outcome() raises it where it matters
            self._error = error
        finally:
            self._finish()

    def outcome(self) -> bool:
        """Whether there was such a link, once `ended` is closed. Raises Refused."""
        if self._error is not None:
            raise self._error
        return self._found

    def _finish(self) -> None:
        os.close(self._ended)
        self._turns.release()


def _announced(events: Socket, done: int, name: str, index: int) -> bool:
    """Wait until the link's end is announced: True; or the deletion is answered: False."""
    poll = select.poll()
    poll.register(events, select.POLLIN)
    poll.register(done, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if events.fileno() in ready and _heard_of(events, name, index):
            return True
        if done in ready:
            return False


def _heard_of(events: Socket, name: str, index: int) -> bool:
    try:
        # A list: the rest of a datagram is read in any case.
        told = list(events.announcements())
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return link_index(name) != index  # other links' news filled the socket
    return any(
        kind == _RTM_DELLINK and message[_FAMILY] == socket.AF_UNSPEC and index_in(message) == index
        for kind, message in told
    )
