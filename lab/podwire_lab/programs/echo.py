"""The server that a lab's pod runs when its host lacks the container's own command.

    python -I -S echo.py --ports 80,8080 [--ready-fd N]

Every port speaks HTTP, plain lines and UDP, over IPv4 and IPv6, and answers who answered and
who asked, so that a person sees where a packet went and what its source address became:

    pod=shop/api-7d4b9c-x2k9q node=node1 client=10.244.2.3:41022

The standard library only, and little of it: it starts in 20 ms, once per container. Sizes,
connections and idle time are bounded; nothing that a client sends is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import Any

MAX_HEAD = 8 * 1024
MAX_CONNECTIONS = 1024
IDLE_SECONDS = 60.0
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"PATCH ", b"OPTIONS ")

Address = tuple[Any, ...]


# --------------------------------------------------------------------- what it says, pure


def identity(environment: Mapping[str, str]) -> dict[str, str]:
    """Who answers: the pod and its node, as the runner's variables tell."""
    namespace = environment.get("POD_NAMESPACE", "default")
    name = environment.get("POD_NAME") or socket.gethostname()
    return {"pod": f"{namespace}/{name}", "node": environment.get("NODE_NAME", "unknown")}


def client(address: Address) -> str:
    """Who asked: 10.244.2.3:41022 or [fd00::3]:41022; an IPv4 address is never mapped."""
    host = str(address[0]).removeprefix("::ffff:").partition("%")[0]
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def line(who: Mapping[str, str], address: Address) -> str:
    """The answer, without its end of line."""
    return f"pod={who['pod']} node={who['node']} client={client(address)}"


def datagram_answer(who: Mapping[str, str], data: bytes, address: Address) -> bytes | None:
    """A datagram for a datagram; not for an answer, or two servers would talk for ever."""
    if data.startswith(b"pod="):
        return None
    return line(who, address).encode() + b" " + data.rstrip(b"\r\n") + b"\n"


def http_answer(head: bytes, who: Mapping[str, str], address: Address) -> tuple[bytes, int, bool]:
    """A request's head to (response, bytes of body to skip, whether to keep the connection)."""
    start, *rows = head.decode("latin-1").splitlines()
    method, _, target = start.partition(" ")
    path, _, version = target.rpartition(" ")
    parts = (row.partition(":") for row in rows)
    fields = {name.strip().lower(): value.strip().lower() for name, _, value in parts}
    length = fields.get("content-length", "0")
    if "transfer-encoding" in fields or not (length.isdecimal() and len(length) < 12):
        return (
            _response("400 Bad Request", "text/plain", "send Content-Length\n", keep=False),
            0,
            False,
        )
    wants = fields.get("connection", "")
    keep = wants != "close" and (version == "HTTP/1.1" or wants == "keep-alive")
    kind, body = "text/plain", line(who, address)
    if "application/json" in fields.get("accept", ""):
        kind = "application/json"
        body = json.dumps({**who, "client": client(address), "method": method, "path": path})
    response = _response("200 OK", kind, f"{body}\n", keep=keep)
    if method == "HEAD":
        response = response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return response, int(length), keep


def _response(status: str, kind: str, body: str, *, keep: bool) -> bytes:
    content = body.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\n"
        f"Content-Length: {len(content)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    )
    return head.encode() + content


class Conversation:
    """With one TCP client, without its socket: bytes in by `receive`, bytes out in `pending`."""

    def __init__(self) -> None:
        self.pending = bytearray()
        self.closing = False  # once `pending` is sent

    def receive(self, data: bytes) -> None:
        """Take what came; no data means that the client has said all it will."""
        raise NotImplementedError


class Echo(Conversation):
    """HTTP requests, or lines."""

    def __init__(self, who: Mapping[str, str], address: Address) -> None:
        super().__init__()
        self._who = who
        self._address = address
        self._received = bytearray()
        self._skip = 0  # bytes of a request's body still to come

    def receive(self, data: bytes) -> None:
        """Answer every whole request or line that has come; the last line may lack its end."""
        self._received += data if data or self._is_http() or not self._received else b"\n"
        while self._received and not self.closing:
            skipped = min(self._skip, len(self._received))
            del self._received[:skipped]
            self._skip -= skipped
            if not (self._answer_request() if self._is_http() else self._answer_line()):
                break
        self.closing = self.closing or not data or len(self._received) > MAX_HEAD

    def _is_http(self) -> bool:
        return self._received.startswith(_METHODS)

    def _answer_request(self) -> bool:
        ends = ((self._received.find(end), len(end)) for end in (b"\r\n\r\n", b"\n\n"))
        at, length = min((found for found in ends if found[0] >= 0), default=(-1, 0))
        if not 0 <= at <= MAX_HEAD:
            return False
        head = bytes(self._received[:at])
        del self._received[: at + length]
        answer, self._skip, keep = http_answer(head, self._who, self._address)
        self.pending += answer
        self.closing = not keep
        return True

    def _answer_line(self) -> bool:
        at = self._received.find(b"\n")
        if at < 0:
            return False
        text = self._received[:at].rstrip(b"\r")
        del self._received[: at + 1]
        self.pending += line(self._who, self._address).encode() + b" " + text + b"\n"
        return True


# --------------------------------------------------------------------------------- sockets


class Server:
    """TCP and UDP on every port. Raises OSError, naming the port, when one cannot be bound.

    `converse` begins a conversation with a TCP client, `answer` answers a datagram, or does not.
    """

    def __init__(
        self,
        ports: Sequence[int],
        converse: Callable[[Address], Conversation],
        answer: Callable[[bytes, Address], bytes | None],
    ) -> None:
        self._converse = converse
        self._answer = answer
        self._selector = selectors.DefaultSelector()
        self._conversations: dict[socket.socket, Conversation] = {}
        self._heard: dict[socket.socket, float] = {}  # the one silent for longest is first
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._room = min(MAX_CONNECTIONS, max(1, files - 2 * len(ports) - 16))
        for port in ports:
            listener = bound(port, socket.SOCK_STREAM)
            listener.listen(128)
            self._selector.register(listener, selectors.EVENT_READ, self._accept)
            datagrams = bound(port, socket.SOCK_DGRAM)
            self._selector.register(datagrams, selectors.EVENT_READ, self._datagram)

    def watch(self, descriptor: int, act: Callable[[], None]) -> None:
        """Call `act` whenever a descriptor of the caller's is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, lambda *_: act())

    def serve(self) -> None:
        """Answer for ever."""
        while True:
            oldest = next(iter(self._heard.values()), None)
            timeout = None if oldest is None else max(0, oldest + IDLE_SECONDS - time.monotonic())
            for key, mask in self._selector.select(timeout):
                key.data(key.fileobj, mask)
            self._close_idle(time.monotonic())

    def _datagram(self, datagrams: socket.socket, _mask: int) -> None:
        with contextlib.suppress(OSError):  # a client that is gone is no concern of the others
            data, address = datagrams.recvfrom(MAX_HEAD)
            answer = self._answer(data, address)
            if answer is not None:
                datagrams.sendto(answer, address)

    def _accept(self, listener: socket.socket, _mask: int) -> None:
        with contextlib.suppress(OSError):
            accepted, address = listener.accept()
            if len(self._conversations) >= self._room:
                accepted.close()
                return
            accepted.settimeout(0)
            self._conversations[accepted] = self._converse(address)
            self._heard[accepted] = time.monotonic()
            self._selector.register(accepted, selectors.EVENT_READ, self._talk)

    def _talk(self, accepted: socket.socket, mask: int) -> None:
        conversation = self._conversations[accepted]
        del self._heard[accepted]
        self._heard[accepted] = time.monotonic()
        try:
            if mask & selectors.EVENT_READ:
                conversation.receive(accepted.recv(MAX_HEAD))
            if conversation.pending:
                del conversation.pending[: accepted.send(conversation.pending)]
        except BlockingIOError:
            pass
        except OSError:
            conversation.pending.clear()
            conversation.closing = True
        self._wait_for_more(accepted, conversation)

    def _wait_for_more(self, accepted: socket.socket, conversation: Conversation) -> None:
        """A client that does not take its answers is not read from: nothing piles up."""
        if conversation.pending:
            self._selector.modify(accepted, selectors.EVENT_WRITE, self._talk)
        elif conversation.closing:
            self._close(accepted)
        else:
            self._selector.modify(accepted, selectors.EVENT_READ, self._talk)

    def _close(self, accepted: socket.socket) -> None:
        self._selector.unregister(accepted)
        del self._conversations[accepted], self._heard[accepted]
        accepted.close()

    def _close_idle(self, now: float) -> None:
        for accepted in [each for each, at in self._heard.items() if now - at >= IDLE_SECONDS]:
            self._close(accepted)


def bound(port: int, kind: socket.SocketKind) -> socket.socket:
    """A socket for both families, or for IPv4 where the host has no IPv6. Raises OSError."""
    try:
        try:
            return _bind(socket.AF_INET6, "::", port, kind)
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
            return _bind(socket.AF_INET, "0.0.0.0", port, kind)
    except OSError as error:
        protocol = "TCP" if kind is socket.SOCK_STREAM else "UDP"
        reason = f"cannot serve {protocol} port {port}: {error.strerror}"
        raise OSError(error.errno, reason) from error


def _bind(
    family: socket.AddressFamily, address: str, port: int, kind: socket.SocketKind
) -> socket.socket:
    each = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind is socket.SOCK_STREAM:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind((address, port))
    except OSError:
        each.close()
        raise
    each.settimeout(0)
    return each


# --------------------------------------------------------------------------- command line


def tell_ready(descriptor: int | None) -> None:
    """Tell who waits on the other end that all sockets are bound."""
    if descriptor is not None:
        with contextlib.suppress(OSError):  # no one waits any more
            os.write(descriptor, b"\n")
            os.close(descriptor)


def end(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM: a pod's first process has no default action for it, so it needs this one."""
    sys.exit(0)


def ports(text: str) -> list[int]:
    """`80,8080` as numbers, each once. Raises ValueError."""
    numbers = dict.fromkeys(int(part) for part in text.split(",") if part)
    if not all(0 < number < 65536 for number in numbers):
        raise ValueError(text)
    return list(numbers)


def main() -> None:
    """Command line."""
    signal.signal(signal.SIGTERM, end)
    parser = argparse.ArgumentParser(prog="echo", description="answers who answered and who asked")
    parser.add_argument("--ports", type=ports, required=True, help="80,8080")
    parser.add_argument("--ready-fd", type=int, help="gets a byte when every port is bound")
    options = parser.parse_args()
    try:
        who = identity(os.environ)
        server = Server(options.ports, partial(Echo, who), partial(datagram_answer, who))
    except OSError as error:
        sys.exit(f"echo: {error.strerror}")
    print(f"pod={who['pod']}: stands in, on ports {options.ports}", flush=True)
    tell_ready(options.ready_fd)
    server.serve()


if __name__ == "__main__":
    main()
