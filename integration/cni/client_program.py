"""The CNI client, as a runtime calls it, and an agent's server to talk to on a node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from podwire_cni import namespace
from podwire_node.cni.program import Plugin
from podwire_node.cni.server import CniServer

from .conftest import Answer, Node, Pod, finish


@contextmanager
def serving(node: Node, socket: Path, plugin: Plugin | None = None) -> Iterator[CniServer]:
    """An agent's server in the node's namespace, for as long as the block lasts."""
    server = CniServer(socket, node.state_dir, plugin=plugin)
    with namespace.opened(node.namespace.path) as descriptor, namespace.entered(descriptor):
        server.__enter__()  # its threads, and their children, stay in the namespace
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True)
class Client:
    """The installed client as a runtime on the machine calls it, in no node's namespace."""

    program: Path
    node: Node
    socket: Path

    def to(self, socket: Path) -> Client:
        return replace(self, socket=socket)

    def start(
        self,
        command: str,
        pod: Pod | None = None,
        *,
        netns: str | None = None,
        descriptors: Sequence[int] = (),
        **keys: object,
    ) -> subprocess.Popen[str]:
        """Begin a call; keys change the configuration."""
        environ = {"CNI_COMMAND": command, "CNI_PATH": str(self.program.parent)}
        process = subprocess.Popen(
            [self.program],
            env=environ | (pod.variables(netns) if pod else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            text=True,
        )
        config = self.node.config(type="podwire", socket=str(self.socket), **keys)
        assert process.stdin is not None
        process.stdin.write(json.dumps(config))
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, command: str, pod: Pod | None = None, **keys: Any) -> Answer:
        return finish(self.start(command, pod, **keys))

    def add(self, pod: Pod, **keys: Any) -> dict[str, Any]:
        answer = self.call("ADD", pod, **keys)
        assert (answer.exit_code, answer.stderr) == (0, ""), answer
        return answer.json
