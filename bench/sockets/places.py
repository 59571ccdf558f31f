"""A cgroup and a bpffs of our own, both gone with the program: programs are attached here alone.

The cgroup is below the mount of cgroup2, wherever that is. The bpffs is mounted in mounts of our
own (attaching/private.py): when the last process in there ends, so do the links pinned in it.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import scratch

from podwire_ebpf.place import cgroup_root

_PREFIX = "podwire-bench-"
_numbers = itertools.count(1)


def cgroup_mount() -> Path:
    """Where cgroup2 is mounted. Raises RuntimeError."""
    if found := cgroup_root():
        return found
    raise RuntimeError("cgroup2 is not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


@contextmanager
def cgroup() -> Iterator[Path]:
    """A cgroup that is gone afterwards; who is in it has to be, too."""
    path = cgroup_mount() / f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    path.mkdir()
    try:
        yield path
    finally:
        scratch.until(f"{path} is empty", lambda: _removed(path), seconds=10)


def sweep() -> None:
    """Remove cgroups that a killed run left: nobody has its number any more."""
    for left in cgroup_mount().glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{left.name.removeprefix(_PREFIX).split('-')[0]}").exists():
            with suppress(OSError):
                left.rmdir()


@contextmanager
def bpffs(folder: Path) -> Iterator[Path]:
    """A bpffs below a folder. Unmounted, nothing that was pinned in it holds anything."""
    path = folder / f"bpffs-{next(_numbers)}"
    path.mkdir()
    subprocess.run(["mount", "-t", "bpf", "podwire-bench", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _removed(path: Path) -> bool:
    with suppress(FileNotFoundError):
        try:
            path.rmdir()
        except OSError:  # who was killed has not gone yet
            return False
    return True
