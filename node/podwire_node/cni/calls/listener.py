"""The socket on the host's disk: there for root alone, and never half there.

A socket is bound and made private beside the path and then renamed to it. So a client finds
the last agent's socket (and is refused, and tries again) or the new one's, which listens.
Ending leaves the path: a newer agent may have taken it already.
"""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from podwire_node.settings.values import MAX_SOCKET_BYTES

_BACKLOG = 128


class SocketUnusable(Exception):  # noqa: N818 - the word for it
    """The path cannot be listened at; one sentence that says why."""


def listen(path: Path) -> socket.socket:
    """A listening socket at the path, mode 0600; its folder is made, with mode 0700, if missing.

    Raises SocketUnusable.
    """
    if len(bytes(path)) > MAX_SOCKET_BYTES or not path.is_absolute():
        raise SocketUnusable(
            f"{path}: a socket's path is absolute, of at most {MAX_SOCKET_BYTES} bytes"
        )
    try:
        _require_private_folder(path.parent)
        _require_no_other_file(path)
        return _bind(path)
    except OSError as error:
        raise SocketUnusable(f"{path}: cannot listen: {error}") from error


def _bind(path: Path) -> socket.socket:
    beside = path.with_name(f".{path.name}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        beside.unlink(missing_ok=True)
        listener.bind(str(beside))
        beside.chmod(0o600)
        listener.listen(_BACKLOG)
        beside.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _require_private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Whoever may write here could put a socket of his own in our place.
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SocketUnusable(f"{folder}: others may write here: chmod go-w it, or use another")


def _require_no_other_file(path: Path) -> None:
    if (path.is_symlink() or path.exists()) and not path.is_socket():
        raise SocketUnusable(f"{path}: there is a file that is no socket")
