"""A cgroup for each node, whose sockets its agent serves (proxy mode ebpf), and a bpffs.

    cgroup2's mount/pw.LAB.sockets/   node1/  node2/ …   the node's agent, kubelet, and pods
    /run/podwire/lab/LAB/bpf/         node1/  node2/ …   what the node's agent has pinned

A cluster's nodes each have the root of a hierarchy; a lab's share one, so each has a part of it.
Programs are detached when nothing has them pinned any more: emptying the bpffs does that, also
where another mount namespace has a copy of the mount.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from podwire_ebpf.place import cgroup_root, remove_left
from podwire_lab.folders import Folders
from podwire_lab.topology import Lab, LabNode, ProxyMode, netns_prefix

_JOIN = str(Path(__file__).with_name("join.py"))
_MNT_DETACH = 2  # linux/fs.h

_libc = ctypes.CDLL(None, use_errno=True)


def mount() -> Path | None:
    """Where cgroup2 is mounted; None where it is not."""
    return cgroup_root()


def has(lab: Lab) -> bool:
    """Whether the lab's nodes have cgroups of their own; auto makes do without."""
    if lab.proxy_mode is ProxyMode.AUTO:
        return mount() is not None
    return lab.proxy_mode is ProxyMode.EBPF


def of(lab: Lab, node: LabNode) -> Path:
    """A node's cgroup. Raises FileNotFoundError where no cgroup2 is mounted."""
    return _root(lab.name) / node.name


def folder(lab: Lab, node: LabNode) -> Path:
    """The folder of bpffs that is a node's agent's."""
    return Folders.of(lab.name).bpf / node.name


def enter(lab: Lab, node: LabNode) -> tuple[str, ...]:
    """What to put before a command so that its sockets are the node's; nothing where none has to.

    Raises FileNotFoundError where no cgroup2 is mounted.
    """
    return (sys.executable, "-I", "-S", _JOIN, str(of(lab, node))) if has(lab) else ()


def make(lab: Lab) -> None:
    """All of it, for a lab that has such. Raises OSError."""
    if not has(lab):
        return
    for node in lab.nodes:
        of(lab, node).mkdir(parents=True)
    target = Folders.of(lab.name).bpf
    target.mkdir(mode=0o700)
    if _libc.mount(b"bpf", os.fsencode(target), b"bpf", ctypes.c_ulong(0), b"mode=0700"):
        number = ctypes.get_errno()
        raise OSError(number, f"mount bpf {target}: {os.strerror(number)}")


def remove(name: str) -> tuple[str, ...]:
    """Of the lab of that name, all of it, once its processes have ended; what could not be.

    Twice is fine, and a lab that has none too.
    """
    target = Folders.of(name).bpf
    shutil.rmtree(target, ignore_errors=True)  # all but a mount's own folder
    while _libc.umount2(os.fsencode(target), _MNT_DETACH) == 0:
        pass  # as often as it was mounted
    with suppress(FileNotFoundError):
        root = _root(name)
        for each in (*root.glob("*/"), root):
            with suppress(OSError):
                remove_left(each)
        return (str(root),) if root.exists() else ()
    return ()


def _root(name: str) -> Path:
    where = mount()
    if where is None:
        raise FileNotFoundError("cgroup2 is not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    return where / f"{netns_prefix(name)}sockets"
