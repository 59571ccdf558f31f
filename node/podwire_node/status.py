"""What the agent says of itself, in a file that is always whole (podwire_core.files)."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Status(msgspec.Struct, frozen=True):
    """The agent's status.

    ready: the first sync of everything is in the kernel. ready_seconds: from the process's
    start, interpreter included, until then. rss_mb: resident memory in MiB. transactions,
    repairs, failures: by table owner ("proxy", "policy"), since the start. problems: objects
    that are not in force, each a sentence that names object and field.
    """

    node: str
    pid: int
    ready: bool
    ready_seconds: float | None
    rss_mb: float
    objects: int
    routes: int
    transactions: dict[str, int]
    repairs: dict[str, int]
    failures: dict[str, int]
    problems: tuple[str, ...] = ()


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
