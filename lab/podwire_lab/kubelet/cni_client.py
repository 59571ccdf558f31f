"""The runtime's side of CNI: calls the plugin for one pod as containerd would.

A failed ADD is followed by DEL, DEL twice is fine, and a container is never in two calls at
once: that is the caller's part. Here: the environment, the configuration, a bound on calls
at the same time, and a deadline.

Source: CNI specification 1.1.0, sections 2 and 3.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from podwire_lab.topology import LabNode

_AT_ONCE = 3
_DEADLINE = 60.0


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


class CniClient:
    """The plugin of one node, its configuration and its state."""

    def __init__(self, node: LabNode, state: Path) -> None:
        self._argv = plugin_argv()
        self._config = msgspec.json.encode(
            {
                "cniVersion": "1.1.0",
                "name": "podwire",
                "type": "podwire-cni",
                "ranges": node.pod_cidrs,
                "stateDir": str(state),
            }
        )
        self._calls = asyncio.Semaphore(_AT_ONCE)

    async def add(self, attachment: Attachment) -> tuple[str, ...]:
        """Wire the pod; its addresses. Raises CniError."""
        output = await self._call("ADD", attachment)
        try:
            result = msgspec.json.decode(output, type=_Result)
        except msgspec.DecodeError as error:
            raise CniError(f"CNI ADD gave no result: {error}") from error
        return tuple(row.address.partition("/")[0] for row in result.ips)

    async def delete(self, attachment: Attachment) -> None:
        """Undo it. Raises CniError."""
        await self._call("DEL", attachment)

    async def _call(self, command: str, attachment: Attachment) -> bytes:
        environment = {
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": attachment.netns,
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": attachment.arguments,
            "CNI_PATH": str(Path(sys.executable).parent),
        }
        async with self._calls:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(_DEADLINE):
                    output, errors = await process.communicate(self._config)
            except TimeoutError as error:
                raise CniError(f"CNI {command} took more than {_DEADLINE:.0f} s") from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode != 0:
            raise CniError(f"CNI {command}: {_reason(output, errors)}")
        return output


def plugin_argv() -> list[str]:
    """The plugin beside this interpreter, else its module."""
    folder = str(Path(sys.executable).parent)
    found = shutil.which("podwire-cni", path=folder)
    return [found] if found else [sys.executable, "-m", "podwire_cni.plugin"]


def _reason(output: bytes, errors: bytes) -> str:
    """The plugin's error object in one sentence, else the last line it wrote."""
    try:
        refusal = msgspec.json.decode(output, type=_Refusal)
    except msgspec.DecodeError:
        lines = errors.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "failed and gave no reason"
    return f"{refusal.msg}: {refusal.details}" if refusal.details else refusal.msg
