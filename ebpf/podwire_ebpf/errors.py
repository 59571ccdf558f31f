# ruff: noqa: N818 - the names finish the sentence "opening the plane failed with"
"""Every way the sockets' part can fail; nftables serves whatever happens here.

```
BpfError                the kernel refused a step, or what it holds is not what we put there
├── Unsupported         this machine lacks something: the sentence says what, and what to do
├── Busy                another process works in the same folder
└── TableFull           a map has no room for some rows; the others are in
```

Each message is one sentence for an operator.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podwire_ebpf.rows import Change


class BpfError(Exception):
    """What went wrong, in one sentence.

    details: what the compiler or the verifier said, of many lines and bounded; for a log.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class Unsupported(BpfError):
    """Something is not there that has to be installed, mounted or turned on first."""


class Busy(BpfError):
    """The folder is locked: one process alone changes what is pinned there."""


class TableFull(BpfError):
    """A map was full.

    table: its name.  refused: the rows of the change that are not in; all others are. Frontends
    whose list misses an endpoint are among them, so nothing in the maps leads to a hole.
    """

    def __init__(self, table: str, refused: Change) -> None:
        super().__init__(f"table {table} is full: {refused.size} rows are not in")
        self.table = table
        self.refused = refused


@contextmanager
def refusals(what: object) -> Iterator[None]:
    """An OSError of the block as a BpfError that begins with what was worked on."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise BpfError(f"{what}: {reason}") from error
