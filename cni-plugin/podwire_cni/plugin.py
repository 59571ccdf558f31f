"""The plugin as a program: environment and stdin in, one JSON document and a code out.

`run` is the whole plugin as a function: the agent calls it in its threads, any number at once.
`main` gives it the real environment, stdin and stdout.

Nothing but the answer ever reaches stdout, and no traceback reaches anybody.
"""

import json
import math
import os
import select
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from podwire_cni.config import MAXIMUM_BYTES, decode, version_of
from podwire_cni.errors import CniError, InputOutputFailed, InternalError, TryAgain
from podwire_cni.fields import JsonObject
from podwire_cni.host import ALONE, Host
from podwire_cni.spec import (
    NEWEST_VERSION,
    SUPPORTED_VERSIONS,
    Command,
    parse_environment,
    require_version,
)

ABOUT = (
    "podwire-cni: wires pods with veth pairs and routes\n"
    f"CNI protocol versions supported: {', '.join(SUPPORTED_VERSIONS)}\n"
)
_VERSION_PATIENCE = 100  # milliseconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the process shows: text for stdout and stderr, and its exit code."""

    stdout: str = ""
    exit_code: int = 0
    stderr: str = ""


def run(
    environ: Mapping[str, str],
    stdin: bytes,
    host: Host = ALONE,
    netns: int | None = None,
    deadline: float | None = None,
) -> Outcome:
    """Perform one CNI call. Never raises for a failed call: the outcome tells it.

    environ: the CNI_* variables.  stdin: the network configuration, or for VERSION
    `{"cniVersion": …}` or nothing.  host: what is there besides this call.  netns: a descriptor
    of CNI_NETNS, which stays the caller's; without one the path is opened.  deadline: of
    time.monotonic(), by which whoever waits has gone.
    """
    if not environ.get("CNI_COMMAND"):
        return Outcome(stderr=ABOUT)
    version = NEWEST_VERSION
    try:
        environment = parse_environment(environ)
        if environment.command is Command.VERSION:
            return _versions(stdin)
        raw = decode(stdin)
        version = version_of(raw)
        require_version(version, environment.command)
        from podwire_cni.verbs import VERBS, Call  # noqa: PLC0415 - VERSION needs no SQLite

        limit = math.inf if deadline is None else deadline
        result = VERBS[environment.command](Call(environment, version, raw, host, netns, limit))
    except CniError as error:
        return failure(error, version)
    except Exception as error:  # noqa: BLE001 - the runtime must get JSON, whatever happens
        return failure(_internal(error), version)
    return Outcome(_json(result)) if result is not None else Outcome()


def failure(error: CniError, version: str = NEWEST_VERSION) -> Outcome:
    """The outcome that reports an error (SPEC.md, "Error")."""
    document: dict[str, object] = {
        "cniVersion": version,
        "code": error.code,
        "msg": error.message,
    }
    if error.details:
        document["details"] = error.details
    return Outcome(_json(document), exit_code=1)


def main() -> NoReturn:
    """The console script: one call, then exit."""
    # As an exception SIGTERM lets a half-done ADD undo itself. Runtimes send SIGKILL,
    # after which DEL, GC or the next ADD clean up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        outcome = run(os.environ, _read_stdin(os.environ.get("CNI_COMMAND", "")))
    except CniError as error:
        outcome = failure(error)
    except KeyboardInterrupt:
        outcome = failure(TryAgain("interrupted; whatever was begun is undone"))
    sys.stderr.write(outcome.stderr)
    sys.stdout.write(outcome.stdout)
    sys.stdout.flush()
    sys.exit(outcome.exit_code)


def _read_stdin(command: str) -> bytes:
    """Read at most one byte more than is allowed, so that the excess can be told."""
    if not command:
        return b""
    try:
        # VERSION must answer even a caller who forgets to close stdin.
        if command == Command.VERSION:
            ready, _, _ = select.select([0], [], [], _VERSION_PATIENCE / 1000)
            return os.read(0, MAXIMUM_BYTES) if ready else b""
        return sys.stdin.buffer.read(MAXIMUM_BYTES + 1)
    except (OSError, ValueError, AttributeError) as error:
        # Python sets sys.stdin to None when descriptor 0 is closed.
        raise InputOutputFailed("cannot read the configuration from stdin", str(error)) from error


def _versions(stdin: bytes) -> Outcome:
    """Answer VERSION: the caller's version echoed, and what we support."""
    try:
        echo = version_of(decode(stdin))
    except CniError:
        echo = NEWEST_VERSION
    return Outcome(_json({"cniVersion": echo, "supportedVersions": list(SUPPORTED_VERSIONS)}))


def _internal(error: Exception) -> InternalError:
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    place = "unknown"
    if traceback:
        file = os.path.basename(traceback.tb_frame.f_code.co_filename)  # noqa: PTH119 - no pathlib for VERSION
        place = f"{file}:{traceback.tb_lineno}"
    return InternalError(
        f"podwire-cni met a fault of its own: {type(error).__name__}: {error}",
        f"at {place}; please report it with the network's configuration",
    )


def _json(document: JsonObject) -> str:
    return json.dumps(document, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    main()
