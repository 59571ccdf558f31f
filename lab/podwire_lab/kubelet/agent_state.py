"""Whether a node's agent is ready, and a network that is none until it is.

    agent.json   absent from an agent's start until it says how it is; "ready": true once
                 everything it enforces is in the kernel

A pod that is let in earlier runs without the policies that are meant for it. Pods that run
already are not asked about: an agent that ends leaves its rules in force.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from podwire_core import typed
from podwire_lab.kubelet.file_events import FileEvents
from podwire_lab.kubelet.networks import NetworkList, Networks, NotInstalledError
from podwire_lab.machine import processes


class _Said(msgspec.Struct):
    """What is read of the agent's status."""

    pid: int = 0
    ready: bool = False


class AgentState:
    """What a node's agent says in its status file; made inside the event loop."""

    def __init__(self, file: Path) -> None:
        """Raises OSError when the file's folder is not there."""
        self._file = file
        self._events = FileEvents(file.parent, whole=True)  # beside logs, which grow all the time
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events.fileno(), self._wake)

    def ready(self) -> bool:
        """Whether it runs and says so, asked anew each time."""
        try:
            said = typed.decode(self._file.read_bytes(), _Said)
        except (OSError, msgspec.DecodeError):
            return False
        return said.ready and processes.alive(said.pid)

    async def until_ready(self) -> None:
        """Return when it is."""
        while not self.ready():
            await self._changed.wait()

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._events.fileno())
        self._events.close()

    def _wake(self) -> None:
        self._events.drain()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class GuardedNetwork:
    """A network that pods get once their node's agent is ready. See Networks."""

    def __init__(self, network: Networks, agent: AgentState, node: str) -> None:
        self._network, self._agent, self._node = network, agent, node

    def current(self) -> NetworkList:
        """See Networks."""
        found = self._network.current()
        if not self._agent.ready():
            raise NotInstalledError(f"the agent of {self._node} is not ready")
        return found

    async def ready(self) -> None:
        """See Networks."""
        await self._network.ready()
        await self._agent.until_ready()
