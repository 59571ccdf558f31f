"""A process in a cgroup and a network namespace that dials what it is told, one or again and again.

with Caller(netns, cgroup) as caller:
    caller.connect("10.96.0.10", 80)          the peer it sees, or an OSError
    with caller.calling("10.96.0.10", 80) as calls: …
    calls.made, calls.failed
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from scratch import Netns


@dataclass
class Calls:
    """What became of calls that were made one after the other; failed: error numbers."""

    made: int = 0
    failed: list[int] = field(default_factory=list)


class Caller:
    """The process; it ends with its block."""

    def __init__(self, netns: Netns, cgroup: Path) -> None:
        self._process = netns.popen(sys.executable, __file__, str(cgroup))
        assert self._process.stdout
        assert self._process.stdout.readline() == "inside\n", self._process.communicate()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def connect(self, address: str, port: int, kind: str = "tcp") -> tuple[str, int]:
        """The peer that the socket sees. kind: tcp or udp."""
        told = self._ask("connect", address, port, kind)
        if "error" in told:
            raise OSError(told["error"], "connect")
        return told["peer"][0], told["peer"][1]

    def many(self, address: str, port: int, count: int) -> int:
        """Dial so many UDP sockets, each once; how many went well."""
        return int(self._ask("many", address, port, count)["made"])

    @contextmanager
    def calling(self, address: str, port: int) -> Iterator[Calls]:
        """Dial without a pause while the block runs."""
        calls = Calls()
        self._ask("begin", address, port)
        try:
            yield calls
        finally:
            told = self._ask("end")
            calls.made, calls.failed = told["made"], told["failed"]

    def _ask(self, *order: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise AssertionError(self._process.communicate()[1]) from error


@contextmanager
def listening(netns: Netns, address: str = "127.0.0.1") -> Iterator[int]:
    """A TCP server that accepts and closes; its port."""
    with netns.inside(), socket.create_server((address, 0), backlog=512) as server:
        server.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()


# ---------------------------------------------------------------------------------- the process


def _socket(address: str, kind: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)


def _connect(address: str, port: int, kind: str) -> dict[str, Any]:
    with _socket(address, kind) as made:
        made.settimeout(20)
        try:
            made.connect((address, port))
            return {"peer": made.getpeername()[:2]}
        except OSError as error:
            return {"error": error.errno}


class _Loop(threading.Thread):
    def __init__(self, address: str, port: int) -> None:
        super().__init__()
        self.where, self.calls, self.ended = (address, port), Calls(), threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            told = _connect(*self.where, "tcp")
            self.calls.made += 1
            if "error" in told:
                self.calls.failed.append(told["error"])


def _many(address: str, port: int, count: int) -> dict[str, Any]:
    return {"made": sum("peer" in _connect(address, port, "udp") for _ in range(count))}


def main() -> None:
    """Join the cgroup, then answer orders until the pipe ends."""
    (Path(sys.argv[1]) / "cgroup.procs").write_text("0")
    print("inside", flush=True)
    loop = None
    for line in sys.stdin:
        verb, *words = json.loads(line)
        told: dict[str, Any] = {}
        if verb == "connect":
            told = _connect(*words)
        elif verb == "many":
            told = _many(*words)
        elif verb == "begin":
            loop = _Loop(*words)
            loop.start()
        elif loop is not None:
            loop.ended.set()
            loop.join()
            told = {"made": loop.calls.made, "failed": loop.calls.failed}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
