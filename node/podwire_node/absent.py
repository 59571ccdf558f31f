"""Tables of ours that are not wanted any more, because a setting was turned off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podwire_core.errors import ObjectError
from podwire_core.nft.objects import Key, Object, Table
from podwire_core.snapshot import Change, Snapshot


class Absent:
    """Implements podwire_core.nft.desired.Desired: whatever is there, goes."""

    wanted: Mapping[Key, Object] = {}
    problems: Sequence[ObjectError] = ()

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tables

    def update(
        self, _snapshot: Snapshot, _changes: Sequence[Change]
    ) -> Mapping[Key, Object | None]:
        """No object changes that nothing is wanted."""
        return {}
