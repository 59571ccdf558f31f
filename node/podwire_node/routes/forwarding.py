"""Forwarding between interfaces, which is off by default: turned on, and again when turned off.

The kernel announces what changes of net.ipv4.ip_forward and net.ipv6.conf.all.forwarding to the
netconf groups (linux/rtnetlink.h; since Linux 3.8). `sysctl --system`, which a package's
installation may run, is how a node loses it.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Iterable, Sequence

from podwire_core.errors import ObjectError
from podwire_core.snapshot import Change, Snapshot
from podwire_node.routes.routing import allow_forwarding

log = logging.getLogger(__name__)

_RTNLGRP_IPV4_NETCONF = 24
_RTNLGRP_IPV6_NETCONF = 25
_GROUPS = 1 << (_RTNLGRP_IPV4_NETCONF - 1) | 1 << (_RTNLGRP_IPV6_NETCONF - 1)


class Forwarding:
    """Implements podwire_node.parts.Work."""

    name = "forwarding"
    unusable: Sequence[ObjectError] = ()

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))
        self._dirty = True
        self.settled = False
        self.problems: list[str] = []

    @property
    def in_sync(self) -> bool:
        """Whether the node forwards packets, as far as we know."""
        return self.settled and not self._dirty and not self.problems

    def watched(self) -> Iterable[tuple[int, Callable[[], None]]]:
        """See Work."""
        yield self._socket.fileno(), self._notice

    def close(self) -> None:
        """Stop watching; what is turned on stays on."""
        self._socket.close()

    def take(self, _snapshot: Snapshot, _changes: Sequence[Change]) -> None:
        """Forwarding depends on no object."""

    def sync(self, _now: float) -> float | None:
        """Turn forwarding on where it is off. What cannot be is told, and tried when it changes."""
        if self._dirty:
            self._dirty = False
            before, self.problems = (
                self.problems,
                [f"forwarding: {row}" for row in allow_forwarding()],
            )
            for problem in self.problems:
                if problem not in before:
                    log.error("%s", problem, extra={"component": self.name})
            self.settled = True
        return None

    def _notice(self) -> None:
        """Announcements, also of interfaces that come and go; lost ones (ENOBUFS) count as one.

        Any other error is one of this program, may last for ever, and is raised.
        """
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            self._dirty = True
