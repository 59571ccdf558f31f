from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from podwire_node.reports.status import Status, StatusFile

SAID = Status(
    node="n1",
    pid=1,
    ready=True,
    ready_seconds=1.0,
    objects=3,
    routes=2,
    transactions={},
    repairs={},
    failures={},
)


def test_what_an_earlier_agent_said_of_itself_is_gone_at_once(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text('{"ready": true}')
    StatusFile(path)
    assert not path.exists()


def test_a_status_is_written_when_it_says_something_new(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    file = StatusFile(path)
    file.write(SAID)
    assert json.loads(path.read_bytes())["ready"] is True
    before = path.stat().st_ino
    file.write(SAID)
    assert path.stat().st_ino == before
    file.write(msgspec.structs.replace(SAID, ready=False))
    assert json.loads(path.read_bytes())["ready"] is False


def test_memory_is_told_as_it_is_when_something_else_is_news(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    StatusFile(path).write(SAID)
    assert 1 < json.loads(path.read_bytes())["rss_mb"] < 10_000


def test_a_status_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = StatusFile(tmp_path / "gone/status.json")
    file.write(SAID)
    file.write(SAID)
    assert caplog.text.count("going on without") == 1
    (tmp_path / "gone").mkdir()
    file.write(SAID)
    assert (tmp_path / "gone/status.json").exists()
