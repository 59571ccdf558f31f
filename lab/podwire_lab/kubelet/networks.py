"""Which plugins wire a node's pods: a chain that is given, or the one that is installed.

    10-podwire.conflist  ┐ the first by name that can be read is in force, as libcni chooses;
    20-other.conflist    ┘ while there is none, the node is not ready and pods wait

Each plugin gets its own object, the list's name and version, and what the plugin before it
said as `prevResult`.

Source: CNI specification 1.1.0, section 3, "Network configuration attributes".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from podwire_core import typed
from podwire_lab.kubelet.file_events import FileEvents
from podwire_lab.topology import LabNode

_MAX_BYTES = 1024 * 1024
_MAX_PLUGINS = 32
_SUFFIXES = {".conflist", ".conf", ".json"}


class NetworkList(msgspec.Struct, frozen=True, rename="camel"):
    """A network's plugins in the order of ADD. `plugins` are kept as their authors wrote them."""

    name: str
    plugins: tuple[dict[str, Any], ...]
    cni_version: str = "0.1.0"  # what the specification infers

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("`name`: empty")
        if not 1 <= len(self.plugins) <= _MAX_PLUGINS:
            raise ValueError(f"`plugins`: expected 1 to {_MAX_PLUGINS}")
        for plugin in self.plugins:
            kind = plugin.get("type")
            if not isinstance(kind, str) or not kind or "/" in kind:
                raise ValueError(f"`plugins`: {kind!r} is no plugin's type")

    def configuration(self, plugin: Mapping[str, Any], previous: Mapping[str, Any] | None) -> bytes:
        """What a plugin gets on stdin; previous: the result of the one before it."""
        whole: dict[str, Any] = {**plugin, "name": self.name, "cniVersion": self.cni_version}
        if previous is not None:
            whole["prevResult"] = previous
        return msgspec.json.encode(whole)


class NotInstalledError(Exception):
    """There is no network to wire pods with; the text says what is missing."""


class Networks(Protocol):
    """Where the chain of plugins comes from."""

    def current(self) -> NetworkList:
        """The chain in force. Raises NotInstalledError."""
        ...

    async def ready(self) -> None:
        """Return when there is one."""
        ...


class GivenNetwork:
    """One plugin, ours, that is always there: what a lab without an API server uses."""

    def __init__(self, node: LabNode, state: Path) -> None:
        plugin = {"type": "podwire-cni", "ranges": node.pod_cidrs, "stateDir": str(state)}
        self._network = NetworkList("podwire", (plugin,), "1.1.0")

    def current(self) -> NetworkList:
        """See Networks."""
        return self._network

    async def ready(self) -> None:
        """See Networks."""


class InstalledNetwork:
    """What a network's agent installs in a folder; made inside the event loop."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._events = FileEvents(folder)
        self._loop = asyncio.get_running_loop()
        self._found: NetworkList | None = None
        self.problem = ""
        self._watchers: set[asyncio.Event] = set()
        self._loop.add_reader(self._events.fileno(), self._reread)
        self._reread()

    def current(self) -> NetworkList:
        """See Networks."""
        if self._found is None:
            raise NotInstalledError(self.problem)
        return self._found

    async def ready(self) -> None:
        """See Networks."""
        while self._found is None:
            await self.changes()

    async def changes(self) -> None:
        """Return when something in the folder has changed."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            await event.wait()
        finally:
            self._watchers.discard(event)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._events.fileno())
        self._events.close()

    def _reread(self) -> None:
        self._events.drain()
        self._found, self.problem = first_of(self._folder)
        for event in self._watchers:
            event.set()


def first_of(folder: Path) -> tuple[NetworkList | None, str]:
    """The first usable network of a folder, or None and what is missing or wrong."""
    problem = f"cni plugin not initialized: no network configuration in {folder}"
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix in _SUFFIXES)
    except OSError as error:
        return None, f"{folder}: {error.strerror}"
    for file in files:
        try:
            return read_network(file), ""
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            problem = f"{file.name}: {error}"
    return None, problem


def read_network(file: Path) -> NetworkList:
    """A .conflist, or a .conf with one plugin. Raises OSError, ValueError, MsgspecError."""
    with file.open("rb") as opened:
        content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES // 1024} KiB")
    if file.suffix == ".conflist":
        return typed.decode(content, NetworkList)
    plugin = typed.decode(content, dict[str, Any])
    whole = {**plugin, "plugins": [plugin]}
    return typed.convert(whole, NetworkList)
