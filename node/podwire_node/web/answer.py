"""One answer to one request, before any HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Asked(NamedTuple):
    """What of a request matters. path: without a query, as it was sent."""

    method: str
    path: str


@dataclass(frozen=True)
class Answer:
    """headers: further ones. Every answer says `nosniff`: no browser shall guess at it."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Asked], Answer]


def refusal(status: HTTPStatus, *headers: tuple[str, str]) -> Answer:
    """An answer that says its status in words."""
    return Answer(status, f"{status.value} {status.phrase}\n".encode(), headers=headers)


#: In the words of Go's net/http, which people know from kube-proxy.
NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, b"404 page not found\n")
