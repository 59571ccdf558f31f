"""What was found to be removed, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from podwire_core.errors import PodwireError
from podwire_ebpf.errors import BpfError


class Outcome(StrEnum):
    """What became of a thing."""

    REMOVED = "removed"
    WOULD_BE = "would be removed"
    LEFT = "left"  # on purpose: why says for what reason
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """One thing. kind: a word for what it is; name: as its own tool names it."""

    kind: str
    name: str
    outcome: Outcome
    why: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.name, self.outcome, f"({self.why})")))


def removed(kind: str, name: str, remove: Callable[[], object], *, dry_run: bool) -> Row:
    """Remove it, unless it is only asked what would be; a refusal is the row's reason."""
    if dry_run:
        return Row(kind, name, Outcome.WOULD_BE)
    try:
        remove()
    except OSError as error:
        return Row(kind, name, Outcome.FAILED, error.strerror or str(error))
    except (PodwireError, BpfError) as error:
        return Row(kind, name, Outcome.FAILED, str(error))
    return Row(kind, name, Outcome.REMOVED)
