"""The agent's log on standard error: a line for people, or one JSON object, an event.

    text   2026-01-31 12:00:00,000 WARNING Service shop/api: spec.ports[0].port: …
    json   {"ts":"2026-01-31T12:00:00.000000Z","level":"warning","logger":"podwire_node.agent",
            "msg":"…","node":"node1","component":"proxy","object":"Service shop/api"}

Structured fields are given as `extra={"component": …, "object": …}`. Whatever a message holds,
it stays on its line: names come from whoever may make objects. Libraries' own loggers are held
at warnings, because their debugging may show requests with what authorizes them.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import IO

import msgspec

OURS = ("podwire_core", "podwire_node", "podwire_proxy", "podwire_policy", "podwire_cni")
#: Fields that a record may carry beside its message.
FIELDS = ("component", "object")
MAX_MESSAGE = 8192


def set_up(log_format: str, level: str, node: str, stream: IO[str] | None = None) -> None:
    """Log to a stream (standard error) from now on; what was set up before is replaced."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(node) if log_format == "json" else TextLines())
    root = logging.getLogger()
    for before in list(root.handlers):
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())


class TextLines(logging.Formatter):
    """A line for people, in the machine's own time."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The record on one line; a stack, which only a bug of ours has, follows it."""
        record.message = one_line(record.message)
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """One JSON object a line, for machines. ts is RFC 3339 in UTC."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter.format."""
        when = datetime.fromtimestamp(record.created, UTC)
        line = {
            "ts": when.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage()[:MAX_MESSAGE],
            "node": self._node,
        }
        fields = {name: getattr(record, name, None) for name in FIELDS}
        line |= {name: str(value) for name, value in fields.items() if value}
        if record.exc_info:
            line["stack"] = self.formatException(record.exc_info)
        return msgspec.json.encode({name: _encodable(text) for name, text in line.items()}).decode()


def _encodable(text: str) -> str:
    """Text without lone surrogates, which stand for a file name's bytes that are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def one_line(text: str) -> str:
    """Text without what could end its line, or drive a terminal; of a bounded length."""
    if len(text) > MAX_MESSAGE:
        text = f"{text[:MAX_MESSAGE]}…"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
