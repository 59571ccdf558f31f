"""What every feed promises, whatever stands behind it.

* `fileno()` becomes readable when `read()` has something to say: a loop waits on facts.
* Until `synced`, a read is a part of everything there is: nothing may be taken away yet.
  After that each read returns what changed, so that a relist is a delta, never a delete-all.
* A kind that the source refuses to show holds up nothing: `unread` names it and says why. Once
  it can be read, its objects are changes like any other. A kind that was read before and is
  refused later keeps what is known of it. An optional kind that the source does not know is not
  in `unread`: it has no objects (none any more, if it had some). Nor is a dispensable one that the
  source refuses: it has none either, and an error says so.
* An unusable object is an error in the batch; what was known of it before stays in force.
* Each error is told once in `errors`; `standing` says at every read which of them hold now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from podwire_core.errors import ObjectError
from podwire_core.snapshot import Change, Kind


@dataclass(frozen=True)
class Batch:
    """What one `read()` found.

    errors: those that are new. synced: everything there is has been read at least once, but for
    the kinds in unread. standing: all errors that hold now, new or not; empty when everything can
    be used. waiting: a sentence for each kind that `synced` waits for. unread: kinds of which
    nothing was ever read, because the source refuses it, and why. What is made of such a kind
    should be left as it is: nothing is known, which is not the same as that nothing is there.
    """

    changes: tuple[Change, ...] = ()
    errors: tuple[ObjectError, ...] = ()
    synced: bool = True
    standing: tuple[ObjectError, ...] = ()
    waiting: tuple[str, ...] = ()
    unread: Mapping[Kind, str] = field(default_factory=dict)


class Feed(Protocol):
    """A source of objects."""

    def fileno(self) -> int:
        """A descriptor for select(): readable when `read()` has news."""
        ...

    def read(self) -> Batch:
        """What changed since the last read; never blocks on a source that is silent.

        Raises FeedError when the source as a whole cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of the source."""
        ...
