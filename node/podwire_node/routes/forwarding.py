"""Forwarding between interfaces, which is off by default: turned on, and again when turned off.

The kernel announces what changes of net.ipv4.ip_forward and net.ipv6.conf.all.forwarding to the
netconf groups (linux/rtnetlink.h; since Linux 3.8). `sysctl --system`, which a package's
installation may run, is how a node loses it. Announcements about single links, four a pod that
comes, are left out by the socket's filter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from podwire_core.errors import ObjectError
from podwire_core.snapshot import Change, Snapshot
from podwire_node.announcements import Announcements
from podwire_node.routes.routing import allow_forwarding

log = logging.getLogger(__name__)

_RTNLGRP_IPV4_NETCONF = 24
_RTNLGRP_IPV6_NETCONF = 25
# Where NETCONFA_IFINDEX, the first attribute, has its value: behind nlmsghdr (16 bytes), netconfmsg
# (1, padded to 4) and the attribute's head (4). NETCONFA_IFINDEX_ALL is -1.
_OF_ALL_LINKS = (
    (0x20, 0, 0, 24),  # load the word there (BPF_LD | BPF_W | BPF_ABS)
    (0x15, 0, 1, 0xFFFFFFFF),  # is it -1? (BPF_JMP | BPF_JEQ | BPF_K)
    (0x06, 0, 0, 0xFFFFFFFF),  # take the message (BPF_RET | BPF_K)
    (0x06, 0, 0, 0),  # leave it out
)
_GROUPS = 1 << (_RTNLGRP_IPV4_NETCONF - 1) | 1 << (_RTNLGRP_IPV6_NETCONF - 1)


class Forwarding:
    """Implements podwire_node.parts.Work."""

    name = "forwarding"
    unusable: Sequence[ObjectError] = ()

    def __init__(self) -> None:
        self._announced = Announcements(_GROUPS, _OF_ALL_LINKS)
        self._dirty = True
        self.settled = False
        self.problems: list[str] = []

    @property
    def in_sync(self) -> bool:
        """Whether the node forwards packets, as far as we know."""
        return self.settled and not self._dirty and not self.problems

    def watched(self) -> Iterable[tuple[int, Callable[[], None]]]:
        """See Work."""
        yield self._announced.fileno(), self._notice

    def close(self) -> None:
        """Stop watching; what is turned on stays on."""
        self._announced.close()

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
        """Announcements of switches of all links; lost ones count as one."""
        self._dirty |= self._announced.any()
