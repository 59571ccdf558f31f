"""The folder that leases are in: made private, locked for a moment, its marker written whole."""

import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from podwire_cni.errors import TryAgain

_NAP = 0.005  # seconds between two tries for the folder's lock


def create_private(path: Path) -> None:
    """Create the file with mode 0600 and the missing folders above it with 0700."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileExistsError):
        # Made and not opened (see lease_file). SQLite gives its log this mode.
        os.mknod(path, stat.S_IFREG | 0o600)


def read_text(path: Path) -> str | None:
    """A file's text without the spaces around it, or None when there is no such file."""
    try:
        return path.read_text(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def replace_text(path: Path, text: str) -> None:
    """Replace a file's text whole; every writer of the moment writes the same."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    draft.write_text(f"{text}\n")
    draft.rename(path)


@contextmanager
def locked(directory: Path, timeout: float) -> Iterator[None]:
    """Hold the directory's own lock, which the kernel releases with its holder."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + timeout
        # flock() knows no timeout. It is tried again, as SQLite does with its own.
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise TryAgain(f"state directory {directory} is locked")
            time.sleep(_NAP)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
