"""The API server over HTTP: the `kubernetes` package's configuration and transport, raw bytes out.

Its generated models would cost gigabytes at 100,000 endpoints, so only its configuration
(kubeconfig, in-cluster account, token rotation) and its connection pool are used.

    401, or no answer at all ─► the whole configuration is read again before the next request

which is how a rewritten token file, a rotated client certificate and a server that moved are
found. What cannot be read then (a half-written file) leaves what was known in place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from podwire_core.errors import FeedError

if TYPE_CHECKING:
    from podwire_core.feed.transport import Call, Patience

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_BODY_BYTES = 256 * 1024 * 1024
MAX_REASON = 500
_CHUNK = 256 * 1024


class ApiError(Exception):
    """A request failed. status: the HTTP status, or 0 when there was no answer at all."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}" if status else reason)
        self.status = status


class Answer:
    """A streamed answer; close it, from any thread, to end the stream."""

    def __init__(self, response: Any, call: Call) -> None:
        self._response = response
        self._call = call

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
        self._call.cut()

    def release(self) -> None:
        """Give the connection back; only for the thread that read the answer."""
        self._response.close()
        self._call.let_go()

    def _chunks(self) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - with the rest of kubernetes

        try:
            while chunk := self._response.read1(_CHUNK):
                yield chunk
        except (HTTPError, OSError, ValueError) as error:
            raise ApiError(0, f"the stream broke: {error}") from error


@dataclass(frozen=True)
class _Access:
    """One reading of the configuration, and the connections made by it."""

    configuration: Any
    address: str
    pool: Any


class ApiServer:
    """One API server. Thread-safe: each request has a connection of its own.

    load: reads the configuration again. patience: how long to wait for what.
    """

    def __init__(
        self,
        configuration: Any,
        load: Callable[[], Any] | None = None,
        patience: Patience | None = None,
    ) -> None:
        from podwire_core.feed.transport import (  # noqa: PLC0415 - 20 MB that a folder does not need
            Patience,
        )

        self.patience = patience or Patience()
        self._load = load
        self._lock = threading.Lock()
        self._complaint = ""
        if not configuration.verify_ssl:
            _accept_any_certificate(configuration.host)
        self._access = self._accessed(configuration)

    @classmethod
    def connect(
        cls,
        kubeconfig: Path | None = None,
        address: str | None = None,
        patience: Patience | None = None,
    ) -> ApiServer:
        """From a kubeconfig, else KUBECONFIG or ~/.kube/config, else the pod's account.

        address replaces the server's URL: an agent that serves Services cannot reach the API
        server through one. Raises FeedError when there is no usable configuration.
        """

        def load() -> Any:
            return _configuration(kubeconfig, address)

        return cls(load(), load, patience)

    @property
    def address(self) -> str:
        """The server's URL."""
        return self._access.address

    def get(self, path: str, query: Mapping[str, str], call: Call | None = None) -> Answer:
        """Start a GET. Raises ApiError for no answer, and for any status but 200."""
        return self._request("GET", f"{path}?{urlencode(query)}", {}, call=call)

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
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        call: Call | None = None,
    ) -> Answer:
        access = self._access
        try:
            return self._ask(access, method, path, headers, content, call)
        except ApiError as error:
            if error.status in {0, 401}:
                self._renew(access)
            raise

    def _ask(
        self,
        access: _Access,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: bytes | None,
        call: Call | None,
    ) -> Answer:
        from urllib3 import Timeout  # noqa: PLC0415 - see __init__
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - see __init__

        from podwire_core.feed.transport import Call, calling  # noqa: PLC0415 - see __init__

        call = call or Call()
        wait = self.patience.silence_s if method == "GET" else self.patience.answer_s
        try:
            with calling(call):
                response = access.pool.request(
                    method,
                    f"{access.address}{path}",
                    body=content,
                    headers={**_headers(access), **headers},
                    timeout=Timeout(connect=self.patience.connect_s, read=wait),
                    preload_content=False,
                    retries=False,
                )
        except (HTTPError, OSError, ValueError) as error:  # ValueError: a token that is no text
            call.let_go()
            raise ApiError(0, str(error)) from error
        answer = Answer(response, call)
        if not 200 <= response.status < 300:
            try:
                reason = _reason(answer.body())
            finally:
                answer.release()
            raise ApiError(response.status, reason)
        return answer

    def _accessed(self, configuration: Any) -> _Access:
        from kubernetes.client.rest import (  # noqa: PLC0415 - 20 MB that a folder does not need
            RESTClientObject,
        )

        from podwire_core.feed.transport import use_our_connections  # noqa: PLC0415 - same

        configuration.retries = False  # the reflector decides when to try again
        configuration.connection_pool_maxsize = 16
        configuration.socket_options = self.patience.socket_options
        # The package writes its own idea of the host back when it refreshes a token.
        address = str(configuration.host)
        pool = use_our_connections(RESTClientObject(configuration).pool_manager)
        return _Access(configuration, address, pool)

    def _renew(self, failed: _Access) -> None:
        """Read the configuration again, unless another thread did since that failure."""
        with self._lock:
            if self._access is not failed or self._load is None:
                return
            try:
                self._access = self._accessed(self._load())
            except Exception as error:  # noqa: BLE001 - whatever a half-written file provokes
                if str(error) != self._complaint:
                    log.warning("%s; going on with what was read before", error)
                self._complaint = str(error)
            else:
                self._complaint = ""


def _configuration(kubeconfig: Path | None, address: str | None) -> Any:
    """What the kubernetes package makes of the files there are. Raises FeedError."""
    from kubernetes import client, config  # noqa: PLC0415 - see ApiServer.__init__
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415 - same

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
    return configuration


def _headers(access: _Access) -> dict[str, str]:
    """Asked anew for each request: tokens are rotated."""
    headers = {"Accept": "application/json", "User-Agent": "podwire"}
    for row in access.configuration.auth_settings().values():
        if row["in"] == "header" and row["value"]:
            headers[row["key"]] = row["value"].strip()
    return headers


class _Status(msgspec.Struct):
    message: str = ""


def _reason(body: bytes) -> str:
    """What an answer that refuses says: the API's own sentence, else its text."""
    try:
        text = msgspec.json.decode(body, type=_Status).message
    except msgspec.MsgspecError:
        text = ""
    text = text or body[:MAX_REASON].decode(errors="replace")
    return " ".join(text.split())[:MAX_REASON]


def _accept_any_certificate(address: str) -> None:
    """Say it once, instead of urllib3 at every request."""
    import urllib3  # noqa: PLC0415 - with the rest of kubernetes

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    log.warning("%s: its certificate is not verified (insecure-skip-tls-verify)", address)
