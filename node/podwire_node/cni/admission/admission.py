"""Where the CNI server's threads meet the agent's loop: pods that come, and pods that go.

```
 thread of a call                     loop
 admit(lease)  ── notice, bell ──►  taken() ─► policy and hostPorts take it, and sync
      waits  ◄──────────── notice.settle() ◄── all of it is in the kernel
 leave(lease)  ── notice, bell ──►  taken() ─► they forget it
```

Notices come to the loop in the order of their threads' calls, so a hostPort that one pod gave
back is taken from it before the next one gets it. A thread waits PATIENCE seconds at most:

    not in the kernel by then       the ADD fails and says what was waited for; whoever asked
                                    tries again
    in the kernel, but the feed     the ADD goes on. The kernel denies all of the pod's packets,
    has not told of the pod         and the loop opens it when the feed tells what it is
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator

from podwire_cni.errors import TryAgain
from podwire_cni.leases import Lease

log = logging.getLogger(__name__)

PATIENCE = 5.0
# Beyond so many unheard notices those who leave wait too, which the number of threads bounds.
_UNHEARD = 1000


class Notice:
    """A lease that came or went. The thread waits for settle(), or for nothing.

    uid: of the Kubernetes Pod, "" where the runtime does not say it.
    awaited: what is not in the kernel yet; the loop writes it, the thread quotes it.
    unknown: the pod that the feed has not told of, all of whose packets are denied; the same.
    left: whether the thread has gone on without.
    """

    __slots__ = ("_lock", "awaited", "came", "lease", "left", "uid", "unknown")

    def __init__(self, lease: Lease, *, came: bool, uid: str = "") -> None:
        self.lease, self.came, self.uid = lease, came, uid
        self.awaited = "the agent's loop"
        self.unknown = ""
        self.left = False
        # A lock is all of an Event that one waiter needs, at a fifth of its cost.
        self._lock = threading.Lock()
        self._lock.acquire()

    def settle(self) -> None:
        """What was asked for is in the kernel, or waits for nothing any more. At most once."""
        self._lock.release()

    def settled(self, seconds: float) -> bool:
        """Wait; whether it was settled in time."""
        return self._lock.acquire(timeout=max(0.0, seconds))


class Admission:
    """Made by the loop. close() when the loop turns no more.

    serves_ports: whether hostPorts are kept by this agent.  is_open: whether no policy can concern
    a pod that comes now, which then waits for nothing; the loop says so.
    """

    def __init__(self, *, serves_ports: bool = False) -> None:
        self.serves_ports = serves_ports
        self.is_open = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._guard = threading.Lock()
        self._unheard: deque[Notice] = deque()
        self._closed = False
        self._loop = threading.get_ident()

    def fileno(self) -> int:
        """Readable when there are notices."""
        return self._bell

    def close(self) -> None:
        """Admit no one any more; those who wait are told so. A second time is once."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            os.close(self._bell)
            unheard, self._unheard = self._unheard, deque()
        refuse(unheard)

    # ------------------------------------------------------------- in the calls' threads

    def admit(self, lease: Lease, deadline: float, uid: str = "") -> None:
        """Return when the pod's policy and hostPorts are in force.

        deadline: by time.monotonic().  uid: see Notice. Raises TryAgain that names what is not.
        """
        notice = Notice(lease, came=True, uid=uid)
        if self.is_open and not lease.ports:
            self._put(notice)
            return
        wait = min(PATIENCE, deadline - time.monotonic())
        settled = self._put(notice) and notice.settled(wait)
        if notice.awaited:
            raise TryAgain(notice.awaited if settled else f"waited in vain for {notice.awaited}")
        if not settled:
            self._go_on(notice)

    def _go_on(self, notice: Notice) -> None:
        """The pod gets its network, and nobody can reach it through that, nor it anybody."""
        log.warning(
            "cni: %s is not known yet: it gets its network, and all of its packets are denied until"
            " the feed tells of it",
            notice.unknown,
        )
        notice.left = True
        with self._guard:
            if not self._closed:
                os.eventfd_write(self._bell, 1)  # the loop tells it, too

    def announce(self, lease: Lease) -> None:
        """A pod that came before the loop knew of it; nobody waits."""
        self._put(Notice(lease, came=True))

    def leave(self, lease: Lease) -> None:
        """The pod's policy and hostPorts are needed no more; waits for the latter alone."""
        notice = Notice(lease, came=False)
        heard = self._put(notice)
        if threading.get_ident() == self._loop:  # a DEL that was queued, see cni.queue
            return
        if heard and (lease.ports or len(self._unheard) > _UNHEARD):
            notice.settled(PATIENCE)

    def _put(self, notice: Notice) -> bool:
        with self._guard:
            if self._closed:
                return False
            self._unheard.append(notice)
            os.eventfd_write(self._bell, 1)
        return True

    # ----------------------------------------------------------------------- in the loop

    def taken(self) -> Iterator[Notice]:
        """What came since the last time, oldest first."""
        os.eventfd_read(self._bell)
        while self._unheard:
            yield self._unheard.popleft()


def refuse(notices: Iterable[Notice]) -> None:
    """Wake who waits for these; a pod that was to come is refused."""
    for notice in notices:
        notice.awaited = "the podwire agent is ending"
        notice.settle()
