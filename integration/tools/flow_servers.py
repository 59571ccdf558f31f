"""Servers of many namespaces in one thread: each answers with its place, its port and who asks.

A socket stays in the namespace where it was made, so one loop serves them all. An answer is one
line: `a:8080 10.244.1.7`.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import sctp
from scratch import Netns


class Servers:
    """Serves in a thread from the start to close()."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve)

    def start(self, netns: Mapping[str, Netns], ports: Mapping[str, Sequence[int]]) -> None:
        """Serve TCP and UDP on a place's ports, and SCTP on any."""
        for place, each in netns.items():
            with each.inside():
                for port in ports.get(place, ()):
                    self._listen(place, port)
                if place in ports:
                    self._listen_sctp(place)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close every socket."""
        self._wake.close()
        if self._thread.ident:
            self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _listen(self, place: str, port: int) -> None:
        name = f"{place}:{port}"
        stream = _bound(socket.SOCK_STREAM, port)
        stream.listen(1024)
        self._when_readable(stream, partial(self._accept, name))
        self._when_readable(_bound(socket.SOCK_DGRAM, port), partial(_answer_datagram, name))

    def _listen_sctp(self, place: str) -> None:
        for family in (socket.AF_INET, socket.AF_INET6):
            raw = socket.socket(family, socket.SOCK_RAW, sctp.PROTOCOL)
            raw.setblocking(False)
            self._when_readable(raw, partial(sctp.answer, place))

    def _when_readable(self, each: socket.socket, act: Callable[[socket.socket], None]) -> None:
        self._selector.register(each, selectors.EVENT_READ, act)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with contextlib.suppress(OSError):
                    key.data(key.fileobj)

    def _accept(self, name: str, listener: socket.socket) -> None:
        accepted, address = listener.accept()
        accepted.setblocking(False)
        self._when_readable(accepted, partial(self._answer, f"{name} {_client(address)}\n"))

    def _answer(self, line: str, accepted: socket.socket) -> None:
        """Answer each request; one of HTTP is the last.

        The client is the one to close, so that TIME_WAIT is its own and not the server's.
        """
        request = b""
        with contextlib.suppress(OSError):
            request = accepted.recv(4096)
            if request:
                accepted.sendall(line.encode())
            if request.startswith(b"GET "):
                accepted.shutdown(socket.SHUT_WR)
        if not request:
            self._selector.unregister(accepted)
            accepted.close()


def _bound(kind: socket.SocketKind, port: int) -> socket.socket:
    """A socket for both families, on every address."""
    each = socket.socket(socket.AF_INET6, kind)
    each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    each.bind(("::", port))
    each.setblocking(False)
    return each


def _client(address: Sequence[object]) -> str:
    return str(address[0]).removeprefix("::ffff:")


def _answer_datagram(name: str, datagrams: socket.socket) -> None:
    _, address = datagrams.recvfrom(4096)
    datagrams.sendto(f"{name} {_client(address)}\n".encode(), address)
