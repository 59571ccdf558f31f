"""How a reflector begins, begins anew and backs off: a scripted server, answers in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from podwire_core.feed import reflector as module
from podwire_core.feed.api_server import ApiError
from podwire_core.feed.reflector import (
    REFUSALS,
    Absent,
    Listed,
    Message,
    Reflector,
    Resource,
    Trouble,
)
from podwire_core.objects import Node

NODES = Resource(Node, "/nodes")
OVER = Trouble(Node, "")
END = (
    b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7",'
    b'"annotations":{"k8s.io/initial-events-end":"true"}}}}'
)
PAGE = b'{"metadata":{"resourceVersion":"5"},"items":[]}'
EXPIRED = b'{"type":"ERROR","object":{"metadata":{},"code":410,"message":"too old"}}'


class Said:
    """One answer."""

    def __init__(self, *lines: bytes) -> None:
        self._lines = lines

    def lines(self) -> Iterator[bytes]:
        yield from self._lines

    def body(self) -> bytes:
        return b"".join(self._lines)

    def release(self) -> None:
        pass


class Server:
    """Answers as scripted; the last answer ends the reflector."""

    address = "server"

    def __init__(self, *answers: Said | ApiError) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.ended: Callable[[], None] = lambda: None

    def get(self, _path: str, query: dict[str, str], _call: object) -> Said:
        stream = "stream" if "sendInitialEvents" in query else "watch"
        self.asked.append(stream if "watch" in query else "list")
        answer = self._answers.pop(0)
        if not self._answers:
            self.ended()
        if isinstance(answer, ApiError):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.001)


def run(*answers: Said | ApiError, resource: Resource = NODES) -> tuple[list[str], list[Message]]:
    """What was asked, and what was told."""
    server, told = Server(*answers, ApiError(0, "the script ends")), list[Message]()
    made = Reflector(server, resource, told.append)  # type: ignore[arg-type]  # a stand-in
    server.ended = made.stop
    made.run()
    return server.asked, told


def test_it_streams_its_beginning_and_then_watches() -> None:
    asked, told = run(Said(END))
    assert asked == ["stream", "watch"]
    assert told == [Listed(Node, {}, {})]


@pytest.mark.parametrize("status", [400, 422, 500, 501])
def test_a_server_that_cannot_stream_is_listed_at_once(status: int) -> None:
    asked, told = run(ApiError(status, "no"), Said(PAGE))
    assert asked == ["stream", "list", "watch"]
    assert told == [Listed(Node, {}, {})]


def test_the_next_beginning_is_streamed_again() -> None:
    asked, told = run(ApiError(500, "a bad moment"), Said(PAGE), Said(EXPIRED), Said(END))
    assert asked == ["stream", "list", "watch", "stream", "watch"]
    assert told == [Listed(Node, {}, {}), Listed(Node, {}, {})]


def test_a_beginning_that_breaks_is_told_and_made_again() -> None:
    asked, told = run(Said(b'{"type":"BOOKM'), Said(END))
    assert asked == ["stream", "stream", "watch"]
    assert [type(each) for each in told] == [Trouble, Listed, Trouble]
    assert told[-1] == Trouble(Node, "")


def test_a_server_that_always_says_410_is_told_of() -> None:
    _, told = run(*[ApiError(410, "gone")] * 4)
    assert told == [Trouble(Node, "server/nodes: 410 gone")]


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_counts_when_it_was_the_answer_often_enough(status: int) -> None:
    no = ApiError(status, "no")
    sentence = f"server/nodes: {status} no"
    assert run(*[no] * (REFUSALS - 1))[1] == [Trouble(Node, sentence)]
    told = run(*[no] * (REFUSALS + 2))[1]
    assert told == [Trouble(Node, sentence), Trouble(Node, sentence, refused=True)]


@pytest.mark.parametrize("status", [0, 401, 429, 500, 503])
def test_everything_else_is_waited_out(status: int) -> None:
    _, told = run(*[ApiError(status, "later")] * (REFUSALS + 1))
    assert not any(isinstance(each, Trouble) and each.refused for each in told)


def test_an_optional_kind_is_absent_at_the_first_404_and_a_doubted_one_after_some() -> None:
    """One of three servers that has not got the definition yet would undo all that is in force."""
    optional, no = Resource(Node, "/nodes", optional=True, absent_s=0.001), ApiError(404, "no")
    assert run(no, resource=optional)[1] == [Absent(Node)]
    doubted = replace(optional, doubted=True)
    trouble = Trouble(Node, "server/nodes: 404 no")
    assert run(no, Said(END), resource=doubted)[1] == [trouble, Listed(Node, {}, {}), OVER]
    assert run(*[no] * (REFUSALS + 1), resource=doubted)[1] == [trouble, Absent(Node)]
