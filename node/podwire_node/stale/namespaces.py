"""Every network namespace in which a program of this machine may have sockets.

    own, and those with a name (/run/netns)     runtimes name pods' there, and `ip netns` does
    those of processes (/proc/PID/ns/net)       whatever made them

A namespace of which a process's second thread alone is in, or an open descriptor alone tells, is
not found. To enter one takes SYS_ADMIN. To see where a process is that has more capabilities than
we takes SYS_PTRACE, and a container sees no process of the node's: there names count (deploy/).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from podwire_cni.namespace import inside

log = logging.getLogger(__name__)

#: Of one search; a node has some hundred pods.
MOST = 4096

_OWN = "/proc/thread-self/ns/net"
_NAMED = "/run/netns"
_T = TypeVar("_T")


class Refusals:
    """Says once that we may not look everywhere. lost: what does not happen where we may not."""

    def __init__(self, lost: str) -> None:
        self._lost = lost
        self._said = False

    def __call__(self, refused: int) -> None:
        """A search is over, and so many were closed to us."""
        if refused and not self._said:
            self._said = True
            log.warning(
                "%d names or processes do not let us into their network namespaces (it takes"
                " SYS_ADMIN, and SYS_PTRACE for what has no name in %s): %s",
                *(refused, _NAMED, self._lost),
            )


def everywhere(
    work: Callable[[], _T], refusals: Callable[[int], object] = lambda _: None
) -> Iterator[_T]:
    """What some work comes to in each namespace, done by a thread in there, one after another.

    One that goes meanwhile, or that we may not enter, is passed over. refusals: is told how many
    names and processes were closed to us, once all are through. Raises what the work does, which is
    no OSError.
    """
    kind = Path(_OWN).stat().st_dev
    seen: set[int] = set()
    refused = 0
    for path in _paths():
        if len(seen) == MOST:
            break
        try:
            found = os.stat(path)  # noqa: PTH116 - thousands of processes, and mostly nothing new
            if found.st_dev != kind or found.st_ino in seen:
                continue
            seen.add(found.st_ino)
            outcome = _within(path, work)
        except PermissionError:
            refused += 1
        except OSError:
            continue  # it ended
        else:
            yield outcome
    refusals(refused)


def _within(path: str, work: Callable[[], _T]) -> _T:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return inside(descriptor, work)
    finally:
        os.close(descriptor)


def _paths() -> Iterator[str]:
    yield _OWN
    for folder, rest in ((_NAMED, ""), ("/proc", "/ns/net")):
        with suppress(OSError), os.scandir(folder) as entries:
            for each in entries:
                if not rest or each.name.isdigit():
                    yield f"{each.path}{rest}"
