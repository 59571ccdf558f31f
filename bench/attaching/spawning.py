"""CNI calls as a runtime makes them, timed from the plugin's start to its end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("spawn.c")
_CALL_S = 90.0  # more than the client ever waits


class CallFailed(Exception):  # noqa: N818 - the word for it
    """A call that had to succeed did not; the message holds what it printed."""


@dataclass(frozen=True)
class Call:
    """One call. node: path of the namespace it starts in. stdin and stdout: files."""

    node: str
    program: Path
    stdin: Path
    stdout: Path
    variables: Mapping[str, str]

    def encode(self) -> bytes:
        """The call as spawn.c reads it."""
        words = [self.node, str(self.program), str(self.stdin), str(self.stdout)]
        words += [f"{name}={value}" for name, value in self.variables.items()]
        return b"".join(word.encode() + b"\0" for word in [*words, ""])


@dataclass(frozen=True)
class Ran:
    """When a call began and ended, in nanoseconds of one clock."""

    start: int
    end: int

    @property
    def ms(self) -> float:
        """How long it took, in milliseconds."""
        return (self.end - self.start) / 1e6


def build(folder: Path) -> Path:
    """spawn.c as a program. Raises CalledProcessError."""
    program = folder / "spawn"
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run(["gcc", *flags, "-o", str(program), str(SOURCE)], check=True)
    return program


def run(spawn: Path, calls: Sequence[Call], width: int = 1) -> list[Ran]:
    """Make the calls in their order, so many at once. Raises CallFailed, TimeoutExpired."""
    command = [str(spawn), str(width)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a group of its own, which ends with us
    ) as process:
        try:
            message = b"".join(call.encode() for call in calls)
            output, errors = process.communicate(message, timeout=_CALL_S + len(calls))
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise CallFailed(errors.decode())
    return [_ran(call, line) for call, line in zip(calls, output.splitlines(), strict=True)]


def _ran(call: Call, line: bytes) -> Ran:
    start, end, code = map(int, line.split())
    if code:
        said = call.stdout.read_text()[:500]
        command = call.variables.get("CNI_COMMAND", "")
        raise CallFailed(f"{call.program.name} {command} ended with {code}: {said}")
    return Ran(start, end)
