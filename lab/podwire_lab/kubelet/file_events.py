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
#: All that happens to files that are replaced by a rename (podwire_core.files).
_WHOLE = flags.MOVED_TO | flags.DELETE


class FileEvents:
    """What happens to a path that is there. Raises OSError when it is not.

    whole: of a folder, only files that are put there whole, and that go.
    """

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        self._inotify = INotify(nonblocking=True)
        try:
            self._inotify.add_watch(str(path), _WHOLE if whole else _EVENTS)
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
