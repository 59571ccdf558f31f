"""DELs that no agent could take when they came: the client left them in a folder, as files.

```
 client, no agent there       folder (0700)                  agent
   DEL ── write, rename ──►  C-M.del  (a protocol message)
                             C-M.del  ◄── replay ── at the start, before it listens
                                      ◄── replay ── when the folder changes
                                      ◄── settle ── before each ADD: those of its container
```

C and M are hashes of the container's id and of the message (cni-plugin/client/queue.c writes
them). Who may lose what, and why nobody does:

* **The client takes no lock.** A file is whole when it has its name, and it has its name before
  the runtime hears that the DEL succeeded. So an ADD that the runtime makes later finds it,
  whichever agent it comes to, and however late that agent began: `settle` looks each time.
* **A container's turn first, then the lock.** A replayed DEL waits for the call of the same
  container that runs (an ADD whose runtime gave up), and no ADD of it comes between the DEL and
  the end of its file.
* **The lock is among agents.** While a node is upgraded two of them run. A DEL that the old one
  still works at would end after an ADD that the new one has answered; each holds flock() on the
  folder for the length of a DEL.
* **A file that comes again while its twin is worked at** may go with it: for the same reason no
  ADD was between the two.
* **CNI_NETNS is not replayed.** By now the path may show another pod's namespace. The plugin
  needs no namespace for a DEL.

A file goes when its DEL succeeded, when it never can (a message that is none, error codes 1, 4,
6, 7), or after 20 attempts; the last two are told in the log. A lease or link that stays is found
by GC and by the audit.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from podwire_node.cni.calls.plugin import Plugin
from podwire_node.cni.calls.refusal import (
    BAD_CONFIG,
    BAD_ENVIRONMENT,
    BAD_JSON,
    INCOMPATIBLE_VERSION,
    INPUT_OUTPUT_FAILED,
    Refusal,
    error_of,
    later,
)
from podwire_node.cni.calls.turns import Late, Turns
from podwire_node.cni.calls.wire import Request
from podwire_node.cni.queue.queued_call import QUEUE_FILES, SUFFIX, NoCallError, fnv1a, read_call

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "cni"})

_LISTED = 4 * QUEUE_FILES  # clients that count at the same time may leave some more
_ATTEMPTS = 20
_HOPELESS = frozenset({INCOMPATIBLE_VERSION, BAD_ENVIRONMENT, BAD_JSON, BAD_CONFIG})
_TEMPORARY = ".tmp"
_CLIENTS_LIFE = 120.0  # a client ends within a minute, so an older temporary file is nobody's
_LOCK_PAUSE = 0.02  # flock() has no deadline of its own


class DeletionQueue:
    """The queued DELs of a folder, and who performs them. Thread-safe.

    folder: need not be there yet.  plugin: performs a call, without a namespace.
    """

    def __init__(self, folder: Path, plugin: Plugin) -> None:
        self.folder = folder
        self._plugin = plugin
        self._guard = threading.Lock()
        self._attempts: dict[str, int] = {}

    def prepare(self) -> None:
        """Make the folder, for root alone, and clear what killed clients began. Raises OSError."""
        for each in (*reversed(self.folder.parents), self.folder):
            each.mkdir(mode=0o700, exist_ok=True)  # parents=True would make them as umask has it
        _require_private(self.folder)
        oldest = time.time() - _CLIENTS_LIFE
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.name.endswith(_TEMPORARY) and entry.stat().st_mtime < oldest:
                        Path(entry.path).unlink()

    def replay(self, turns: Turns, deadline: float) -> int:
        """Perform what is queued, the oldest first, each in its container's turn.

        deadline: by time.monotonic(). Answers how many are left: their turn did not come, their
        DEL failed and is to be tried again, or the deadline passed.
        """
        left = 0
        for name in self._names():
            if time.monotonic() >= deadline:
                left += 1
                continue
            try:
                container = read_call(self.folder / name).container
            except FileNotFoundError:
                continue
            except (NoCallError, OSError):
                container = ""  # no turn is its own; _perform tells of it
            try:
                with turns.taken(container, deadline):
                    left += not self._perform(name, deadline)
            except Late:
                left += 1
        return left

    def settle(self, container: str, deadline: float) -> None:
        """Perform what is queued for a container. To be called in its turn, before an ADD.

        Raises Refusal when a DEL is left: its replay would remove what the ADD makes.
        """
        mine = f"{fnv1a(os.fsencode(container)):016x}-"
        names = [name for name in self._names() if name.startswith(mine)]
        if names and not all(self._perform(name, deadline) for name in names):
            words = "a DEL of this container waits to be done, and failed"
            raise later(Request({"CNI_COMMAND": "ADD"}, b""), words)

    def _names(self) -> list[str]:
        """The files' names, the oldest first."""
        found: list[tuple[int, str]] = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in islice(filter(_is_call, entries), _LISTED):
                    with suppress(FileNotFoundError):
                        found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            _log.warning("%s: cannot be read: %s", self.folder, error.strerror)
            return []
        return [name for _, name in sorted(found)]

    def _perform(self, name: str, deadline: float) -> bool:
        """Replay a file; whether it is gone."""
        try:
            with self._locked(deadline):
                request = read_call(self.folder / name)
                return self._is_done(name, self._outcome(request, deadline))
        except FileNotFoundError:
            return True  # another agent did it
        except TimeoutError:
            return False
        except NoCallError as error:
            return self._drop(name, str(error))
        except OSError as error:
            return self._is_done(name, (INPUT_OUTPUT_FAILED, error.strerror or str(error)))

    def _outcome(self, request: Request, deadline: float) -> tuple[int, str]:
        """Error code, 0 for success, and message."""
        try:
            return error_of(self._plugin(request, None, deadline))
        except Refusal as refusal:
            return refusal.code, refusal.message

    def _is_done(self, name: str, outcome: tuple[int, str]) -> bool:
        """Whether the file is gone after this outcome."""
        code, message = outcome
        if code == 0:
            return self._remove(name)
        with self._guard:
            attempts = self._attempts[name] = self._attempts.get(name, 0) + 1
        if code in _HOPELESS or attempts >= _ATTEMPTS:
            return self._drop(name, f"{message} (code {code}, attempt {attempts})")
        return False

    def _drop(self, name: str, reason: str) -> bool:
        _log.error("%s: a queued DEL is given up: %s", self.folder / name, reason)
        return self._remove(name)

    def _remove(self, name: str) -> bool:
        with self._guard:
            self._attempts.pop(name, None)
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s: cannot be removed: %s", self.folder / name, error.strerror)
            return False
        return True

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        """Alone among agents. Raises TimeoutError, OSError."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise TimeoutError(errno.ETIMEDOUT, "the queue is locked") from None
                    time.sleep(_LOCK_PAUSE)
            yield
        finally:
            os.close(descriptor)


def _is_call(entry: os.DirEntry[str]) -> bool:
    named = entry.name.endswith(SUFFIX) and not entry.name.startswith(".")
    return named and not entry.is_dir(follow_symlinks=False)


def _require_private(folder: Path) -> None:
    """Whoever may write here could have any pod's network removed. Raises OSError."""
    status = folder.stat(follow_symlinks=False)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "others may write here: chmod go-w it", str(folder))
