"""Whether an agent at a socket can serve ADD: a STATUS call, as a runtime would make it.

connect ─► STATUS ─► code 0: it can        otherwise: why not, and again while there is time
              ▲                                               │
              └── the socket's folder changed, or 0.1 s … 1 s ┘
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import closing
from pathlib import Path

from podwire_core.backoff import Backoff
from podwire_node.cni.calls.refusal import error_of
from podwire_node.cni.calls.wire import (
    ANSWER_BYTES,
    ANSWER_MAGIC,
    HEADER_BYTES,
    Answer,
    Request,
    encode_request,
)
from podwire_node.cni.files.folder_events import FolderEvents

_ASKING = 5.0  # seconds for one call, as the client has it


def refusal(path: Path, config: bytes, patience: float) -> str:
    """Why no ADD can be served at a socket; "" when it can.

    config: the network's, for one plugin.  patience: seconds in which it may yet become so.
    """
    deadline = time.monotonic() + patience
    backoff = Backoff(most=1.0)
    with closing(FolderEvents([path.parent])) as events:
        while True:
            events.watch()
            reason = _asked(path, config)
            now = time.monotonic()
            if not reason or now >= deadline:
                return reason
            until = min(backoff.failed(now), deadline)
            # What STATUS says has no event, a socket that appears has one.
            select.select([events], [], [], max(0.0, until - now))
            events.read()


def _asked(path: Path, config: bytes) -> str:
    call = encode_request(Request({"CNI_COMMAND": "STATUS", "CNI_PATH": "/"}, config))
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(_ASKING)
            agent.connect(str(path))
            agent.sendall(call)
            header = _received(agent, HEADER_BYTES)
            code, length = int.from_bytes(header[4:8]), int.from_bytes(header[8:])
            if header[:4] != ANSWER_MAGIC or length > ANSWER_BYTES:
                return "what it says is no answer: it may be of another version"
            output = _received(agent, length)
    except OSError as error:
        return f"no agent answers there: {error.strerror or error}"
    said, why = error_of(Answer(code, output))
    return f"the agent cannot serve: {why} (code {said})" if said else ""


def _received(agent: socket.socket, length: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < length:
        piece = agent.recv(length - len(pieces))
        if not piece:
            raise ConnectionAbortedError("it hung up without an answer")
        pieces += piece
    return bytes(pieces)
