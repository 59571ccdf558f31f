"""Agents' answers made harmless for a terminal: names in them may be any text that someone wrote.

A rule of a ClusterNetworkPolicy may have any name, and a terminal does what some characters say.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from podwire_core import typed
from podwire_node.reports.logs import one_line

Answer = TypeVar("Answer", bound=msgspec.Struct)


def printable(answer: Answer) -> Answer:
    """The same answer; none of its texts ends a line or drives a terminal."""
    return typed.convert(_printable(msgspec.to_builtins(answer)), type(answer))


def printable_lines(text: str) -> str:
    """A text that may have several lines, such as an error that names every mistake."""
    return "\n".join(map(one_line, text.split("\n")))


def _printable(value: Any) -> Any:
    match value:
        case str():
            return one_line(value)
        case dict():
            return {key: _printable(each) for key, each in value.items()}
        case list() | tuple():
            return [_printable(each) for each in value]
    return value
