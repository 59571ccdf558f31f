"""Where a plane is: a cgroup whose sockets it serves, and a folder of bpffs that keeps it.

Both are looked at before anything is made, so that what is missing is one sentence. The one thing
mounted here is bpffs at /sys/fs/bpf, where nobody has done it: systemd does it at boot, bpftool
when it needs it; it is told in the log. Such a mount is the mount namespace's; in a container it
ends with it, and with it what is pinned: nftables serves until the next start.
"""

from __future__ import annotations

import ctypes
import logging
import os
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podwire_ebpf.errors import Unsupported

log = logging.getLogger(__name__)

_CGROUP2, _BPFFS, _SYSFS = 0x63677270, 0xCAFE4A11, 0x62656572  # linux/magic.h
_STATFS_BYTES = 256  # more than struct statfs has on any machine; it begins with the magic number
_ROOT = 1  # number of the hierarchy's own root, which no container's is
_MOUNT_POINT = Path("/sys/fs/bpf")
_NOSUID, _NODEV, _NOEXEC = 2, 4, 8  # sys/mount.h

_LEAVING_S = 1.0
_LONGEST = 255  # NAME_MAX
MOUNTS = Path("/proc/self/mountinfo")
_ESCAPES = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}  # proc(5)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Place:
    """cgroup: a folder of cgroup2.  folder: one of bpffs, ours alone, made where it is missing."""

    cgroup: Path
    folder: Path


def cgroup_root(mounts: Path = MOUNTS) -> Path | None:
    """Where cgroup2 is mounted whole; the first place in the order of mounts."""
    return next(mounted("cgroup2", mounts), None)


def mounted(kind: str, mounts: Path = MOUNTS) -> Iterator[Path]:
    """Where file systems of a kind are mounted whole, in the order of mounts.

    mountinfo: id, parent, device, root within the file system, mount point, options … - type …
    """
    for line in mounts.read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.startswith(f"{kind} ") and len(fields) > 4 and fields[3] == "/":
            yield Path(_unescaped(fields[4]))


def _unescaped(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def remove_left(cgroup: Path) -> None:
    """Remove a cgroup whose processes have ended, which the newest kernels tell it a moment later.

    cgroup-v2, "[Un]populated Notification". Raises OSError: EBUSY where somebody stays.
    """
    deadline = time.monotonic() + _LEAVING_S
    told = select.poll()
    with (cgroup / "cgroup.events").open() as events:
        told.register(events, select.POLLPRI)
        while "populated 1" in events.read():
            if not told.poll(max(0.0, deadline - time.monotonic()) * 1000):
                break
            events.seek(0)
    cgroup.rmdir()


def require(place: Place) -> None:
    """Raise Unsupported unless both are what they have to be; mount bpffs where it belongs."""
    for look in (no_cgroup, no_bpffs):
        if sentence := look(place):
            raise Unsupported(sentence)


def no_cgroup(place: Place) -> str:
    """What is wrong with the cgroup, in one sentence; "" when nothing is."""
    if not place.cgroup.is_dir():
        return f"there is no cgroup {place.cgroup}: mount cgroup2, or name another one"
    if _magic(place.cgroup) != _CGROUP2:
        return f"{place.cgroup} is not on cgroup2: name a folder of a mount of type cgroup2"
    if place.cgroup.stat().st_ino == _ROOT and not _is_the_machine():
        return (
            f"{place.cgroup} has the sockets of the whole machine, and this network namespace is"
            " not the machine's: name a cgroup that holds this node's processes alone"
        )
    return ""


def _is_the_machine() -> bool:
    """Whether our network namespace is that of process 1, as a node's agent's is."""
    try:
        # Files that each network namespace has of its own; ns/net asks for more rights.
        return Path("/proc/1/net/dev").samefile("/proc/thread-self/net/dev")
    except OSError:
        return True  # who may not look is not refused for it


def no_bpffs(place: Place, *, mount: bool = True) -> str:
    """What is wrong with the folder, in one sentence; "" when nothing is.

    mount: mount bpffs at /sys/fs/bpf where the folder is below it and nothing is mounted.
    """
    return not_on_bpffs(place.folder, mount=mount)


def not_on_bpffs(folder: Path, *, mount: bool = False) -> str:
    """The same of a folder alone: whoever changes one asks first."""
    above = _lowest(folder)
    if _magic(above) == _BPFFS:
        if above == folder and folder.is_mount():
            return f"{folder} is bpffs itself: name a folder below it, which is podwire's alone"
        if not all(map(_is_name, folder.relative_to(above).parts)):
            return f"{folder}: bpffs has names without dots, of at most {_LONGEST} bytes"
        return ""
    if _is_bare(above):
        if mount and _mount_bpffs():
            return ""
        return f"there is no bpffs at {above}: run `mount -t bpf bpf {above}`"
    return f"{folder} is not on bpffs: name a folder below {_MOUNT_POINT}, or mount one there"


def is_mounted_by_us(folder: Path) -> bool:
    """Whether bpffs is not there yet, and require() mounts it for this folder."""
    return _is_bare(_lowest(folder))


def _lowest(folder: Path) -> Path:
    """Of a folder and those it is to be in, the first that is there."""
    return next(each for each in (folder, *folder.parents) if _is_there(each))


def _is_bare(path: Path) -> bool:
    return path == _MOUNT_POINT and _magic(path) == _SYSFS


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # it is below a folder of root's, which says enough; or it is no name


def _is_name(name: str) -> bool:
    return "." not in name and len(os.fsencode(name)) <= _LONGEST


def _magic(path: Path) -> int:
    """Which file system a path is on; 0 where the kernel does not say."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(os.fsencode(path), buffer):
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF


def _mount_bpffs() -> bool:
    flags = _NOSUID | _NODEV | _NOEXEC
    point = os.fsencode(_MOUNT_POINT)
    if _libc.mount(b"bpf", point, b"bpf", ctypes.c_ulong(flags), b"mode=700"):
        return False
    # A warning: who runs in a container should know that what is pinned there ends with it.
    log.warning(
        "there was no bpffs at %s: mounted one, which ends with this mount namespace", _MOUNT_POINT
    )
    return True
