"""A log's end, its growth, and what cannot be asked of it."""

import fcntl
import os
import resource
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from podwire_lab.kubelet import logs, sandbox
from podwire_lab.kubelet.logs import LogRequest
from podwire_lab.kubelet.server import may_ask


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "main.log"


def whole(log: Path, **asked: int) -> bytes:
    return b"".join(logs.read(log, LogRequest(**asked)))


@pytest.mark.parametrize(
    ("content", "tail", "expected"),
    [
        pytest.param(b"", 3, b"", id="empty"),
        pytest.param(b"a\nb\nc\n", 0, b"", id="none"),
        pytest.param(b"a\nb\nc\n", 2, b"b\nc\n", id="two"),
        pytest.param(b"a\nb\nc", 2, b"b\nc", id="the last is not over"),
        pytest.param(b"a\nb\n", 9, b"a\nb\n", id="more than there are"),
        pytest.param(b"\n\n\n", 2, b"\n\n", id="empty lines"),
    ],
)
def test_the_last_lines(log: Path, content: bytes, tail: int, expected: bytes) -> None:
    log.write_bytes(content)
    assert whole(log, tail=tail) == expected


@given(st.data())
def test_the_last_lines_are_those_that_splitting_gives(
    tmp_path_factory: pytest.TempPathFactory, data: DataObject
) -> None:
    log = tmp_path_factory.mktemp("log") / "main.log"
    lines = data.draw(st.lists(st.sampled_from([b"\n", b"x\n", b"y" * 40_000 + b"\n"]), max_size=9))
    tail = data.draw(st.integers(0, 10))
    log.write_bytes(b"".join(lines))
    assert whole(log, tail=tail) == b"".join(lines[len(lines) - tail if tail < len(lines) else 0 :])


def test_a_limit_cuts_in_the_middle(log: Path) -> None:
    log.write_bytes(b"x" * 200_000)
    assert len(whole(log, limit=100_001)) == 100_001


def test_what_is_added_is_followed_until_the_run_is_over(log: Path) -> None:
    log.write_bytes(b"one\n")
    run, ends = os.pipe()
    reader, _leaves = os.pipe()
    pieces = logs.read(log, LogRequest(follow=True), run, reader)
    assert next(pieces) == b"one\n"

    def go_on() -> None:
        with log.open("ab") as file:
            file.write(b"two\n")
        os.close(ends)

    thread = threading.Timer(0.05, go_on)
    thread.start()
    assert b"".join(pieces) == b"two\n"
    thread.join()


def test_following_ends_when_the_reader_leaves(log: Path) -> None:
    log.write_bytes(b"one\n")
    run, _ends = os.pipe()
    reader, leaves = os.pipe()
    os.close(leaves)
    assert b"".join(logs.read(log, LogRequest(follow=True), run, reader)) == b"one\n"


def test_a_log_is_followed_by_a_server_with_very_many_open_files(log: Path) -> None:
    log.write_bytes(b"one\n")
    reader, leaves = os.pipe()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(2048, before[0]), before[1]))
    high = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 1500)  # select() ends at 1023
    os.close(leaves)
    try:
        run, _ends = os.pipe()
        assert b"".join(logs.read(log, LogRequest(follow=True), run, high)) == b"one\n"
    finally:
        os.close(high)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_log_that_begins_anew_is_followed_from_there(log: Path) -> None:
    log.write_bytes(b"long before\n")
    run, ends = os.pipe()
    reader, _leaves = os.pipe()
    pieces = logs.read(log, LogRequest(follow=True), run, reader)
    assert next(pieces) == b"long before\n"
    log.write_bytes(b"new\n")
    assert next(pieces) == b"new\n"
    os.close(ends)
    assert list(pieces) == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param({"timestamps": "true"}, "hold no times", id="timestamps"),
        pytest.param({"sinceSeconds": "5"}, "--tail", id="since"),
        pytest.param({"previous": "true"}, "one log for all runs", id="previous"),
        pytest.param({"tailLines": "-1"}, "tailLines", id="a negative tail"),
        pytest.param({"limitBytes": "0"}, "limitBytes", id="a limit of nothing"),
        pytest.param({"tailLines": "x" * 999}, "tailLines", id="no number"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_sentence(query: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LogRequest.parse(query)


def test_a_query_is_read() -> None:
    query = {"follow": "true", "tailLines": "0", "limitBytes": "5", "timestamps": "false"}
    assert LogRequest.parse(query) == LogRequest(follow=True, tail=0, limit=5)


def test_a_log_that_has_grown_is_moved_aside_and_never_more_than_its_bound(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "LOG_BYTES", 1000)
    log.write_bytes(b"a" * 5000 + b"b" * 1000)
    sandbox.bound_log(log)
    aside = log.with_suffix(".log.1")
    assert (log.read_bytes(), aside.read_bytes()) == (b"", b"b" * 1000)
    assert aside.stat().st_mode & 0o777 == 0o600
    log.write_bytes(b"c")
    sandbox.bound_log(log)
    assert log.read_bytes() == b"c"


@pytest.mark.parametrize(
    ("subject", "answer"),
    [
        pytest.param([("commonName", "kube-apiserver-kubelet-client")], True, id="the API server"),
        pytest.param(
            [("organizationName", "system:masters"), ("commonName", "anyone")], True, id="a master"
        ),
        pytest.param(
            [("organizationName", "system:nodes"), ("commonName", "system:node:node2")],
            False,
            id="another node",
        ),
        pytest.param([], False, id="nobody"),
    ],
)
def test_who_may_ask(subject: list[tuple[str, str]], answer: bool) -> None:
    assert may_ask({"subject": [(row,) for row in subject]}) is answer
