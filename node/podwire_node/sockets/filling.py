"""What the proxy wants in the maps, and what is there.

    Sockets.take() ─► what changed ─► apply          each time
    Sockets.adopt(rows of the maps) ─► apply         at the start, and after a refusal

What could not be applied whole leaves to nftables at once: a socket must not be sent to what is no
endpoint any more, and to delete rows needs no room.
"""

from __future__ import annotations

from contextlib import suppress

from podwire_core.garbage import collection_paused, give_back
from podwire_ebpf.errors import BpfError, TableFull
from podwire_ebpf.plane import Plane
from podwire_ebpf.rows import Change
from podwire_proxy.sockets import Sockets


class Filling:
    """Keeps one plane's maps. Raises BpfError for what a kernel refuses."""

    def __init__(self, plane: Plane, sockets: Sockets) -> None:
        self._plane, self._sockets = plane, sockets
        self._unknown = True
        self._addresses: frozenset[str] = frozenset()  # that are, or may be, in the map

    def is_due(self, addresses: frozenset[str]) -> bool:
        """Whether there may be anything to write."""
        return self._unknown or self._sockets.changed or addresses != self._addresses

    def fill(self, addresses: frozenset[str]) -> Change:
        """Have in the maps what is wanted; answers what that took."""
        if first := self._unknown:
            give_back()  # of what nftables needed, before as much is needed again
            with collection_paused():
                change = self._adopt()
        else:
            change = self._sockets.take()
        change.addresses = {
            **dict.fromkeys(self._addresses - addresses, False),
            **dict.fromkeys(addresses - self._addresses, True),
        }
        self._addresses |= addresses
        if change:
            self._apply(change)
        self._unknown, self._addresses = False, addresses
        if first:
            give_back()
        return change

    def retreat(self, addresses: frozenset[str]) -> None:
        """While nothing can be written: what changed is left to nftables, what went goes."""
        gone = self._addresses - addresses
        if gone or self._sockets.changed:
            change = self._sockets.take()
            change.addresses = dict.fromkeys(gone, False)
            self._leave(change)

    def _adopt(self) -> Change:
        tables = self._plane.tables
        try:
            self._addresses = frozenset(tables.addresses.read())
            return self._sockets.adopt(
                tables.frontends.items(), tables.endpoints.items(), tables.members.items()
            )
        except OSError as error:
            raise BpfError(f"the maps cannot be read: {error.strerror}") from error

    def _apply(self, change: Change) -> None:
        try:
            self._plane.apply(change)
        except TableFull:  # all else is in, and nothing leads to a hole
            self._unknown = True
            raise
        except BpfError:
            self._leave(change)
            raise

    def _leave(self, change: Change) -> None:
        """Once more refused, it is the same problem."""
        self._unknown = True
        left = self._sockets.retreat(change)
        left.addresses = {each: there for each, there in change.addresses.items() if not there}
        with suppress(BpfError):
            self._plane.apply(left)
            self._addresses -= left.addresses.keys()
