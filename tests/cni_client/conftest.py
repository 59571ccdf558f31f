"""The client, built from its source with the compiler's checks, and agents that misbehave."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from client_build import build

#: Agents that are away are given up soon; whoever talks may take its time on a busy machine.
PATIENT = (
    "CONNECT_MS=300",
    "DELETE_CONNECT_MS=200",
    "ANSWER_MS=20000",
    "STATUS_MS=20000",
    "STDIN_MS=20000",
    "PRINT_MS=20000",
)
#: For tests that wait until a deadline has passed.
HASTY = (
    "CONNECT_MS=300",
    "DELETE_CONNECT_MS=200",
    "ANSWER_MS=700",
    "STATUS_MS=300",
    "STDIN_MS=3000",
    "PRINT_MS=1000",
)
ENVIRON = {
    "CNI_CONTAINERID": "abc",
    "CNI_NETNS": "/proc/self/ns/net",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}


@dataclass(frozen=True)
class Answer:
    """What a call left."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error object; fails when there is none."""
        document: dict[str, Any] = json.loads(self.stdout)
        assert self.exit_code == 1
        assert self.stderr == b""
        return document


@dataclass(frozen=True)
class Client:
    """A built client."""

    program: Path

    def call(
        self, command: str, stdin: bytes, environ: dict[str, str] = ENVIRON, **more: str
    ) -> Answer:
        """One whole call."""
        done = subprocess.run(
            [self.program],
            input=stdin,
            env={**environ, "CNI_COMMAND": command, **more},
            capture_output=True,
            check=False,
            timeout=30,
        )
        return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """One that waits, and ends at the first bad byte (AddressSanitizer, UBSan)."""
    return _built(tmp_path_factory.mktemp("client"), PATIENT)


@pytest.fixture(scope="session")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """The same with deadlines that tests can wait for."""
    return _built(tmp_path_factory.mktemp("client"), HASTY)


def _built(folder: Path, milliseconds: Sequence[str]) -> Client:
    deadlines = " ".join(f"-DPODWIRE_{each}" for each in milliseconds)
    checks = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    return Client(build(folder, CFLAGS=f"{checks} {deadlines}", LDFLAGS=""))


@dataclass
class Agent:
    """A socket, and what came in there."""

    path: Path
    queue: Path = Path("/dev/null")  # which is no folder: nothing can be queued
    heard: list[bytes] = field(default_factory=list)
    descriptors: list[str] = field(default_factory=list)

    def config(self, **keys: object) -> bytes:
        places = {"socket": str(self.path), "queueDir": str(self.queue)}
        return json.dumps({"cniVersion": "1.0.0", **places, **keys}).encode()


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Agents that read what comes, send these pieces, and hang up or stay silent."""
    listeners: list[socket.socket] = []

    def make(*answer: bytes, hang_up: bool = True, reads: bool = True) -> Agent:
        agent = Agent(tmp_path / f"agent{len(listeners)}.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(agent.path))
        listener.listen()
        listeners.append(listener)
        arguments = (listener, agent, answer, hang_up, reads)
        threading.Thread(target=_serve, args=arguments, daemon=True).start()
        return agent

    with _closed(listeners):
        yield make


@contextmanager
def _closed(listeners: list[socket.socket]) -> Iterator[None]:
    try:
        yield
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _serve(
    listener: socket.socket, agent: Agent, answer: Sequence[bytes], hang_up: bool, reads: bool
) -> None:
    kept = []
    while True:
        try:
            accepted, _ = listener.accept()
        except OSError:
            for each in kept:
                each.close()
            return
        with suppress(OSError):
            if reads:
                agent.heard.append(_whole_request(accepted, agent))
            for piece in answer:
                accepted.sendall(piece)
        if hang_up:
            accepted.close()
        else:
            kept.append(accepted)


def _whole_request(accepted: socket.socket, agent: Agent) -> bytes:
    accepted.settimeout(10)
    message, descriptors, _, _ = socket.recv_fds(accepted, 12, 4)
    for descriptor in descriptors:
        agent.descriptors.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        os.close(descriptor)
    sizes = int.from_bytes(message[4:8]) + int.from_bytes(message[8:12])
    while len(message) < 12 + sizes:
        message += accepted.recv(1 << 20)
    return message
