"""A container's log as the API's users ask for it: its end, or what is added until the run is over.

    LogRequest   the query, checked: what a lab's logs do not hold is refused, not ignored
    read         what is there        follow   what comes, woken by the kernel

A log is moved aside when it has grown too long (sandbox): then it begins again at 0.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from podwire_lab.kubelet.file_events import FileEvents

_PIECE = 64 * 1024
#: Why some questions have no answer; sentences for whoever asked.
_UNKNOWN = {
    "timestamps": "a lab's logs hold no times: leave --timestamps away",
    "sinceSeconds": "a lab's logs hold no times: use --tail in place of --since",
    "sinceTime": "a lab's logs hold no times: use --tail in place of --since-time",
    "previous": "a lab keeps one log for all runs of a container: leave --previous away",
}


@dataclass(frozen=True)
class LogRequest:
    """tail: lines from the end, None for all. limit: bytes, None for no limit."""

    follow: bool = False
    tail: int | None = None
    limit: int | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> LogRequest:
        """From the URL's query. Raises ValueError with a sentence."""
        for name, sentence in _UNKNOWN.items():
            if query.get(name, "") not in {"", "false"}:
                raise ValueError(sentence)
        return cls(
            follow=query.get("follow") == "true",
            tail=_number(query, "tailLines", 0),
            limit=_number(query, "limitBytes", 1),
        )


def _number(query: Mapping[str, str], name: str, least: int) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:18]) >= least):
        raise ValueError(f"{name}: {text[:20]!r} is no number of {least} or more")
    return int(text[:18])


def read(log: Path, request: LogRequest, over: int = -1, reader: int = -1) -> Iterator[bytes]:
    """What the request asks for, in pieces. Raises OSError.

    over: a descriptor that is readable when the container's run is over. reader: one that is
    when whoever reads has gone. Without `over` nothing is followed.
    """
    left = request.limit
    with log.open("rb") as file:
        if request.tail is not None:
            file.seek(_start_of_last(file, request.tail))
        pieces = _follow(file, log, over, reader) if request.follow and over >= 0 else _rest(file)
        for piece in pieces:
            if left is None:
                yield piece
                continue
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return


def _rest(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _follow(file: BinaryIO, log: Path, over: int, reader: int) -> Iterator[bytes]:
    events = FileEvents(log)
    poll = select.poll()  # select() takes no descriptor above 1023
    for descriptor in (events.fileno(), over, reader):
        if descriptor >= 0:
            poll.register(descriptor, select.POLLIN)
    try:
        while True:
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
            yield from _rest(file)
            ready = {descriptor for descriptor, _ in poll.poll()}
            events.drain()
            if reader in ready:
                return
            if over in ready:
                yield from _rest(file)
                return
    finally:
        events.close()


def _start_of_last(file: BinaryIO, lines: int) -> int:
    """Where the last so many lines begin; the file is read backwards, a piece at a time."""
    end = file.seek(0, os.SEEK_END)
    if lines == 0:
        return end
    at, wanted, first = end, lines, True
    while at > 0:
        size = min(_PIECE, at)
        at -= size
        file.seek(at)
        piece = file.read(size)
        stop = len(piece)
        if first and piece.endswith(b"\n"):
            stop -= 1  # the end of the last line begins no other
        first = False
        while (found := piece.rfind(b"\n", 0, stop)) >= 0:
            wanted -= 1
            if wanted == 0:
                return at + found + 1
            stop = found
    return 0
