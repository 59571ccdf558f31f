"""What container runtimes are told of us: the CNI client, its socket, and the conflist.

    first sync in the kernel ─► serve ADD and DEL ─► podCIDRs known ─► write the conflist

In this order, because a conflist is the promise that ADD is answered: kubelet calls its node
ready when it finds one. It is written again when podCIDRs or the MTU change and when someone has
changed it (host_files.py), and stays when the agent ends: pods that stop meanwhile are queued by
the client.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from podwire_core.backoff import Backoff
from podwire_node.settings.agent_config import AgentConfig

if TYPE_CHECKING:
    from podwire_node.cni.files.host_files import HostFiles

log = logging.getLogger(__name__)


class ConflistKeeper:
    """Files and a socket that are tried again, backing off, until they are there.

    serving: answers CNI calls for as long as it is entered, if a socket is asked for.
    """

    def __init__(
        self,
        config: AgentConfig,
        stack: ExitStack,
        serving: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._config = config
        self._stack = stack
        self._serving_calls = serving
        self._serving = not config.cni_socket
        self._content = b""
        self._files: HostFiles | None = None
        self._backoff = Backoff()
        self._problem = ""

    @property
    def ready(self) -> bool:
        """Whether pods can be given networks, as far as that was asked of us."""
        there = self._files is not None and self._files.are_there
        return self._serving and there and not self._problem

    @property
    def problems(self) -> Sequence[str]:
        """What could not be written or served, and why."""
        rivals = self._files.rivals if self._files is not None else ()
        return [*filter(None, [self._problem]), *rivals]

    def watched(self) -> Sequence[tuple[int, Callable[[], object]]]:
        """Descriptors that wake the agent's loop, and what is to be called then."""
        return self._files_kept().watched()

    def sync(self, now: float, pod_cidrs: Sequence[str], mtu: int) -> float | None:
        """Serve, install and write what is not. Answers when to try again, if it has to be."""
        if self._problem and not self._backoff.due(now):
            return self._backoff.until
        try:
            self._serve()
            again = self._keep(now, pod_cidrs, mtu)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return self._failed(f"cni: {where}{error.strerror or error}", now)
        except _UnusableError as error:
            return self._failed(f"cni: {error}", now)
        self._problem = ""
        self._backoff.succeeded()
        return again

    def _serve(self) -> None:
        if self._serving:
            return
        from podwire_node.cni.calls.listener import SocketUnusable  # noqa: PLC0415 - only who serves needs it

        try:
            self._stack.enter_context(self._serving_calls())
        except SocketUnusable as error:
            raise _UnusableError(str(error)) from error
        self._serving = True
        log.info("cni: serving at %s", self._config.cni_socket, extra={"component": "cni"})

    def _files_kept(self) -> HostFiles:
        if self._files is None:
            from podwire_node.cni.files.host_files import HostFiles  # noqa: PLC0415 - same

            self._files = HostFiles(
                _path(self._config.cni_bin_dir), _path(self._config.cni_conf_dir), self._stack
            )
        return self._files

    def _keep(self, now: float, pod_cidrs: Sequence[str], mtu: int) -> float | None:
        from podwire_node.cni.files.install import ClientMissing  # noqa: PLC0415 - same

        what = f"{', '.join(pod_cidrs)}, MTU {mtu or 'found by the plugin'}"
        # Without podCIDRs there is nothing to promise; what was promised before stays.
        if self._config.cni_conf_dir and pod_cidrs:
            self._content = self._conflist(pod_cidrs, mtu)
        try:
            return self._files_kept().keep(now, self._content, what)
        except ClientMissing as error:
            raise _UnusableError(str(error)) from error

    def _conflist(self, pod_cidrs: Sequence[str], mtu: int) -> bytes:
        from podwire_node.cni.files.conflist import conflist  # noqa: PLC0415 - same

        socket = _path(self._config.cni_socket)
        state, plugin = Path(self._config.cni_state_dir), self._config.cni_plugin
        try:
            return conflist(pod_cidrs, mtu, plugin, socket, state)
        except ValueError as error:  # a folder of objects is judged by no API server
            raise _UnusableError(f"no conflist: {error}") from error

    def _failed(self, problem: str, now: float) -> float:
        if problem != self._problem:
            log.error("%s", problem, extra={"component": "cni"})
        self._problem = problem
        return self._backoff.failed(now)


class _UnusableError(Exception):
    """No socket can be served at, no client or no conflist can be had; the text says why."""


def _path(text: str) -> Path | None:
    return Path(text) if text else None
