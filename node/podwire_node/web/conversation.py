"""One connection: one request, one answer, the end.

    head, at most 8 KiB ─► answer ─► our end is closed ─► the client's end ─► gone
    more, or no HTTP    ─► 431, 400  what still comes is thrown away
    10 s after the connection was made it is over, whatever state it is in

What still comes is read, because a kernel that closes over unread bytes resets the connection, and
the client would lose its answer.
"""

from __future__ import annotations

import asyncio
import logging
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import h11

from podwire_node.web.answer import Answer, Asked, Handler, refusal
from podwire_node.web.room import Room

log = logging.getLogger(__name__)

MAX_HEAD = 8192
MAX_THROWN_AWAY = 64 * 1024
DEADLINE_S = 10.0
_CHUNK = 1024


class Conversation(asyncio.BufferedProtocol):
    """A BufferedProtocol, so that never more than is allowed is taken from the socket."""

    _transport: asyncio.Transport
    _deadline: asyncio.TimerHandle

    def __init__(self, site: object, handler: Handler, room: Room) -> None:
        self._site, self._handler, self._room = site, handler, room
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._buffer = memoryview(bytearray(_CHUNK))
        self._taken = 0
        self._answered = False

    # ---------------------------------------------------------------- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # a TCP listener makes no other
        self._deadline = asyncio.get_running_loop().call_later(DEADLINE_S, self.end)
        self._room.enter(self._site, self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio. At most MAX_HEAD bytes are read before there is an answer."""
        del sizehint
        return self._buffer if self._answered else self._buffer[: MAX_HEAD - self._taken]

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        self._taken += nbytes
        if not self._answered:
            self._http.receive_data(bytes(self._buffer[:nbytes]))
            self._read_head()
        elif self._taken > MAX_THROWN_AWAY:
            self.end()

    def eof_received(self) -> None:
        """See asyncio: it closes our end too, after what is still to be sent."""

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._deadline.cancel()
        self._room.leave(self._site, self)

    # ------------------------------------------------------------------------- ourselves

    def end(self) -> None:
        """Hang up at once."""
        self._transport.abort()

    def _read_head(self) -> None:
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._send(refusal(HTTPStatus(error.error_status_hint)), b"")
            return
        if isinstance(event, h11.Request):
            self._send(self._answer_to(event), event.method)
        elif self._taken >= MAX_HEAD:
            self._send(refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), b"")

    def _answer_to(self, request: h11.Request) -> Answer:
        try:
            return self._handler(Asked(request.method.decode("ascii"), _path(request.target)))
        except Exception:  # one request's fault is not the next one's
            log.exception("a request failed by a fault of podwire's own; please report it")
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _send(self, answer: Answer, method: bytes) -> None:
        self._answered = True
        headers = [
            ("Content-Type", answer.content_type),
            ("X-Content-Type-Options", "nosniff"),
            *answer.headers,
            ("Date", formatdate(usegmt=True)),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
        ]
        response = h11.Response(
            status_code=answer.status, headers=headers, reason=answer.status.phrase
        )
        body = b"" if method == b"HEAD" else answer.body
        events = (response, h11.Data(data=body), h11.EndOfMessage())
        self._transport.writelines([self._http.send(each) or b"" for each in events])
        self._transport.write_eof()


def _path(target: bytes) -> str:
    """The path of a request's target; a proxy's target (http://host/path) has one too."""
    text = target.decode("ascii", "replace")
    if not text.startswith("/") and "://" in text:
        text = "/" + text.partition("://")[2].partition("/")[2]
    return text.partition("?")[0]
