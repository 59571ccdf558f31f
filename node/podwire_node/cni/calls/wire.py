"""What the CNI client and the agent say to each other: bytes to values and back. Pure.

The drawing and the reasons stand in cni-plugin/client/protocol.h, the client's half. Nothing
is believed: lengths are bounded before anything of that length is read, and the environment
holds the six variables of the specification and no other.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

REQUEST_MAGIC = b"PWC1"
ANSWER_MAGIC = b"PWA1"
ENVIRONMENT_BYTES = 64 << 10
STDIN_BYTES = 1 << 20
ANSWER_BYTES = 1 << 20
VARIABLES = frozenset(
    {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"}
)

_HEADER = struct.Struct("!4sII")
HEADER_BYTES = _HEADER.size


class WireError(Exception):
    """Bytes that are no message; one sentence."""


@dataclass(frozen=True, slots=True)
class Request:
    """One CNI call as the client forwards it, without the namespace's descriptor."""

    environ: Mapping[str, str]
    stdin: bytes

    @property
    def command(self) -> str:
        """The value of CNI_COMMAND; not judged."""
        return self.environ.get("CNI_COMMAND", "")

    @property
    def container(self) -> str:
        """The value of CNI_CONTAINERID; not judged."""
        return self.environ.get("CNI_CONTAINERID", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client shall print, and exit with."""

    exit_code: int
    stdout: bytes = b""


def encode_request(request: Request) -> bytes:
    """The request as the client sends it. Raises WireError when it is too large."""
    pairs = [f"{name}={value}" for name, value in request.environ.items()]
    block = b"".join(pair.encode(errors="surrogateescape") + b"\0" for pair in pairs)
    _require_sizes(len(block), len(request.stdin))
    return _HEADER.pack(REQUEST_MAGIC, len(block), len(request.stdin)) + block + request.stdin


def request_sizes(header: bytes) -> tuple[int, int]:
    """How many bytes of environment and stdin follow a header. Raises WireError."""
    magic, environment, stdin = _HEADER.unpack(header)
    if magic != REQUEST_MAGIC:
        raise WireError(f"the message begins with {magic!r}, not {REQUEST_MAGIC!r}")
    _require_sizes(environment, stdin)
    return environment, stdin


def decode_request(environment: bytes, stdin: bytes) -> Request:
    """The two pieces behind a header. Raises WireError that names the variable."""
    environ: dict[str, str] = {}
    pairs = environment.split(b"\0")
    if pairs.pop():
        raise WireError("the environment does not end with a zero byte")
    for pair in pairs:
        name, equals, value = pair.decode(errors="surrogateescape").partition("=")
        if not equals or name not in VARIABLES or name in environ:
            raise WireError(f"the environment holds {name[:32]!r}: unknown, or twice there")
        environ[name] = value
    return Request(environ, stdin)


def encode_answer(answer: Answer) -> bytes:
    """The answer as the client reads it. Raises WireError when it is too large."""
    if len(answer.stdout) > ANSWER_BYTES:
        raise WireError(f"the answer has {len(answer.stdout)} bytes, at most {ANSWER_BYTES} fit")
    return _HEADER.pack(ANSWER_MAGIC, answer.exit_code, len(answer.stdout)) + answer.stdout


def _require_sizes(environment: int, stdin: int) -> None:
    if environment > ENVIRONMENT_BYTES or stdin > STDIN_BYTES:
        raise WireError(f"{environment} bytes of environment and {stdin} of stdin are too many")
