"""Every plane that is attached on this machine, found by the kernel's own numbers.

    link ids ─► links of cgroups with a program of a hook's name ─► the program's map `settings`
             ─► whom it serves; all links whose programs use the maps of one plane are its own

A folder says less: it may be another one than today's, or gone, and what an earlier run attached
sends sockets to the endpoints of its last day for as long as the machine runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from podwire_ebpf import links, plane, syscall
from podwire_ebpf.errors import Busy
from podwire_ebpf.hooks import HOOKS
from podwire_ebpf.layout import SETTINGS, Kind
from podwire_ebpf.pins import LINKS
from podwire_ebpf.place import MOUNTS, Place, mounted

_NAMES = frozenset(hook.program for hook in HOOKS)
_COOKIE = 8  # bytes of struct settings' first field, in every version of it
_MOST_FOLDERS = 4096  # to look through in bpffs: others may have pinned thousands
_PROC = Path("/proc")
_MAP = "anon_inode:bpf-map"


class Attachment(NamedTuple):
    """One plane's.  node: cookie of the network namespace whose agent filled its maps.

    links, maps: ids.  cgroups: ids, which are their folders' inodes.
    """

    node: int
    links: frozenset[int]
    cgroups: frozenset[int]
    maps: frozenset[int]

    def __str__(self) -> str:
        places = ", ".join(map(str, sorted(self.cgroups)))
        return f"{len(self.links)} programs at the cgroup with id {places}"


class _Link(NamedTuple):
    id: int
    cgroup: int
    maps: frozenset[int]  # its program's


def attachments() -> list[Attachment]:
    """All of them, of whatever node. None where this process may not look (CAP_SYS_ADMIN)."""
    there = list(_links())
    found = []
    for settings in frozenset[int]().union(*(each.maps for each in there)):
        node = _node(settings)
        if node is not None:
            maps = frozenset[int]().union(*(each.maps for each in there if settings in each.maps))
            ours = [each for each in there if each.maps & maps]
            ids = frozenset(each.id for each in ours)
            found.append(Attachment(node, ids, frozenset(each.cgroup for each in ours), maps))
    return found


def remove(found: Attachment) -> None:
    """Detach it; its folder goes too, where this process sees it.

    Raises Busy while another process has its maps, BpfError when the kernel refuses.
    """
    keepers = processes_with(found.maps)
    if keepers:
        pids = ", ".join(map(str, keepers))
        raise Busy(f"{found}: in use by process {pids}")
    folder = folder_of(found.links)
    if folder is not None:
        plane.remove(Place(Path(), folder))
    for each in sorted(found.links, reverse=True):  # the youngest first, see HOOKS
        with _held(syscall.link_by_id, each) as link:
            if link is not None:
                links.detach(link)


def pinned(folder: Path) -> frozenset[int]:
    """Ids of the links that a plane's folder has."""
    return frozenset(info.id for info in links.pinned(folder / LINKS))


def processes_with(maps: frozenset[int], proc: Path = _PROC) -> list[int]:
    """Ids of the processes, other than this one, that have one of these maps open."""
    others = (each for each in proc.glob("[0-9]*") if int(each.name) != os.getpid())
    return sorted(int(each.name) for each in others if maps.intersection(_open_maps(each)))


def folder_of(ids: frozenset[int], mounts: Path = MOUNTS) -> Path | None:
    """The plane's folder in whose pins one of these links is; None: in no bpffs that is seen."""
    for mount in mounted("bpf", mounts):
        for folder, below, _ in islice(os.walk(mount), _MOST_FOLDERS):
            if LINKS in below and pinned(Path(folder)) & ids:
                return Path(folder)
    return None


# ------------------------------------------------------------------------- asking the kernel


def _links() -> Iterator[_Link]:
    """Links of cgroups that are there, with a program of one of our hooks' names."""
    identity = 0
    while identity := _following(identity):
        with _held(syscall.link_by_id, identity) as descriptor:
            if descriptor is None:
                continue
            info = syscall.link_info(descriptor)
        if info.kind != syscall.CGROUP_LINK or not info.cgroup:
            continue
        with _held(syscall.program_by_id, info.program) as descriptor:
            program = None if descriptor is None else syscall.program_info(descriptor)
        if program and program.name in _NAMES:
            yield _Link(info.id, info.cgroup, program.maps)


def _following(identity: int) -> int:
    """The next link's id; 0: there is none, or no right to ask, or a kernel without them."""
    try:
        return syscall.next_link(identity)
    except OSError:
        return 0


def _node(identity: int) -> int | None:
    """What a map `settings` says; None: it is another map."""
    with _held(syscall.map_by_id, identity) as descriptor:
        if descriptor is None:
            return None
        info = syscall.map_info(descriptor)
        shape = (info.name, info.made.kind, info.made.key)
        if shape != (SETTINGS.name, Kind.ARRAY, SETTINGS.key.size) or info.made.value < _COOKIE:
            return None
        raw = syscall.lookup(descriptor, bytes(info.made.key), info.made.value)
    return int.from_bytes(raw[:_COOKIE], sys.byteorder)


@contextmanager
def _held(by_id: Callable[[int], int], identity: int) -> Iterator[int | None]:
    """A descriptor for the block; None: it went meanwhile, or may not be looked at."""
    try:
        descriptor = by_id(identity)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_maps(process: Path) -> Iterator[int]:
    """Ids of the maps that a process has open. proc(5): fdinfo of a map has its `map_id`."""
    with suppress(OSError):
        for each in (process / "fd").iterdir():
            if os.readlink(each) == _MAP:  # noqa: PTH115 - no Path made of what is no path
                yield from _map_id((process / "fdinfo" / each.name).read_text().splitlines())


def _map_id(lines: Iterable[str]) -> Iterator[int]:
    for line in lines:
        name, _, value = line.partition(":")
        if name == "map_id":
            yield int(value)
