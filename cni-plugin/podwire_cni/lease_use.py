"""What `ranges.choose` asks of the lease database, answered in a few look-ups.

Nothing here reads a table whole, however many pods came and went since the node booted:

* the lowest unused address is looked for from the range's frontier on. All below it have a row,
  and rows stay until the next boot. The frontier is kept in the same transaction as the lease.
* the longest released address is the first of an index.
"""

from podwire_cni.family import IPAddress, IPv6
from podwire_cni.lease_file import LeaseFile
from podwire_cni.ranges import AddressRange, Use


class LeaseUse(Use):
    """The rows of one boot, within a transaction."""

    def __init__(self, file: LeaseFile) -> None:
        self._file = file

    def vacant(self, address: IPAddress, released_before: float) -> bool:
        """See Use."""
        rows = self._file.rows("SELECT released FROM leases WHERE address = ?", (str(address),))
        return all(
            released is not None and self._file.time("released", released) <= released_before
            for (released,) in rows
        )

    def unused(self, range_: AddressRange, among: int) -> IPAddress | None:
        """See Use."""
        frontier = self._frontier(range_)
        end = range_.first_offset + min(among, range_.capacity)
        found = self._first_without_row(range_, frontier, end)
        offset = max(frontier, end) if found is None else range_.offset(found)
        if offset != frontier:
            self._file.write(
                "INSERT OR REPLACE INTO frontiers VALUES (?, ?)",
                [(str(range_), str(range_.network.network_address + offset))],
            )
        return found

    def longest_released(self, range_: AddressRange) -> IPAddress | None:
        """See Use."""
        # The words are the index's own; only so SQLite uses it. Each family has its part of it,
        # because one may be used up while the other is never used twice.
        for address, released in self._file.each(
            "SELECT address, released FROM leases WHERE released IS NOT NULL"
            " AND (instr(address, ':') > 0) = ? ORDER BY released, address",
            (range_.family is IPv6,),
        ):
            self._file.time("released", released)
            if range_.offers(found := self._file.address(address)):
                return found
        return None

    def overlooked(self, range_: AddressRange) -> IPAddress | None:
        """See Use: one behind the frontier whose row somebody has deleted by hand."""
        if sum(self.counted(range_)) >= range_.capacity:
            return None
        return self._first_without_row(range_, range_.first_offset, range_.last_offset + 1)

    def counted(self, range_: AddressRange) -> tuple[int, int]:
        """How many addresses of the range are leased, and how many were given back."""
        leased = resting = 0
        for address, released in self._file.rows("SELECT address, released FROM leases"):
            if range_.offers(self._file.address(address)):
                leased, resting = leased + (released is None), resting + (released is not None)
        return leased, resting

    def _frontier(self, range_: AddressRange) -> int:
        rows = self._file.rows("SELECT address FROM frontiers WHERE range = ?", (str(range_),))
        offsets = [range_.offset(self._file.address(address)) for (address,) in rows]
        return max([range_.first_offset, *offsets])

    def _first_without_row(self, range_: AddressRange, offset: int, end: int) -> IPAddress | None:
        # A range of any size: it ends at the first gap, and there are only so many rows.
        while offset < end:
            address = range_.address(offset)
            if not self._file.rows("SELECT 1 FROM leases WHERE address = ?", (str(address),)):
                return address
            offset += 1
        return None
