"""The API server over HTTP: the `kubernetes` package's configuration and transport, raw bytes out.

Its generated models would cost gigabytes at 100,000 endpoints, so only its configuration
(access.py) and its connection pool are used.

    401, or no answer at all ─► the whole configuration is read again before the next request

which is how a rewritten token file, a rotated client certificate and a server that moved are
found. What cannot be read then (a half-written file) leaves what was known in place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from podwire_core import typed
from podwire_core.feed.access import Access

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

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later, though no one changes it or its rights.

        No answer; a token that is read again (401); too many requests (429); a server in
        trouble (5xx). A conflict (409) is no such: it passes for who reads the object again.
        """
        return self.status in {0, 401, 429} or self.status >= 500


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

        from podwire_core.feed.transport import plain  # noqa: PLC0415 - same

        try:
            while chunk := self._response.read1(_CHUNK):
                yield chunk
        except (HTTPError, OSError, ValueError) as error:
            raise ApiError(0, f"the stream broke: {plain(error)}") from error


class ApiServer:
    """One API server. Thread-safe: each request has a connection of its own.

    read: reads the configuration; once now, and again when the server does not take it.
    patience: how long to wait for what.
    """

    def __init__(self, read: Callable[[], Access], patience: Patience) -> None:
        self.patience = patience
        self._read = read
        self._lock = threading.Lock()
        self._complaint = ""
        self._access = read()
        if not self._access.verified:
            _accept_any_certificate(self._access.address)

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
        from podwire_core.feed.transport import (  # noqa: PLC0415 - 20 MB that a folder does not need
            Patience,
        )

        patient = patience or Patience()
        return cls(lambda: Access.read(kubeconfig, address, patient), patient)

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
        access: Access,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: bytes | None,
        call: Call | None,
    ) -> Answer:
        from urllib3 import Timeout  # noqa: PLC0415 - see connect
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - see connect

        from podwire_core.feed.transport import Call, calling, plain  # noqa: PLC0415 - see connect

        call = call or Call()
        wait = self.patience.silence_s if method == "GET" else self.patience.answer_s
        try:
            with calling(call):
                response = access.pool.request(
                    method,
                    f"{access.address}{path}",
                    body=content,
                    headers={**access.headers(), **headers},
                    timeout=Timeout(connect=self.patience.connect_s, read=wait),
                    preload_content=False,
                    retries=False,
                )
        except (HTTPError, OSError, ValueError) as error:  # ValueError: a token that is no text
            call.let_go()
            raise ApiError(0, plain(error)) from error
        answer = Answer(response, call)
        if not 200 <= response.status < 300:
            try:
                reason = _reason(answer.body())
            finally:
                answer.release()
            raise ApiError(response.status, reason)
        return answer

    def _renew(self, failed: Access) -> None:
        """Read the configuration again, unless another thread did since that failure."""
        with self._lock:
            if self._access is not failed:
                return
            try:
                self._access = self._read()
            except Exception as error:  # noqa: BLE001 - whatever a half-written file provokes
                if str(error) != self._complaint:
                    log.warning("%s; going on with what was read before", error)
                self._complaint = str(error)
            else:
                self._complaint = ""


class _Status(msgspec.Struct):
    message: str = ""


def _reason(body: bytes) -> str:
    """What an answer that refuses says: the API's own sentence, else its text."""
    try:
        text = typed.decode(body, _Status).message
    except msgspec.MsgspecError:
        text = ""
    text = text or body[:MAX_REASON].decode(errors="replace")
    return " ".join(text.split())[:MAX_REASON]


def _accept_any_certificate(address: str) -> None:
    """Say it once, instead of urllib3 at every request."""
    import urllib3  # noqa: PLC0415 - with the rest of kubernetes

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    log.warning("%s: its certificate is not verified (insecure-skip-tls-verify)", address)
