"""One queued DEL: a file's name and its content, as cni-plugin/client/queue.c writes them.

    3f2a…9c-07be…41.del   hash of CNI_CONTAINERID - hash of the message, 64 bits of FNV-1a each
    "PWC1" E S …          the message that the agent would have got (protocol.h)

Nothing is believed but that whoever wrote it may write to the folder, and that is root.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from podwire_node.cni.calls.wire import (
    HEADER_BYTES,
    Request,
    WireError,
    decode_request,
    request_sizes,
)

#: The client's bounds; a test compares them.
QUEUE_FILES = 256
QUEUE_FILE_BYTES = 65536
SUFFIX = ".del"
QUEUE_PATH_BYTES = 255


def queue_folder(state_dir: Path) -> Path:
    """Where client and agent meet, for an agent that keeps its leases there."""
    return state_dir / "queue"


class NoCallError(Exception):
    """A file that holds no DEL; the text says why."""


def fnv1a(text: bytes) -> int:
    """The 64-bit hash in a file's name."""
    value = 0xCBF29CE484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def read_call(path: Path) -> Request:
    """A file's call, without CNI_NETNS: by now the path may show another pod's namespace.

    Raises NoCallError, OSError.
    """
    try:
        request = _decode(_content(path))
    except WireError as error:
        raise NoCallError(f"it holds no call: {error}") from error
    if request.command != "DEL":
        raise NoCallError(f"it holds no DEL: {request.command[:32]!r}")
    environ = {name: value for name, value in request.environ.items() if name != "CNI_NETNS"}
    return Request(environ, request.stdin)


def _decode(content: bytes) -> Request:
    environment, stdin = request_sizes(content[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"))
    if len(content) != HEADER_BYTES + environment + stdin:
        raise WireError(f"it has {len(content)} bytes")
    body = content[HEADER_BYTES:]
    return decode_request(body[:environment], body[environment:])


def _content(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NoCallError("it is a symbolic link") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NoCallError("it is no file")
        content = file.read(QUEUE_FILE_BYTES + 1)
    if len(content) > QUEUE_FILE_BYTES:
        raise NoCallError(f"it is larger than {QUEUE_FILE_BYTES} bytes")
    return content
