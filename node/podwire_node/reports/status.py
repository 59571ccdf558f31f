"""What the agent says of itself, in a file that is always whole (podwire_core.files)."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import msgspec

from podwire_core.files import write_json

log = logging.getLogger(__name__)


class Status(msgspec.Struct, frozen=True):
    """The agent's status.

    ready: everything there is was read, and its first sync, routes included, is in the kernel.
    Once true it stays: what fails later shows in in_sync, problems and failures.
    in_sync: everything that is wanted is in the kernel now, and the feed is up to date.
    waiting: what the agent waits for, each a sentence; podCIDRs are the cluster's to give, so
    an agent without them is ready (it serves Services), and says that it waits.

    ready_seconds: from the process's start, interpreter included, until ready. rss_mb: resident
    memory in MiB when this was written, which the file adds. transactions, repairs,
    failures: by table owner ("proxy", "policy", "guard", "masquerade", "host-ports"), since the
    start.
    proxy_backend: what answers for Services at sockets now: nftables or ebpf; "" without component
    proxy. proxy_fallback: why it is nftables, where ebpf was asked for.
    mtu: pods' MTU, 0 where the plugin finds it. letters: what was told to the API server, by what
    became of it.
    problems: objects that are not in force, each a sentence that names object and field, and
    what the kernel or the feed refuses.
    """

    node: str
    pid: int
    ready: bool
    ready_seconds: float | None
    objects: int
    routes: int
    transactions: dict[str, int]
    repairs: dict[str, int]
    failures: dict[str, int]
    rss_mb: float = 0.0
    in_sync: bool = False
    waiting: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    mtu: int = 0
    proxy_backend: str = ""
    proxy_fallback: str = ""
    letters: dict[str, int] = {}
    problems: tuple[str, ...] = ()


class StatusFile:
    """The file; one that cannot be written must not end the one who repairs the rules.

    What an earlier process said of itself goes at once: whoever asks whether we are ready must
    not be told that it was.
    """

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()
        self._path = path
        self._written: Status | None = None
        self._lost = False

    def write(self, status: Status) -> None:
        """Write the status when it says something new."""
        if status == self._written:
            return
        try:
            write_json(self._path, msgspec.structs.replace(status, rss_mb=resident_mb()))
        except OSError as error:
            if not self._lost:
                log.error("%s: %s; going on without", self._path, error.strerror)  # noqa: TRY400 - a sentence
            self._lost = True
            return
        self._written, self._lost = status, False


def resident_mb() -> float:
    """Resident memory of this process in MiB (/proc/self/statm, field 2, in pages)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def seconds_since_start() -> float:
    """Since this process was started, interpreter included (/proc/self/stat, field 22)."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return round(uptime - started, 2)
