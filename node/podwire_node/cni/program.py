"""The plugin as a process: one `podwire-cni` a call, in the agent's network namespace.

A process, and neither a thread nor a fork of the agent: a child of a process with threads may
inherit a lock that nobody will release, and a plugin that hangs can be killed. It costs the
start of an interpreter, a good part of a second for an ADD; see cni-plugin/README.md.

The client decides nothing that the plugin believes: it gets the specification's variables and
its configuration, whose stateDir is replaced by the agent's. Everything else is the agent's.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from podwire_node.cni.refusal import (
    BAD_JSON,
    INPUT_OUTPUT_FAILED,
    NEWEST_VERSION,
    Refusal,
    later,
)
from podwire_node.cni.wire import ANSWER_BYTES, Answer, Request

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"component": "cni"})

#: Performs a call. The descriptor is the pod's namespace, if there is one; the deadline is by
#: time.monotonic(). Raises Refusal.
Plugin: TypeAlias = Callable[[Request, int | None, float], Answer]

# A plugin that is told to stop undoes what it began; then it is killed.
_PATIENCE = 5.0


class PluginProgram:
    """Runs `python -m podwire_cni`, by this very interpreter. A Plugin.

    state_dir: where leases are, whatever the configuration says.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = str(state_dir)
        # -I: nothing in our environment or working directory changes what is imported.
        self._argv = (sys.executable, "-I", "-m", "podwire_cni")

    def __call__(self, request: Request, netns: int | None, deadline: float) -> Answer:
        """See Plugin."""
        stdin, version = with_state_dir(request.stdin, self._state_dir)
        environ = {**request.environ, "PODWIRE_CALLER": str(os.getpid())}  # see podwire_cni.spec
        if netns is not None:
            environ["PODWIRE_NETNS_FD"] = str(netns)  # see podwire_cni.spec
        try:
            # A session of its own: Ctrl-C at the agent's terminal is not for the plugin.
            process = subprocess.Popen(
                self._argv,
                env=environ,
                pass_fds=() if netns is None else (netns,),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Refusal(INPUT_OUTPUT_FAILED, f"cannot start the plugin: {error}") from error
        with process:
            return _conversation(process, replace(request, stdin=stdin), version, deadline)


def with_state_dir(stdin: bytes, state_dir: str) -> tuple[bytes, str]:
    """The configuration with our stateDir, and its cniVersion. Raises Refusal.

    json, and not msgspec, because the plugin reads with json: what one of them took and the
    other refused would pass with its own stateDir.
    """
    try:
        config: Any = json.loads(stdin)
        if not isinstance(config, dict):
            raise Refusal(BAD_JSON, "configuration on stdin is not an object")
        config["stateDir"] = state_dir
        # No longer than it came: ASCII spellings would be. A lone surrogate passes as it does
        # in json.loads().
        text = json.dumps(config, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise Refusal(BAD_JSON, "configuration on stdin is not JSON") from None
    version = config.get("cniVersion")
    known = version if isinstance(version, str) else NEWEST_VERSION
    return text.encode(errors="surrogatepass"), known


def _conversation(
    process: subprocess.Popen[bytes], request: Request, version: str, deadline: float
) -> Answer:
    try:
        output, errors = process.communicate(
            request.stdin, timeout=max(0.0, deadline - time.monotonic())
        )
    except subprocess.TimeoutExpired:
        _stop(process)
        refusal = later(request, f"the plugin's {request.command} took too long and was stopped")
        refusal.version = version
        raise refusal from None
    if errors:
        line = errors[-500:].decode(errors="replace").strip().rpartition("\n")[2]
        _log.warning("the CNI plugin said: %s", line)
    if not 0 <= process.returncode <= 255 or len(output) > ANSWER_BYTES:
        words = f"the plugin ended with {process.returncode} and {len(output)} bytes"
        raise Refusal(INPUT_OUTPUT_FAILED, words, version)
    return Answer(process.returncode, output)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
