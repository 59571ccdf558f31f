"""What container runtimes are told of us: the CNI client, its socket, and the conflist.

    first sync in the kernel ─► serve ADD and DEL ─► podCIDRs known ─► write the conflist

In this order, because a conflist is the promise that ADD is answered: kubelet calls its node
ready when it finds one. It is written again when podCIDRs or the MTU change, and stays when the
agent ends: pods that stop meanwhile are tried again by kubelet.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from podwire_core.backoff import Backoff
from podwire_node.settings.agent_config import AgentConfig

log = logging.getLogger(__name__)


class ConflistKeeper:
    """Files and a socket that are tried again, backing off, until they are there."""

    def __init__(self, config: AgentConfig, stack: ExitStack) -> None:
        self._config = config
        self._stack = stack
        self._serving = not config.cni_socket
        self._installed = not config.cni_bin_dir
        self._written = b""
        self._backoff = Backoff()
        self._problem = ""

    @property
    def ready(self) -> bool:
        """Whether pods can be given networks, as far as that was asked of us."""
        written = bool(self._written) or not self._config.cni_conf_dir
        return self._serving and self._installed and written and not self._problem

    @property
    def problems(self) -> Sequence[str]:
        """What could not be written or served, and why."""
        return [self._problem] if self._problem else []

    def sync(self, now: float, pod_cidrs: Sequence[str], mtu: int) -> float | None:
        """Serve, install and write what is not. Answers when to try again, if it has to be."""
        if self._problem and not self._backoff.due(now):
            return self._backoff.until
        try:
            self._serve()
            self._install()
            self._write(pod_cidrs, mtu)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return self._failed(f"cni: {where}{error.strerror or error}", now)
        except _UnusableError as error:
            return self._failed(f"cni: {error}", now)
        self._problem = ""
        self._backoff.succeeded()
        return None

    def _serve(self) -> None:
        if self._serving:
            return
        from podwire_node.cni.listener import SocketUnusable  # noqa: PLC0415 - only who serves needs it
        from podwire_node.cni.server import CniServer  # noqa: PLC0415 - same

        socket, state = Path(self._config.cni_socket), Path(self._config.cni_state_dir)
        try:
            self._stack.enter_context(CniServer(socket, state))
        except SocketUnusable as error:
            raise _UnusableError(str(error)) from error
        self._serving = True
        log.info("cni: serving at %s", socket, extra={"component": "cni"})

    def _install(self) -> None:
        if self._installed:
            return
        from podwire_node.cni.install import ClientMissing, install_client  # noqa: PLC0415 - same

        folder = self._config.cni_bin_dir
        try:
            if install_client(Path(folder)):
                log.info("cni: client installed in %s", folder, extra={"component": "cni"})
        except ClientMissing as error:
            raise _UnusableError(str(error)) from error
        self._installed = True

    def _write(self, pod_cidrs: Sequence[str], mtu: int) -> None:
        """Without podCIDRs there is nothing to promise; what was promised before stays."""
        if not self._config.cni_conf_dir or not pod_cidrs:
            return
        from podwire_node.cni.conflist import conflist  # noqa: PLC0415 - same
        from podwire_node.cni.install import install_conflist  # noqa: PLC0415 - same

        socket = Path(self._config.cni_socket) if self._config.cni_socket else None
        state, plugin = Path(self._config.cni_state_dir), self._config.cni_plugin
        try:
            content = conflist(pod_cidrs, mtu, plugin, socket, state)
        except ValueError as error:  # a folder of objects is judged by no API server
            raise _UnusableError(f"no conflist: {error}") from error
        if content == self._written:
            return
        if install_conflist(Path(self._config.cni_conf_dir), content):
            what = f"{', '.join(pod_cidrs)}, MTU {mtu or 'found by the plugin'}"
            log.info("cni: conflist for %s", what, extra={"component": "cni"})
        self._written = content

    def _failed(self, problem: str, now: float) -> float:
        if problem != self._problem:
            log.error("%s", problem, extra={"component": "cni"})
        self._problem = problem
        return self._backoff.failed(now)


class _UnusableError(Exception):
    """No socket can be served at, no client or no conflist can be had; the text says why."""
