"""Folders whose changes wake someone: inotify's door. What changed there is for the woken to see.

A folder that is not there yet, or no longer, cannot be watched; `watch` is to be called again
when it may be. Events are hints: they are read away, and the folder is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from inotify_simple import INotify, flags

# A file is there when it is closed or renamed; a new one that is not yet whole says nothing.
_EVENTS = (
    flags.CLOSE_WRITE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.ATTRIB
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED


class FolderEvents:
    """An inotify descriptor of a few folders."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Raises OSError when the machine has no inotify instance left."""
        self._inotify = INotify(nonblocking=True)
        self._watches: dict[Path, int | None] = dict.fromkeys(folders)

    def fileno(self) -> int:
        """It is readable when something has changed."""
        return int(self._inotify.fileno())

    def close(self) -> None:
        """Stop watching."""
        self._inotify.close()

    def watch(self) -> bool:
        """Watch the folders that are not watched yet; whether all of them are now."""
        for folder, number in self._watches.items():
            if number is None:
                with suppress(OSError):
                    self._watches[folder] = self._inotify.add_watch(str(folder), _EVENTS)
        return None not in self._watches.values()

    def read(self) -> bool:
        """Take what was told; whether anything was."""
        events = self._inotify.read(timeout=0)
        for event in events:
            if event.mask & _GONE:
                self._forget(event.wd)
        return bool(events)

    def _forget(self, gone: int) -> None:
        for folder, number in self._watches.items():
            if number == gone:
                # One that was moved away is still watched, under a name that it has not.
                with suppress(OSError):
                    self._inotify.rm_watch(number)
                self._watches[folder] = None
