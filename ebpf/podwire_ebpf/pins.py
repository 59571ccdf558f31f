"""The folder of bpffs: what is pinned where, and by whom it may be changed.

    FOLDER/                     0700, flock()ed by the one process that changes it
      maps-DIGEST/              a layout's maps: frontends, endpoints, …, events
      programs-DIGEST/          a module's programs, of one text: pw_connect4, …
      links/                    what attaches them: pw_connect4, …
      …-new-RANDOM/             half made

A folder with a digest is whole: it is made under another name and renamed. So a process that is
killed leaves either all of it or a half-made one, which the next one removes. bpffs allows no dots
in names. Programs hold their maps, links their programs: what is attached needs no other pins.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from podwire_ebpf import syscall
from podwire_ebpf.errors import BpfError, Busy
from podwire_ebpf.layout import RING, Kind, Layout
from podwire_ebpf.place import not_on_bpffs

MAPS, PROGRAMS, LINKS = "maps-", "programs-", "links"
_NEW = "-new-"

#: What a folder is to hold: name and shape of each map.
Shapes = Mapping[str, syscall.MapKind]


class Lock:
    """The right to change a folder, which is made where it is missing. It ends with the process."""

    def __init__(self, folder: Path) -> None:
        """Raise Busy when another process has it, BpfError when it cannot be on bpffs.

        On any other file system nothing is changed.
        """
        if sentence := not_on_bpffs(folder):
            raise BpfError(sentence)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise BpfError(f"{folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if not isinstance(error, BlockingIOError):
                raise BpfError(f"{folder} cannot be locked: {error.strerror}") from error
            raise Busy(f"{folder} is in use by another podwire: stop it first") from None

    def close(self) -> None:
        """Let others change it."""
        os.close(self._descriptor)


# ---------------------------------------------------------------------------------------- maps


def shapes(tables: Iterable[Layout[Any, Any]], *, ring: bool = False) -> Shapes:
    """How tables are made.  ring: with the ring of events."""
    made = {
        table.name: syscall.MapKind(
            int(table.kind), table.key.size, table.element_size, table.elements, table.flags
        )
        for table in tables
    }
    if ring:
        name, size = RING
        made[name] = syscall.MapKind(Kind.RINGBUF, 0, 0, size, 0)
    return made


def open_maps(folder: Path, wanted: Shapes, flags: int = 0) -> dict[str, int] | None:
    """Descriptors of a folder's maps; None when one is missing or is not what it has to be."""
    with ExitStack() as opened:
        found = {}
        for name, shape in wanted.items():
            try:
                descriptor = syscall.get(folder / name, flags)
            except FileNotFoundError:
                return None
            opened.callback(os.close, descriptor)
            # The ring is read by mmap, and nobody opens it read-only.
            if syscall.map_info(descriptor).made != shape:
                return None
            found[name] = descriptor
        opened.pop_all()
        return found


def make_maps(folder: Path, wanted: Shapes, step: Callable[[str], None]) -> dict[str, int]:
    """Make a folder of new maps, or nothing. The folder is not there before."""
    with ExitStack() as opened, half_made(folder) as new:
        found = {}
        for name, shape in wanted.items():
            found[name] = make_map(new, name, shape)
            opened.callback(os.close, found[name])
            step(f"map {name} pinned")
        opened.pop_all()
        return found


def make_map(folder: Path, name: str, shape: syscall.MapKind) -> int:
    """Make one map and pin it; its descriptor."""
    descriptor = syscall.create_map(name, shape)
    try:
        syscall.pin(descriptor, folder / name)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


# ------------------------------------------------------------------------------------ programs


def open_programs(folder: Path, names: Iterable[str], maps: Iterable[int]) -> dict[str, int] | None:
    """Descriptors of a folder's programs; None when one is missing, or uses other maps than these.

    maps: ids. Programs that are older than the maps' folder are of no use.
    """
    ids = set(maps)
    with ExitStack() as opened:
        found = {}
        for name in names:
            try:
                descriptor = syscall.get(folder / name)
            except FileNotFoundError:
                return None
            opened.callback(os.close, descriptor)
            info = syscall.program_info(descriptor)
            if info.name != name or not info.maps <= ids:
                return None
            found[name] = descriptor
        opened.pop_all()
        return found


# ------------------------------------------------------------------------------------- folders


@contextmanager
def half_made(folder: Path) -> Any:
    """A new folder to pin in, which gets its name when the block ends well, and goes otherwise."""
    new = folder.with_name(f"{folder.name}{_NEW}{secrets.token_hex(4)}")
    new.mkdir(mode=0o700)
    try:
        yield new
        new.rename(folder)
    except BaseException:
        remove_folder(new)
        raise


def remove_folder(folder: Path) -> None:
    """Unpin all that is in a folder of pins, and remove it. It is fine if it is not there."""
    with suppress(FileNotFoundError):
        for pin in folder.iterdir():
            if pin.is_dir() and not pin.is_symlink():
                remove_folder(pin)
            else:
                pin.unlink(missing_ok=True)
        folder.rmdir()


def sweep(folder: Path, keep: Iterable[str] = ()) -> None:
    """Remove what is half made; with `keep`, also every folder of maps and programs but those."""
    kept = set(keep)
    for each in sorted(folder.iterdir()):
        ours = each.name.startswith((MAPS, PROGRAMS)) and each.is_dir()
        if ours and (_NEW in each.name or (kept and each.name not in kept)):
            remove_folder(each)
