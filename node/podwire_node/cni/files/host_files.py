"""The client and the conflist on the host, kept there: put back when someone takes them away.

    folder changed ─► look ─► equal? nothing
                              differs? ─► put back, at once; the next time after 1 s, 2 s … 60 s

A package of a distribution that is upgraded empties /opt/cni/bin (kubernetes#115629), and an
installer of another network may clear /etc/cni/net.d. What is put back too often has somebody
else who wants it otherwise: each conflist makes the runtime reload, so it is done ever later.

Other networks' files are never touched. One that runtimes read before ours is a problem to tell.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from podwire_core.backoff import Backoff
from podwire_node.cni.files.folder_events import FolderEvents
from podwire_node.cni.files.install import CONFLIST, install_client, install_conflist, rivals

log = logging.getLogger(__name__)

_WORN_OFF = 120.0  # seconds without a repair, after which the next one is the first again


class HostFiles:
    """The runtime's folders: of plugins, of configurations; None where nothing is to be put."""

    def __init__(self, bin_dir: Path | None, conf_dir: Path | None, stack: ExitStack) -> None:
        self._bin_dir, self._conf_dir = bin_dir, conf_dir
        self._events = _watching([each for each in (bin_dir, conf_dir) if each], stack)
        self._looked_at: bytes | None = None  # the conflist of the last look
        self._changed = False  # whether somebody has been there since
        self._written = b""
        self._installed = False
        self._repairs = Backoff(first=1.0, most=60.0)
        self.rivals: Sequence[str] = ()

    @property
    def are_there(self) -> bool:
        """Whether all that was asked for has been put there."""
        return (self._installed or not self._bin_dir) and (
            bool(self._written) or not self._conf_dir
        )

    def watched(self) -> Sequence[tuple[int, Callable[[], object]]]:
        """Descriptors that wake the agent's loop, and what is to be called then."""
        return [(self._events.fileno(), self._notice)] if self._events else []

    def _notice(self) -> None:
        if self._events is not None and self._events.read():
            self._changed = True

    def keep(self, now: float, content: bytes, what: str) -> float | None:
        """Put there what is missing or differs. Answers when to look again, if it has to be.

        content: the conflist, b"" while there is none to promise.  what: it, in a few words.
        Raises ClientMissing, OSError.
        """
        if self._looked_at == content:
            if not self._changed:
                return None
            if not self._repairs.due(now):
                return self._repairs.until
        if now > self._repairs.until + _WORN_OFF:
            self._repairs.succeeded()
        watched = self._events is None or self._events.watch()
        repaired = self._put(content, what)
        if not watched and self._events is not None:
            self._events.watch()  # the folders are there now,
            repaired |= self._put(content, what)  # and what changed before that was not told
        if repaired:
            self._repairs.failed(now)
        self._looked_at, self._changed = content, False
        return None

    def _put(self, content: bytes, what: str) -> bool:
        """Whether something had to be put back."""
        repaired = False
        if self._bin_dir:
            differed = install_client(self._bin_dir)
            if differed:
                self._tell("client installed in %s", self._bin_dir)
            repaired |= differed and self._installed
            self._installed = True
        if self._conf_dir and content:
            differed = install_conflist(self._conf_dir, content)
            if differed:
                self._tell("conflist for %s", what)
            repaired |= differed and self._written == content
            self._written = content
            self._find_rivals(self._conf_dir)
        return repaired

    def _find_rivals(self, folder: Path) -> None:
        self.rivals = [
            f"cni: {folder / name} comes before {CONFLIST}, and runtimes use the first one alone: "
            "move it away"
            for name in rivals(folder)
        ]

    def _tell(self, words: str, *arguments: object) -> None:
        log.info(f"cni: {words}", *arguments, extra={"component": "cni"})  # noqa: G004 - the prefix alone


def _watching(folders: Sequence[Path], stack: ExitStack) -> FolderEvents | None:
    """None where the machine gives no inotify instance: then nothing is put back."""
    if not folders:
        return None
    try:
        events = FolderEvents(folders)
    except OSError as error:
        log.warning("cni: runtimes' folders cannot be watched: %s", error.strerror)
        return None
    stack.callback(events.close)
    return events
