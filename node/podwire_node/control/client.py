"""The commands' end: a question to the agent of this node, and its answers as they come."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from podwire_core import typed
from podwire_node.control.errors import ControlError
from podwire_node.control.printable import printable_lines

MAX_ANSWER_BYTES = 16 << 20
_PIECE = 1 << 16
_HEARD = {"heard": True}
_HEARD_S = 10.0  # until an agent says that it heard, however busy its loop is
_PATIENCE_S = 120.0
_PEER = struct.Struct("3i")  # struct ucred: process, user, group


class AgentClient:
    """Asks the agent that listens at a path. Each question is a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(
        self, verb: str, fields: Mapping[str, object] | None = None, *, stream: bool = False
    ) -> Iterator[dict[str, object]]:
        """The answers, as they come. stream: however long the next one takes.

        Raises ControlError: there is no agent, no right to ask it, or it says why not.
        """
        with self._connected() as agent:
            request = msgspec.json.encode({**(fields or {}), "verb": verb}) + b"\n"
            with suppress(OSError):  # it may have refused us, and said why before it read this
                agent.sendall(request)
            heard = False
            try:
                for line in self._lines(agent):
                    answer = self._decoded(line)
                    if not heard and answer == _HEARD:
                        heard = True
                        agent.settimeout(None if stream else _PATIENCE_S)
                        continue
                    if "error" in answer:
                        raise ControlError(printable_lines(str(answer["error"])))
                    if answer.get("end") is True:
                        return
                    yield answer
            except TimeoutError as error:
                raise ControlError(f"{self._path}: {_silence(agent, heard=heard)}") from error
        raise ControlError(f"{self._path}: the agent ended before its answer did")

    def one(self, verb: str, fields: Mapping[str, object] | None = None) -> dict[str, object]:
        """The only answer of a verb that gives one. Raises ControlError."""
        answers = list(self.ask(verb, fields))
        if len(answers) != 1:
            raise ControlError(f"{self._path}: the agent gave {len(answers)} answers, not one")
        return answers[0]

    def _connected(self) -> socket.socket:
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Python's own time-out refuses to wait where many others do.
            agent.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(_HEARD_S))
            agent.connect(str(self._path))
            agent.settimeout(_HEARD_S)
        except BlockingIOError as error:
            agent.close()
            raise ControlError(f"{self._path}: {_unanswered(0)}") from error
        except OSError as error:
            agent.close()
            raise ControlError(_explained(self._path, error)) from error
        return agent

    def _lines(self, agent: socket.socket) -> Iterator[bytes]:
        """As they come. Raises TimeoutError, which means more or less by what came before."""
        rest = b""
        while True:
            try:
                piece = agent.recv(_PIECE)
            except TimeoutError:
                raise
            except OSError as error:
                raise ControlError(f"{self._path}: {error.strerror}") from error
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
            if len(rest) > MAX_ANSWER_BYTES:
                raise ControlError(f"{self._path}: an answer is larger than any can be")

    def _decoded(self, line: bytes) -> dict[str, object]:
        try:
            return typed.decode(line, dict[str, object])
        except ValueError as error:  # msgspec's own are such, and bad UTF-8
            raise ControlError(f"{self._path}: not an agent's answer: {error}") from error


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))


def _silence(agent: socket.socket, *, heard: bool) -> str:
    """Of an agent that says nothing, before it heard the question or after."""
    if heard:
        return f"the agent says nothing for {_PATIENCE_S:.0f} s"
    peer = agent.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return _unanswered(_PEER.unpack(peer)[0])


def _unanswered(process: int) -> str:
    """process: 0 where it is not known, or not of our PID namespace."""
    who = f"the agent (process {process})" if process else "the agent"
    return f"{who} listens but does not answer: it was stopped, or hangs; see its log, restart it"


def _explained(path: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return (
                f"{path}: no agent listens here: run one with component policy or proxyMode ebpf, "
                "or name its controlSocket with --socket or --config"
            )
        case ConnectionRefusedError():
            return f"{path}: the agent that listened here has ended: start it again"
        case PermissionError():
            return f"{path}: {error.strerror}: run as root"
    return f"{path}: cannot be asked: {error.strerror or error}"
