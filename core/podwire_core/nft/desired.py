"""What the agent asks of whoever turns objects into rules (the proxy, the policy compiler)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from podwire_core.errors import ObjectError
from podwire_core.nft.objects import Key, Object, Table
from podwire_core.snapshot import Change, Snapshot


class Desired(Protocol):
    """The desired content of some tables, kept up to date object by object.

    No effect: it is told what changed and says what should be in force. Whoever holds it
    gives `update()`'s answer to Owner.change(), and `wanted` to Owner.sync().
    """

    @property
    def tables(self) -> Sequence[Table]:
        """Tables it fills; no one else does."""
        ...

    @property
    def wanted(self) -> Mapping[Key, Object]:
        """Everything that should be in force, as of the last update."""
        ...

    @property
    def problems(self) -> Sequence[ObjectError]:
        """Objects that are not, or not wholly, in `wanted`, and why."""
        ...

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        """Take changes in that `snapshot` holds already; answer keys whose wanted value changed.

        None means: nothing is wanted under that key any more. The first call, with every
        object as a change, answers everything.
        """
        ...
