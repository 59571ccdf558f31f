"""What a lost announcement, an interrupted dump and a refusal with a reason come to."""

import errno
import struct
from collections.abc import Iterator

import pytest

from podwire_cni import link_remover, rtnetlink
from podwire_cni.rtnetlink import Message, Refused, Socket

LOOPBACK = 1
NOBODY = 2**31 - 1
_RTM_GETLINK, _RTM_GETROUTE, _RTM_NEWROUTE = 18, 26, 24


class Overrun(Socket):
    """A socket that lost what it was told."""

    def announcements(self) -> Iterator[tuple[int, bytes]]:
        raise OSError(errno.ENOBUFS, "No buffer space available")


def message(kind: int, body: bytes, flags: int = 0) -> Message:
    return Message("a step", struct.pack("=IHHII", 0, kind, flags, 0, 0) + body)


def link(index: int) -> Message:
    return message(_RTM_GETLINK, struct.pack("=BxHiII", 0, 0, index, 0, 0))


def test_after_an_overrun_the_link_itself_is_asked_for() -> None:
    with Overrun() as events:
        assert link_remover._heard_of(events, "pwnosuchlink", NOBODY)
        assert not link_remover._heard_of(events, "lo", LOOPBACK)


def test_a_single_question_has_one_answer() -> None:
    with Socket() as node:
        for _ in range(2):
            (answer,) = node.ask(link(LOOPBACK))
            assert b"lo\0" in answer


def test_a_refusal_tells_the_step_and_the_number() -> None:
    with Socket() as node:
        with pytest.raises(Refused) as refused:
            node.ask(link(NOBODY))
        assert (refused.value.number, refused.value.step) == (errno.ENODEV, "a step")
        assert node.ask(link(LOOPBACK))  # and the socket is as good as before


def test_a_refusal_brings_the_kernels_reason() -> None:
    # A dump of another family's table than the header says: only strict sockets mind.
    body = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 0, 0, 0, 0, 0)
    with Socket() as node, pytest.raises(Refused) as refused:
        node.ask(message(_RTM_GETROUTE, body, rtnetlink.NLM_F_DUMP))
    assert refused.value.number == errno.EINVAL
    assert "dump request" in refused.value.reason


def test_a_dump_that_changes_fall_into_is_begun_anew_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Message] = []

    def interrupted(_: Socket, question: Message) -> list[bytes] | None:
        asked.append(question)
        return [b"whole"] if len(asked) == 3 else None

    monkeypatch.setattr(Socket, "_ask", interrupted)
    with Socket() as node:
        assert node.ask(link(LOOPBACK)) == [b"whole"]
        assert len(asked) == 3
        with pytest.raises(Refused) as refused:
            node.ask(link(LOOPBACK))
    assert refused.value.number == errno.EAGAIN
