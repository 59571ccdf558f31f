"""The runtime's side of CNI: calls a chain of plugins for one pod as containerd would.

    ADD   first ─► … ─► last, each with the result of the one before it
    DEL   last ─► … ─► first, with the configuration and the final result of the ADD

Both are remembered in a file a pod, written before the first plugin is called: a DEL needs
them when the node's configuration has changed or gone since, and a pod that no plugin was
ever called for needs no DEL. A failed ADD is followed by DEL, DEL twice is fine, and a
container is never in two calls at once: that is the caller's part. Here: the environment, and a
bound on calls at the same time; plugin_process runs them.

Source: CNI specification 1.1.0, sections 2 and 3.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from podwire_core import typed
from podwire_core.files import write_json
from podwire_lab.kubelet.networks import NetworkList, Networks, NotInstalledError
from podwire_lab.kubelet.plugin_process import DEADLINE_S, run_plugin

_AT_ONCE = 3


class CniError(Exception):
    """The plugin refused, failed or hung; the text is its own, in one sentence."""


@dataclass(frozen=True)
class Attachment:
    """One pod as the plugin knows it. `netns` is "" when the namespace is gone (DEL only)."""

    namespace: str
    name: str
    uid: str
    netns: str

    @property
    def container_id(self) -> str:
        """The sandbox's id: equal for one life of a pod, different for the next."""
        life = f"{self.namespace}/{self.name}/{self.uid}"
        return hashlib.sha256(life.encode()).hexdigest()

    @property
    def arguments(self) -> str:
        """CNI_ARGS, as kubelet's runtimes give them."""
        pairs = {
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": self.namespace,
            "K8S_POD_NAME": self.name,
            "K8S_POD_INFRA_CONTAINER_ID": self.container_id,
            "K8S_POD_UID": self.uid,
        }
        return ";".join(f"{key}={value}" for key, value in pairs.items())


class _Address(msgspec.Struct):
    address: str


class _Result(msgspec.Struct):
    ips: list[_Address] = []


class _Refusal(msgspec.Struct):
    msg: str = ""
    details: str = ""


class Attached(msgspec.Struct, frozen=True):
    """What is remembered of an ADD. `result` is None until its last plugin has answered."""

    network: NetworkList
    result: dict[str, Any] | None = None


class CniClient:
    """The plugins of one node. `memory` is a folder of this client's own."""

    def __init__(self, networks: Networks, memory: Path, *folders: Path) -> None:
        self.networks = networks
        self._memory = memory
        self._path = os.pathsep.join(map(str, (Path(sys.executable).parent, *folders)))
        self._calls = asyncio.Semaphore(_AT_ONCE)

    async def add(self, attachment: Attachment) -> tuple[str, ...]:
        """Wire the pod; its addresses. Raises CniError, OSError."""
        try:
            network = self.networks.current()
        except NotInstalledError as error:
            raise CniError(f"network not ready: {error}") from error
        self._remember(attachment, Attached(network))
        whole, read = None, _Result()
        for plugin in network.plugins:
            output = await self._call("ADD", attachment, network, plugin, whole)
            whole, read = _result_of(output)
        if not read.ips:
            raise CniError("CNI ADD gave no addresses")
        self._remember(attachment, Attached(network, whole))
        return tuple(row.address.partition("/")[0] for row in read.ips)

    async def delete(self, attachment: Attachment) -> None:
        """Undo it. Raises CniError, OSError."""
        attached = self._remembered(attachment)
        if attached is None:
            return
        for plugin in reversed(attached.network.plugins):
            await self._call("DEL", attachment, attached.network, plugin, attached.result)
        self._file(attachment).unlink(missing_ok=True)

    def _file(self, attachment: Attachment) -> Path:
        return self._memory / f"{attachment.container_id}.json"

    def _remember(self, attachment: Attachment, attached: Attached) -> None:
        self._memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self._file(attachment), attached)

    def _remembered(self, attachment: Attachment) -> Attached | None:
        """None: no plugin was called, or all is undone."""
        try:
            return typed.decode(self._file(attachment).read_bytes(), Attached)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise CniError(f"what an ADD left cannot be read: {error}") from error

    async def _call(
        self,
        command: str,
        attachment: Attachment,
        network: NetworkList,
        plugin: Mapping[str, Any],
        previous: Mapping[str, Any] | None,
    ) -> bytes:
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": attachment.netns,
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": attachment.arguments,
            "CNI_PATH": self._path,
        }
        program = plugin_argv(plugin["type"], self._path)
        async with self._calls:
            try:
                done = await run_plugin(
                    program, environment, network.configuration(plugin, previous)
                )
            except TimeoutError as error:
                raise CniError(f"CNI {command} took more than {DEADLINE_S:.0f} s") from error
        if done.code != 0:
            raise CniError(f"CNI {command}: {_reason(done.output, done.errors)}")
        return done.output


def plugin_argv(kind: str, path: str) -> list[str]:
    """The plugin in the path's folders; ours is also found as a module. Raises CniError."""
    found = shutil.which(kind, path=path)
    if found:
        return [found]
    if kind == "podwire-cni":
        return [sys.executable, "-P", "-m", "podwire_cni.plugin"]
    raise CniError(f"no plugin {kind!r} in {path}")


def _result_of(output: bytes) -> tuple[dict[str, Any], _Result]:
    """An ADD's answer, whole and as we read it. Raises CniError."""
    try:
        whole = typed.decode(output, dict[str, Any])
        return whole, typed.convert(whole, _Result)
    except msgspec.MsgspecError as error:
        raise CniError(f"CNI ADD gave no result: {error}") from error


def _reason(output: bytes, errors: bytes) -> str:
    """The plugin's error object in one sentence, else the last line it wrote."""
    try:
        refusal = typed.decode(output, _Refusal)
    except msgspec.DecodeError:
        lines = errors.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "failed and gave no reason"
    return f"{refusal.msg}: {refusal.details}" if refusal.details else refusal.msg
