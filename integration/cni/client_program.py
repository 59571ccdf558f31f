"""The CNI client, as a runtime calls it, and an agent's server to talk to on a node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from podwire_cni import namespace
from podwire_node.cni.calls.agent_host import AgentHost
from podwire_node.cni.calls.plugin import AgentPlugin, Plugin
from podwire_node.cni.calls.server import CniServer

from .conftest import Answer, Node, Pod, finish


@contextmanager
def serving(node: Node, socket: Path, plugin: Plugin | None = None) -> Iterator[CniServer]:
    """An agent's server in the node's namespace, for as long as the block lasts."""
    with ExitStack() as stack:

        def serve() -> CniServer:
            host = AgentHost(node.state_dir)
            stack.callback(host.close)
            performed = plugin or AgentPlugin(host)
            return stack.enter_context(CniServer(socket, node.state_dir, plugin=performed))

        with namespace.opened(node.namespace.path) as descriptor:
            server = namespace.inside(descriptor, serve)  # its threads stay in there
        yield server


@dataclass(frozen=True)
class Client:
    """The installed client as a runtime on the machine calls it, in no node's namespace."""

    program: Path
    node: Node
    socket: Path

    @property
    def queue(self) -> Path:
        """Where the agent looks for DELs that came without it."""
        return self.node.state_dir / "queue"

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
        places = {"socket": str(self.socket), "queueDir": str(self.queue)}
        config = self.node.config(type="podwire", **places, **keys)
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
