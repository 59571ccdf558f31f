"""A reverse proxy in front of a real API server that fails at random.

    a request       429, 401, 410, 500, 503, 504 · cut before an answer · late
    an answer       cut in the middle (RST) · ended in the middle of a line · a 410 event put in
                    between · held still for seconds · everything else as the server said it

It speaks TLS with the API server's own certificate, because no token goes over plain http.
Nothing is ever made up, said twice or left out of what is passed on. What fails is drawn from
a seed; when it fails depends on threads, so the seed repeats a mixture and not a history.
"""

from __future__ import annotations

import http.client
import json
import queue
import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from control_plane import ADDRESS, ControlPlane

PORT = 8001
URL = f"https://{ADDRESS}:{PORT}"
STATUSES = (429, 401, 410, 500, 503, 504)
_REQUEST = {"status": 0.25, "cut": 0.1, "late": 0.1}
_MOMENT = {"cut": 0.02, "truncate": 0.02, "expire": 0.01, "stall": 0.01}
_EXPIRED = (
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},'
    b'"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}\n'
)


class _CutError(Exception):
    """The connection to our client ends here."""


class FaultyServer(ThreadingHTTPServer):
    """Threads are born in the namespace of the one who makes it."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, seed: int, certificates: Path) -> None:
        super().__init__((ADDRESS, PORT), _Handler)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificates / "apiserver.crt", certificates / "apiserver.key")
        self.calm = threading.Event()
        self.faults: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        """A connection; its handshake is its own thread's, so that no client holds up another."""
        line, client = self.socket.accept()
        line.settimeout(60)
        return self._tls.wrap_socket(line, server_side=True, do_handshake_on_connect=False), client

    def draw(self, odds: dict[str, float]) -> str:
        """What goes wrong now; mostly nothing."""
        with self._lock:
            point = self._random.random()
            if self.calm.is_set():
                return ""
            for name, share in odds.items():
                point -= share
                if point < 0:
                    self.faults[name] += 1
                    return name
        return ""

    def choose(self, low: float, high: float) -> float:
        with self._lock:
            return self._random.uniform(low, high)

    def status(self) -> int:
        with self._lock:
            return self._random.choice(STATUSES)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        with suppress(_CutError, OSError, http.client.HTTPException):
            self._answer()
            return
        self._cut()

    def _answer(self) -> None:
        fault = self.server.draw(_REQUEST)
        if fault == "cut":
            raise _CutError
        if fault == "late":
            time.sleep(self.server.choose(0.1, 2))
        if fault == "status":
            self._refuse(self.server.status())
            return
        upstream = self._ask()
        line = upstream.sock
        try:
            self._relay(upstream)
        finally:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)  # who reads wakes, and closes it

    def _refuse(self, code: int) -> None:
        body = json.dumps({"kind": "Status", "message": f"fault {code}", "code": code}).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _ask(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        upstream = http.client.HTTPSConnection("127.0.0.1", 6443, context=context)
        names = ("Authorization", "Accept", "Content-Type")
        headers = {name: self.headers[name] for name in names if name in self.headers}
        upstream.request("GET", self.path, headers=headers)
        return upstream

    def _relay(self, upstream: http.client.HTTPSConnection) -> None:
        answer = upstream.getresponse()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        whole = True
        for data in self._pieces(upstream, answer):
            fault = self.server.draw(_MOMENT)
            if fault == "cut":
                raise _CutError
            if fault == "truncate" and len(data) > 1:
                self._send(data[: len(data) // 2])
                break
            if fault == "stall":
                time.sleep(self.server.choose(1, 6))
            if fault == "expire" and whole and "watch=1" in self.path:
                self._send(_EXPIRED)
                break
            if data:
                self._send(data)
                whole = data.endswith(b"\n")
        self.wfile.write(b"0\r\n\r\n")

    def _pieces(
        self, upstream: http.client.HTTPSConnection, answer: http.client.HTTPResponse
    ) -> Iterator[bytes]:
        """What the server says; while it says nothing, a piece of nothing twice a second."""
        said: queue.Queue[bytes] = queue.Queue()

        def read() -> None:  # a thread, because buffers below hold what select() does not see
            data = b"?"
            while data:
                try:
                    data = answer.read1(65536)
                except (OSError, ValueError, http.client.HTTPException):
                    data = b""
                said.put(data)
            upstream.close()

        threading.Thread(target=read, daemon=True).start()
        while True:
            try:
                data = said.get(timeout=0.5)
            except queue.Empty:
                yield b""
                continue
            if not data:
                return
            yield data

    def _send(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _cut(self) -> None:
        """End it with a reset."""
        self.close_connection = True
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()


@contextmanager
def faulty_server(plane: ControlPlane, seed: int) -> Iterator[FaultyServer]:
    """In the plane's namespace, until the block ends."""
    with plane.netns.inside():
        made = FaultyServer(seed, plane.folder / "certificates")
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()
