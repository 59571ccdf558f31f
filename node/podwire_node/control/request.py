"""What a verb is given: the request's fields, and a way to wait that ends with its client."""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping

from podwire_core import typed
from podwire_node.control.errors import ControlError

#: A file of policies is sent whole (`podwire policy audit`).
MAX_REQUEST_BYTES = 4 << 20


class Gone(Exception):  # noqa: N818 - the word for it
    """Nobody waits for the rest of the answer: the client went, or the agent is ending."""


class Request:
    """One question. fields: what came beside the verb, decoded and not judged."""

    def __init__(self, verb: str, fields: Mapping[str, object]) -> None:
        self.verb = verb
        self.fields = fields
        self._client: socket.socket | None = None
        self._ending: int | None = None

    def attend(self, client: socket.socket, ending: int) -> None:
        """Whose request it is, and a descriptor that is readable once the agent ends."""
        self._client, self._ending = client, ending

    def wait(self, descriptor: int, seconds: float | None = None) -> bool:
        """Wait until the descriptor is readable, at most so long. Raises Gone."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if self._client is not None:
            poll.register(self._client, select.POLLRDHUP)
        if self._ending is not None:
            poll.register(self._ending, select.POLLIN)
        ready = {each for each, _ in poll.poll(None if seconds is None else seconds * 1000)}
        if ready - {descriptor}:
            raise Gone
        return bool(ready)


def decode_request(line: bytes) -> Request:
    """A request's line. Raises ControlError."""
    try:
        document = typed.decode(line, dict[str, object])
    except (ValueError, RecursionError) as error:  # msgspec's own are the former, bad UTF-8 too
        raise ControlError(f"the request is no JSON object in one line: {error}") from error
    verb = document.pop("verb", None)
    if not isinstance(verb, str):
        raise ControlError("the request names no verb")
    return Request(verb, document)
