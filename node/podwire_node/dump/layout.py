"""Columns of text for a terminal's width: what is too long is folded between words and names.

Dialled            Service                Endpoints
10.96.0.10:53/UDP  kube-system/kube-dns:  10.244.1.3:53
                     dns                    kube-system/kube-dns-5td2t2-4q8g4
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, zip_longest

_GAP = "  "
_INDENT = "  "  # of what goes on, so that it is no entry of its own
#: After what a line may end, the best first: a line of words, of names, of a name.
_MARKS = (" ", "|", "/", ":", "-")
#: An address with its port is one word, whatever is in it.
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]+(/[A-Z]+)?")


def lines(header: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[list[str]]:
    """The header's lines, and each row's. A cell may have several lines of its own.

    room: columns of the terminal. Where not even the longest words fit, these are broken.
    """
    found = _widths([header, *rows], room)
    bodies = [list(_row(cells, found, _INDENT)) for cells in rows]
    return [list(_row(header, found, "")), *bodies]


def fold(line: str, width: int, indent: str = _INDENT) -> list[str]:
    """A line in several, each as long as it may be."""
    found = []
    while len(line) > width:
        cut = _cut(line, width)
        found.append(line[:cut].rstrip())
        rest = line[cut:].lstrip()
        line = (indent if width > 2 * len(indent) else "") + rest
    return [*found, line]


def _row(cells: Sequence[str], widths: Sequence[int], indent: str) -> Iterator[str]:
    folded = [
        [part for line in cell.split("\n") for part in fold(line, width, indent)]
        for cell, width in zip(cells, widths, strict=True)
    ]
    for parts in zip_longest(*folded, fillvalue=""):
        padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
        yield _GAP.join(padded).rstrip()


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """What each column has, of all the room but the gaps.

    Headers give way first, then the widest column; none breaks words while another need not.
    """
    texts = zip(*rows, strict=True)
    columns = [[line for cell in cells for line in cell.split("\n")] for cells in texts]
    found = [max(1, *map(len, column)) for column in columns]
    least = [max(1, *map(len, head.split()), *map(_least, rest)) for head, *rest in columns]
    bodies = [max(*map(len, head.split()), *map(len, rest)) for head, *rest in columns]
    room = max(room - len(_GAP) * (len(columns) - 1), len(columns))
    while sum(found) > room:
        given = (
            [each for each, width in enumerate(found) if width > bodies[each]]
            or [each for each, width in enumerate(found) if width > least[each]]
            or range(len(found))
        )
        found[max(given, key=found.__getitem__)] -= 1
    return found


def _least(line: str) -> int:
    """How wide a column has to be, so that no word of the line is broken."""
    cuts = sorted({cut for mark in _MARKS for cut in _cuts(line, mark)} | {0, len(line)})
    parts = [line[begin:end].strip() for begin, end in pairwise(cuts)]
    return max(
        (len(_INDENT) * bool(each) + len(part) for each, part in enumerate(parts)), default=0
    )


def _cut(line: str, width: int) -> int:
    """Where a line that is too long ends, by the best mark that there is."""
    for mark in _MARKS:
        fits = [cut for cut in _cuts(line, mark) if len(line[:cut].rstrip()) <= width]
        if fits:
            return fits[-1]
    return width


def _cuts(line: str, mark: str) -> list[int]:
    """Behind each such mark, but for what begins or ends the line, and what is in a place."""
    taken = [
        range(word.start() + 1, word.end())
        for word in re.finditer(r"\S+", line)
        if _PLACE.fullmatch(word[0])
    ]
    begin = len(line) - len(line.lstrip())
    ends = (each for each in range(begin + 1, len(line)) if line[each - 1] == mark)
    return [each for each in ends if not any(each in span for span in taken)]
