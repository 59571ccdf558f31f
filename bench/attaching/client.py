"""The client alone: an agent that answers at once, VERSION without one, and its memory."""

from __future__ import annotations

import socket
import statistics
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from memory import peak_mb

from attaching.contenders import Contender
from attaching.nodes import Pod, node, pods
from attaching.spawning import Call, run
from podwire_node.cni.calls.wire import HEADER_BYTES, Answer, encode_answer, request_sizes

_RESULT = encode_answer(Answer(0, b"{}"))
_BATCHES = 5
_SILENT = Path("/bin/true")


@dataclass(frozen=True)
class Client:
    """Medians of batches, in milliseconds; and the most memory of any call, in MB.

    served: ADD, and an agent that answers at once. alone: VERSION. floor: /bin/true, which only
    starts and ends.
    """

    served: Sequence[float]
    alone: Sequence[float]
    floor: Sequence[float]
    rss_mb: float


def run_client(spawn: Path, program: Path, calls: int) -> Client:
    """Batches of each in turn. Raises CallFailed."""
    with node() as netns, pods(1) as (pod,), _answering(Path("/run/client.sock")) as server:
        folder = Path("/run/client")
        folder.mkdir()
        client = Contender("client", program, netns, folder)
        client.stdin.write_text(
            '{"cniVersion":"1.0.0","name":"bench","type":"podwire","socket":"/run/client.sock"}'
        )
        floor = Contender("true", _SILENT, netns, folder)
        kinds = [client.call("ADD", pod), _version(client, pod), floor.call("ADD", pod)]
        medians = [
            [_median(spawn, kind, max(1, calls // _BATCHES)) for kind in kinds]
            for _ in range(_BATCHES)
        ]
        server.looks = True
        run(spawn, [kinds[0]] * min(calls, 20))
    served, alone, bare = zip(*medians, strict=True)
    return Client(served, alone, bare, max(server.seen))


def _version(client: Contender, pod: Pod) -> Call:
    return client.call("VERSION", pod)


def _median(spawn: Path, call: Call, count: int) -> float:
    return statistics.median(ran.ms for ran in run(spawn, [call] * count))


class _Server:
    """Answers whoever asks; looks: first at how much memory the asker has needed."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.looks = False
        self.seen: list[float] = []

    def run(self) -> None:
        """Until nobody can connect any more."""
        with suppress(OSError):
            while True:
                with self._listening.accept()[0] as connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        sizes = request_sizes(connection.recv(HEADER_BYTES, socket.MSG_PEEK | socket.MSG_WAITALL))
        connection.recv(HEADER_BYTES + sum(sizes), socket.MSG_WAITALL)  # the descriptor is dropped
        if self.looks:
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self.seen.append(peak_mb(struct.unpack("iII", peer)[0]))
        connection.sendall(_RESULT)


@contextmanager
def _answering(path: Path) -> Iterator[_Server]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen()
        server = _Server(listening)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
