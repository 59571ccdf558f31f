"""Changes of a folder, or of one file, to wait on: the kubelet's door to inotify."""

from __future__ import annotations

from pathlib import Path

from inotify_simple import INotify, flags

_EVENTS = (
    flags.MODIFY
    | flags.CLOSE_WRITE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.CREATE
)


class FileEvents:
    """What happens to a path that is there. Raises OSError when it is not."""

    def __init__(self, path: Path) -> None:
        self._inotify = INotify(nonblocking=True)
        try:
            self._inotify.add_watch(str(path), _EVENTS)
        except OSError:
            self._inotify.close()
            raise

    def fileno(self) -> int:
        """Readable when something has happened since the last `drain`."""
        return int(self._inotify.fileno())

    def drain(self) -> None:
        """Forget what has happened so far: whoever looks at the path after this sees all of it."""
        self._inotify.read(timeout=0)

    def close(self) -> None:
        """Stop watching."""
        self._inotify.close()
