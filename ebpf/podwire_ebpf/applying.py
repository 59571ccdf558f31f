"""A change applied: upserts before deletes, what is led to before what leads to it.

    1  endpoints and members in       nothing leads to a new one yet; a slot's new endpoint is whole
    2  addresses and frontends in     all that they lead to is there
    3  addresses and frontends out    then nothing leads to …
    4  endpoints and members out      … these

A socket that calls meanwhile finds the old Service, the new one, or nothing, and then nftables
serves. A full map refuses rows, and with an endpoint the frontends of its list. What stood in their
place may lead to who is no endpoint any more, so 3 and 4 take it out, too, which needs no room.
They may make room, so what was refused is tried once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from podwire_ebpf.errors import TableFull
from podwire_ebpf.records import Endpoint, EndpointKey, Frontend, FrontendKey, Member, MemberKey
from podwire_ebpf.rows import Change

K = TypeVar("K")
V = TypeVar("V")
V_contra = TypeVar("V_contra", contravariant=True)

_PRESENT = Member()


class Rows(Protocol[K, V_contra]):
    """A map to write: the kernel's (Table), or a dict (fake.py)."""

    def put(self, rows: Iterable[tuple[K, V_contra]], /) -> list[K]:
        """Put rows in; the keys of those that have no room."""

    def delete(self, keys: Iterable[K], /) -> None:
        """Take rows out; one that is not there is no error."""


class Written(Protocol):
    """The maps that a change is about."""

    @property
    def frontends(self) -> Rows[FrontendKey, Frontend]: ...  # noqa: D102 - named as its map is
    @property
    def endpoints(self) -> Rows[EndpointKey, Endpoint]: ...  # noqa: D102 - same
    @property
    def members(self) -> Rows[MemberKey, Member]: ...  # noqa: D102 - same
    @property
    def addresses(self) -> Rows[str, Member]: ...  # noqa: D102 - same


def apply(tables: Written, change: Change) -> None:
    """Raises TableFull when rows had no room, OSError when the kernel refuses otherwise."""
    refused = _put_in(tables, change)
    _take_out(tables, change, refused)
    if refused:
        refused = _put_in(tables, refused)
    if refused:
        raise TableFull(_fullest(refused), refused)


def _put_in(tables: Written, change: Change) -> Change:
    """Steps 1 and 2; the rows that had no room."""
    refused = Change(
        endpoints=_put(tables.endpoints, change.endpoints),
        members=_put(tables.members, change.members),
    )
    holes = {key.list for key in refused.endpoints}
    upserts = {key: value for key, value in change.frontends.items() if value is not None}
    leading = {key: value for key, value in upserts.items() if value.list not in holes}
    present = {address: _PRESENT for address, there in change.addresses.items() if there}
    refused.addresses = dict.fromkeys(_put(tables.addresses, present), True)
    refused.frontends = _put(tables.frontends, leading)
    refused.frontends |= {key: upserts[key] for key in upserts.keys() - leading.keys()}
    return refused


def _take_out(tables: Written, change: Change, refused: Change) -> None:
    """Steps 3 and 4. A member that was refused keeps its row: it is the same endpoint's."""
    tables.frontends.delete([*_gone(change.frontends), *refused.frontends])
    tables.addresses.delete([each for each, there in change.addresses.items() if not there])
    tables.endpoints.delete([*_gone(change.endpoints), *refused.endpoints])
    tables.members.delete(_gone(change.members))


def _put(table: Rows[K, V], rows: Mapping[K, V | None] | Mapping[K, V]) -> dict[K, V | None]:
    """Put in what has a value; the rows that had no room."""
    upserts = ((key, value) for key, value in rows.items() if value is not None)
    return {key: rows[key] for key in table.put(upserts)}


def _gone(rows: Mapping[K, V | None]) -> list[K]:
    return [key for key, value in rows.items() if value is None]


def _fullest(refused: Change) -> str:
    """The map to name: where endpoints have no room, frontends are refused for that."""
    for name in ("endpoints", "members", "addresses"):
        if getattr(refused, name):
            return name
    return "frontends"
