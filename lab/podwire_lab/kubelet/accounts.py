"""Who a pod's programs are to the API server: the files that in-cluster clients look for.

    /var/run/secrets/kubernetes.io/serviceaccount/   token  ca.crt  namespace

A token is asked for by the node, is bound to its pod (it dies with it) and lives an hour; it
is replaced when four fifths of that are over.

Source: kubernetes.io, "Managing Service Accounts", bound service account tokens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from podwire_core import typed
from podwire_core.feed.api_server import ApiError
from podwire_core.files import write_whole
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.requests import Requests
from podwire_lab.workloads import LabContainer, LabPod

#: Where the API server's admission mounts them, and where clients look.
MOUNTED_AT = "/var/run/secrets/kubernetes.io/serviceaccount"
_SECONDS = 3607  # what the API server's admission asks for
_FRESH = _SECONDS * 4 // 5
_LOOK_EVERY = 120.0

_log = logging.getLogger(__name__)


class Accounts(Protocol):
    """Gives pods their accounts' files."""

    async def give(self, pod: LabPod, folder: Path) -> None:
        """Write them into a folder, unless the pod wants none. Raises OSError."""
        ...


class NoAccounts:
    """Where there is no API server, nobody needs a token."""

    async def give(self, pod: LabPod, folder: Path) -> None:
        """See Accounts."""


class ServiceAccounts:
    """Tokens of one node's pods. `authority` is the certificate that clients verify by."""

    def __init__(self, requests: Requests, authority: Path, clock: Clock) -> None:
        self._requests, self._authority, self._clock = requests, authority, clock

    async def give(self, pod: LabPod, folder: Path) -> None:
        """See Accounts."""
        containers = (*(pod.spec.containers or ()), *(pod.spec.init_containers or ()))
        if not any(map(wants, containers)):
            return
        account = pod.spec.service_account_name or "default"
        try:
            token = await self._token(pod, account)
        except (ApiError, msgspec.MsgspecError) as error:
            raise OSError(f"no token for ServiceAccount {account}: {error}") from error
        await asyncio.to_thread(self._write, folder, pod.name.namespace, token)

    async def keep_fresh(self, pods: Callable[[], Iterable[tuple[LabPod, Path]]]) -> None:
        """Replace old tokens for as long as it runs; `pods` is asked anew each time."""
        while True:
            await self._clock.sleep(_LOOK_EVERY)
            for pod, folder in list(pods()):
                with suppress(FileNotFoundError):  # it has none, or has just gone
                    if time.time() - (folder / "token").stat().st_mtime > _FRESH:
                        await self._renew(pod, folder)

    async def _renew(self, pod: LabPod, folder: Path) -> None:
        try:
            await self.give(pod, folder)
        except OSError as error:
            _log.warning("pod %s: %s; tries again", pod.name, error)

    async def _token(self, pod: LabPod, account: str) -> str:
        path = f"/api/v1/namespaces/{pod.name.namespace}/serviceaccounts/{account}/token"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod.name.name, "uid": pod.metadata.uid}
        spec = {"expirationSeconds": _SECONDS, "boundObjectRef": bound}
        kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        answer = await self._requests.send("POST", path, {**kind, "spec": spec})
        return typed.convert(answer, _Answer).status.token

    def _write(self, folder: Path, namespace: str, token: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(folder / "ca.crt", self._authority.read_bytes())
        write_whole(folder / "namespace", namespace.encode())
        write_whole(folder / "token", token.encode())


def wants(container: LabContainer) -> bool:
    """Whether a container is to find the files."""
    return any(row.mount_path == MOUNTED_AT for row in container.volume_mounts or ())


class _Token(msgspec.Struct):
    token: str


class _Answer(msgspec.Struct):
    status: _Token
