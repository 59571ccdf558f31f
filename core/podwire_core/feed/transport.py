"""Connections to the API server that notice a dead peer, and that another thread can cut.

HTTP and TLS are urllib3's. Here is what it leaves open:

    connecting ─► TLS ─► waiting for an answer ─► reading      Call.cut() ends each of them at once
    the peer's machine is gone      ─► TCP's own probes end the connection (Patience.death_s)
    the peer lives and says nothing ─► the reader gives up (Patience.silence_s)
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError, PoolError, ProtocolError


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds.

    connect: for a connection. silence: for the next byte of a list or a watch; servers send
    bookmarks about every minute, so two of them were missed. answer: for the answer to a request
    that changes something. death: for any sign of life of the peer's machine.
    """

    connect_s: float = 5.0
    silence_s: float = 150.0
    answer_s: float = 30.0
    death_s: float = 30.0

    @property
    def socket_options(self) -> list[tuple[int, int, int]]:
        """TCP's probes when the line is idle, and its bound when something is on the way."""
        idle, interval = max(1, round(self.death_s / 2)), max(1, round(self.death_s / 6))
        return [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self.death_s * 1000)),
        ]


class Call:
    """One thread's requests, one after the other; any other thread may cut them off for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_cut = False

    def cut(self) -> None:
        """End what is under way; later requests fail at once."""
        with self._lock:
            self._is_cut = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def hold(self, line: socket.socket) -> None:
        """What goes on now goes over this socket. Raises OSError when the call was cut.

        A descriptor of our own: TLS takes the first one over, and closing is for who reads.
        """
        self.let_go()
        with self._lock:
            if self._is_cut:
                raise OSError("given up")
            self._socket = socket.socket(fileno=os.dup(line.fileno()))

    def let_go(self) -> None:
        """The connection is someone else's business now."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


_here = threading.local()


@contextmanager
def calling(call: Call) -> Iterator[None]:
    """Connections that this thread makes or takes from a pool inside the block are the call's."""
    _here.call = call
    try:
        yield
    finally:
        _here.call = None


def _hold(line: socket.socket) -> None:
    call = getattr(_here, "call", None)
    if isinstance(call, Call):
        call.hold(line)


def _connected(connection: HTTPConnection) -> socket.socket:
    """A socket to the connection's server, cut off like all the rest while it connects."""
    failure = OSError("no address")
    try:
        host = connection._dns_host.strip("[]")  # noqa: SLF001 - as urllib3's own _new_conn
        found = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _NoConnectionError(connection, error) from error
    for family, kind, protocol, _, address in found:
        line = socket.socket(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                line.setsockopt(*option)
            line.settimeout(connection.timeout)
            _hold(line)
            line.connect(address)
        except OSError as error:
            line.close()
            failure = error
        else:
            return line
    raise _NoConnectionError(connection, failure) from failure


class _NoConnectionError(NewConnectionError):
    """urllib3's own would show its classes to people."""

    def __init__(self, connection: HTTPConnection, cause: OSError) -> None:
        super().__init__(connection, "")
        self._text = f"{_at(connection)}: {cause.strerror or cause}"

    def __str__(self) -> str:
        return self._text


def plain(error: Exception) -> str:
    """What an error of urllib3's means, without the names of its classes."""
    if isinstance(error, PoolError):  # among them silence: its text is "pool: reason"
        return f"{_at(error.pool)}: {str(error).removeprefix(f'{error.pool}: ')}"
    if isinstance(error, ProtocolError) and error.args:
        said = (str(part).rstrip(".") for part in error.args)
        return ": ".join(part for part in said if part)
    return str(error)


def _at(end: Any) -> str:
    """HOST:PORT of a connection or a pool."""
    host = str(end.host).strip("[]")
    return f"[{host}]:{end.port}" if ":" in host else f"{host}:{end.port}"


class _Plain(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _Secure(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain

    def _get_conn(self, timeout: float | None = None) -> Any:
        return _taken(super()._get_conn(timeout))


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure

    def _get_conn(self, timeout: float | None = None) -> Any:
        return _taken(super()._get_conn(timeout))


def _taken(connection: Any) -> Any:
    """A connection from the pool; one that is open already is this call's from now on."""
    if connection.sock is not None:
        _hold(connection.sock)
    return connection


def use_our_connections(manager: PoolManager) -> PoolManager:
    """The manager, with connections that can be cut."""
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return manager
