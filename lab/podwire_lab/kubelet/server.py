"""The kubelet's HTTPS endpoint: what `kubectl logs` reaches through the API server.

    GET /containerLogs/NS/POD/CONTAINER    a container's log
    GET /healthz                           ok
    /exec /attach /portForward             501: `podwire lab exec` does that

Only who shows a certificate of the cluster's authority is heard, and only who is one of its
masters, or the API server itself, is answered: a node's certificate is not enough. A thread
a connection, bounded in number and in patience.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from podwire_lab.kubelet.logs import LogRequest

_CONNECTIONS = 64
_PATIENCE = 30.0
#: The server wakes so often to see whether it is to end, which it never is.
_LOOKS_UP = 86_400.0
_MASTERS = "system:masters"
_API_SERVERS = {"kube-apiserver", "kube-apiserver-kubelet-client"}

_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that has no answer; the text is for whoever asked."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Wanted:
    """One container's log, as asked for; reader: the descriptor of who asked."""

    namespace: str
    pod: str
    container: str
    request: LogRequest
    reader: int


#: Gives a log's pieces, from any thread. Raises RefusedError before the first, OSError.
Logs = Callable[[Wanted], Iterator[bytes]]


@dataclass(frozen=True)
class Certificates:
    """Files: ours, its key, and the authority whose clients are heard."""

    certificate: Path
    key: Path
    authority: Path

    def context(self) -> ssl.SSLContext:
        """For a server. Raises OSError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


class KubeletServer(ThreadingHTTPServer):
    """Serves at one address."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str, port: int, certificates: Certificates, logs: Logs) -> None:
        """Raises OSError."""
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.logs = logs
        self._context = certificates.context()
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """One family a server; a name of ours is asked from no one."""
        if self.address_family is socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def start(self) -> None:
        """Serve in a thread, for as long as the process lives."""
        serve = threading.Thread(
            target=self.serve_forever, args=(_LOOKS_UP,), name="kubelet-server", daemon=True
        )
        serve.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for it, unless there are too many: then it is turned away."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be had: who called us closes the connection
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The handshake is made here, where a slow client holds up no one else."""
        try:
            request.settimeout(_PATIENCE)
            secured = self._context.wrap_socket(request, server_side=True)
        except (OSError, ValueError) as error:
            _log.info("%s: no connection: %s", client_address[0], error)
            self.shutdown_request(request)
            self._free.release()
            return
        try:
            super().process_request_thread(secured, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base's name
        """A reader who left is no error of ours."""
        _log.info("%s: connection lost", client_address[0], exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: KubeletServer
    connection: ssl.SSLSocket
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    _DOORS: ClassVar[set[str]] = {"exec", "attach", "portForward", "run"}

    def do_GET(self) -> None:
        try:
            self._answer()
        except RefusedError as error:
            self._text(error.status, str(error))

    def do_POST(self) -> None:
        self.close_connection = True  # a body is not read
        self.do_GET()

    def _answer(self) -> None:
        if not may_ask(self.connection.getpeercert() or {}):
            raise RefusedError(HTTPStatus.FORBIDDEN, "only the cluster's API server may ask")
        try:
            url = urlsplit(self.path)
        except ValueError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the path is no path") from error
        head, *rest = [unquote(word) for word in url.path.strip("/").split("/")]
        if head == "healthz" and not rest:
            self._text(HTTPStatus.OK, "ok")
        elif head == "containerLogs" and len(rest) == 3:
            self._logs(rest, dict(parse_qsl(url.query)))
        elif head in self._DOORS:
            raise RefusedError(
                HTTPStatus.NOT_IMPLEMENTED,
                "a lab's nodes do not serve this: use `podwire lab exec POD -- COMMAND`",
            )
        else:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _logs(self, names: list[str], query: Mapping[str, str]) -> None:
        try:
            request = LogRequest.parse(query)
        except ValueError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
        reader = self.connection.fileno()
        namespace, pod, container = names
        pieces = self.server.logs(Wanted(namespace, pod, container, request, reader))
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _text(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Requests are not news."""


def may_ask(certificate: Mapping[str, Any]) -> bool:
    """Whether a verified client is a master of the cluster, or its API server."""
    rows = [pair for row in certificate.get("subject", ()) for pair in row]
    masters = ("organizationName", _MASTERS) in rows
    return masters or any(key == "commonName" and name in _API_SERVERS for key, name in rows)
