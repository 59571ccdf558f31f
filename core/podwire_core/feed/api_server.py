"""The API server over HTTP: the `kubernetes` package's configuration and transport, raw bytes out.

Its generated models would cost gigabytes at 100,000 endpoints, so only its configuration
(kubeconfig, in-cluster account, token rotation) and its connection pool are used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from podwire_core.errors import FeedError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
#: A watch that says nothing for so long is dead: servers send bookmarks about every minute.
SILENCE_S = 150.0
#: A request that changes something is answered at once.
ANSWER_S = 30.0
MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_BODY_BYTES = 256 * 1024 * 1024
_CHUNK = 256 * 1024


class ApiError(Exception):
    """A request failed. status: the HTTP status, or 0 when there was no answer at all."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}" if status else reason)
        self.status = status


class Answer:
    """A streamed answer; close it, from any thread, to end the stream."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def lines(self) -> Iterator[bytes]:
        """Lines as they come, without their ends. Raises ApiError when the stream breaks."""
        rest = b""
        for chunk in self._chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > MAX_LINE_BYTES:
                raise ApiError(0, f"a line is longer than {MAX_LINE_BYTES // 2**20} MiB")
        if rest:
            yield rest

    def body(self) -> bytes:
        """The whole answer. Raises ApiError when it breaks, or is larger than the bound."""
        parts: list[bytes] = []
        size = 0
        for chunk in self._chunks():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise ApiError(0, f"an answer is larger than {MAX_BODY_BYTES // 2**20} MiB")
            parts.append(chunk)
        return b"".join(parts)

    def close(self) -> None:
        """End the stream; whoever reads it gets an ApiError or its end."""
        shutdown = getattr(self._response, "shutdown", None)
        try:
            if shutdown is not None:
                shutdown()
        except (OSError, RuntimeError, ValueError):
            return  # it has ended already

    def release(self) -> None:
        """Give the connection back; only for the thread that read the answer."""
        self._response.close()

    def _chunks(self) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - with the rest of kubernetes

        try:
            while chunk := self._response.read1(_CHUNK):
                yield chunk
        except (HTTPError, OSError, ValueError) as error:
            raise ApiError(0, f"the stream broke: {error}") from error


class ApiServer:
    """One API server. Thread-safe: each request has a connection of its own."""

    def __init__(self, configuration: Any) -> None:
        from kubernetes.client.rest import (  # noqa: PLC0415 - 40 MB that a folder does not need
            RESTClientObject,
        )

        if not configuration.verify_ssl:
            _accept_any_certificate(configuration.host)
        configuration.retries = False  # the reflector decides when to try again
        configuration.connection_pool_maxsize = 16
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, address: str | None = None) -> ApiServer:
        """From a kubeconfig, else KUBECONFIG or ~/.kube/config, else the pod's account.

        address replaces the server's URL: an agent that serves Services cannot reach the API
        server through one. Raises FeedError when there is no usable configuration.
        """
        from kubernetes import client, config  # noqa: PLC0415 - see __init__
        from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415

        configuration = client.Configuration()
        try:
            options: dict[str, Any] = {"client_configuration": configuration}
            if kubeconfig is not None:
                options["config_file"] = str(kubeconfig)
            config.load_config(**options)  # type: ignore[no-untyped-call]  # it ships half its types
        except (ConfigException, OSError) as error:
            raise FeedError(f"no way to an API server: {error}") from error
        if address is not None:
            configuration.host = address
        return cls(configuration)

    @property
    def address(self) -> str:
        """The server's URL."""
        return str(self._configuration.host)

    def get(self, path: str, query: Mapping[str, str]) -> Answer:
        """Start a GET. Raises ApiError for no answer, and for any status but 200."""
        return self._request("GET", f"{path}?{urlencode(query)}", {})

    def send(
        self, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> bytes:
        """POST, PUT, PATCH or DELETE, and the answer; kind is the body's content type.

        Raises ApiError: 404 for what is not there, 409 for what someone else has changed.
        """
        content = msgspec.json.encode(body) if body is not None else None
        answer = self._request(method, path, {"Content-Type": kind}, content)
        try:
            return answer.body()
        finally:
            answer.release()

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes | None = None
    ) -> Answer:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - see __init__

        try:
            response = self._rest.pool_manager.request(
                method,
                f"{self.address}{path}",
                body=content,
                headers={**self._headers(), **headers},
                timeout=_timeout(CONNECT_TIMEOUT_S, SILENCE_S if method == "GET" else ANSWER_S),
                preload_content=False,
                retries=False,
            )
        except (HTTPError, OSError) as error:
            raise ApiError(0, str(error)) from error
        answer = Answer(response)
        if not 200 <= response.status < 300:
            reason = answer.body()[:500].decode(errors="replace").strip()
            answer.release()
            raise ApiError(response.status, reason)
        return answer

    def _headers(self) -> dict[str, str]:
        """Asked anew for each request: tokens are rotated."""
        headers = {"Accept": "application/json", "User-Agent": "podwire"}
        for row in self._configuration.auth_settings().values():
            if row["in"] == "header" and row["value"]:
                headers[row["key"]] = row["value"]
        return headers


def _accept_any_certificate(address: str) -> None:
    """Say it once, instead of urllib3 at every request."""
    import urllib3  # noqa: PLC0415 - with the rest of kubernetes

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    log.warning("%s: its certificate is not verified (insecure-skip-tls-verify)", address)


def _timeout(connect: float, read: float) -> Any:
    import urllib3  # noqa: PLC0415 - with the rest of kubernetes

    return urllib3.Timeout(connect=connect, read=read)
