"""One event is one line, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
from datetime import datetime

import pytest

from podwire_node.reports.logs import MAX_MESSAGE, set_up

log = logging.getLogger("podwire_node.test")


def lines(log_format: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    set_up(log_format, level, "n1", stream)
    return stream


def test_json_lines_have_their_fields() -> None:
    stream = lines("json")
    log.warning("%s is bad", "x", extra={"component": "proxy", "object": "Service a/b"})
    found = json.loads(stream.getvalue())
    assert found.pop("ts").endswith("Z")
    assert found == {
        "level": "warning",
        "logger": "podwire_node.test",
        "msg": "x is bad",
        "node": "n1",
        "component": "proxy",
        "object": "Service a/b",
    }


def test_times_are_rfc_3339_in_utc() -> None:
    stream = lines("json")
    log.info("now")
    stamp = json.loads(stream.getvalue())["ts"]
    assert datetime.fromisoformat(stamp).tzinfo is not None
    assert len(stamp) == len("2026-01-31T12:00:00.000000Z")


def test_fields_that_say_nothing_are_left_out() -> None:
    stream = lines("json")
    log.info("x", extra={"object": ""})
    assert json.loads(stream.getvalue()).keys() == {"ts", "level", "logger", "msg", "node"}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_hostile_message_stays_on_its_line(log_format: str) -> None:
    stream = lines(log_format)
    log.warning("Service %s", "a\nERROR all is lost\x1b[2J\u2028" + "x" * 3 * MAX_MESSAGE)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert len(text) < 2 * MAX_MESSAGE


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_bytes_that_are_no_text_are_told_escaped(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = lines(log_format)
    log.warning("%s: is bad", "/objects/b\udcffd.yaml", extra={"object": "\udcff"})
    assert "udcff" in stream.getvalue()
    assert capsys.readouterr().err == "", "logging itself has no complaint"


def test_text_is_as_it_was_for_people() -> None:
    stream = lines("text")
    log.info("ready after %.2f s", 1.5)
    assert stream.getvalue().endswith(" INFO    ready after 1.50 s\n")


def test_the_level_is_ours_alone() -> None:
    stream = lines("text", "debug")
    log.debug("detail")
    logging.getLogger("urllib3.connectionpool").debug("GET /secret")
    logging.getLogger("urllib3.connectionpool").info("GET /secret")
    assert "detail" in stream.getvalue()
    assert "secret" not in stream.getvalue()
    stream = lines("text", "error")
    log.warning("less")
    assert stream.getvalue() == ""


def test_a_stack_is_one_field() -> None:
    stream = lines("json")
    try:
        int("why")
    except ValueError:
        log.exception("a bug")
    found = json.loads(stream.getvalue())
    assert found["msg"] == "a bug"
    assert "ValueError: invalid literal" in found["stack"]
