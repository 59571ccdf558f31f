"""A place for socket programs of a test's own: a cgroup below cgroup2's root, and a bpffs.

with bpf_place.place(tmp_path) as found:
    plane = open_plane(found)

Nothing is attached to any cgroup that is not the test's. What was pinned ends with the bpffs, and
so does what was attached by it. The cgroup, and a folder in the bpffs, have the name of their
session's process, so that the next session finds what a killed one left (sweep).
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scratch import PREFIX, until

from podwire_ebpf.place import MOUNTS, Place, cgroup_root

_numbers = itertools.count(1)


def cgroup2() -> Path:
    """Where cgroup2 is mounted."""
    found = cgroup_root()
    assert found, "cgroup2 is not mounted"
    return found


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A place, gone after the block with all that is in it.

    folder: of the test's, empty; its bpffs is mounted there.
    """
    name = f"{PREFIX}{next(_numbers)}"
    cgroup = cgroup2() / name
    cgroup.mkdir()
    try:
        subprocess.run(["mount", "-t", "bpf", name, folder], check=True)
        try:
            (folder / name).mkdir()  # Linux 5.10 does not keep a mount's name
            yield Place(cgroup, folder / "podwire")
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    finally:
        _remove(cgroup)


def sweep() -> None:
    """Remove what sessions left whose process has ended. What is theirs and busy stays."""
    for line in MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        folder = Path(before.split()[4])
        if after.startswith("bpf ") and any(_is_dead(each.name) for each in folder.glob("pwt-*")):
            # Another mount namespace may have a copy of the mount, with the same in it.
            shutil.rmtree(folder / "podwire", ignore_errors=True)
            subprocess.run(["umount", "--lazy", folder], check=True)
    for cgroup in cgroup2().glob("pwt-*"):
        if _is_dead(cgroup.name):
            for each in (*sorted(cgroup.glob("**/"), reverse=True), cgroup):
                with suppress(OSError):
                    each.rmdir()


def _is_dead(name: str) -> bool:
    """Whether a name is of a session that has ended: pwt-PID-NUMBER."""
    kind, _, rest = name.partition("-")
    pid = rest.partition("-")[0]
    return kind == "pwt" and pid.isdecimal() and not Path("/proc", pid).exists()


def _remove(cgroup: Path) -> None:
    """A cgroup whose processes have ended is busy for a moment."""
    for each in sorted(cgroup.glob("*/"), reverse=True):
        _remove(each)

    def is_gone() -> bool:
        try:
            os.rmdir(cgroup)  # noqa: PTH106 - Path.rmdir is the same, and hides that files stay
        except OSError:
            return not cgroup.exists()
        return True

    until(f"{cgroup} is empty", is_gone)
