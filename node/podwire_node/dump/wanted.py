"""What is wanted of the maps: which tables, and which of their rows.

Mistakes are click's usage errors: told before anybody is asked, or any map is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import click

from podwire_core.family import canonical_address
from podwire_node.dump.names import LeftName
from podwire_node.dump.rows import VIEWS, Row
from podwire_node.dump.shown import Part


class Wanted(NamedTuple):
    """services: beginnings of namespace/name:port. limit: rows of a table; 0: all."""

    tables: Sequence[str]
    services: Sequence[str]
    addresses: Sequence[str]
    limit: int

    def part(self, rows: Sequence[Row]) -> Part:
        """Those of a table that fit."""
        fitting = list(filter(self._fits, rows))
        return Part(fitting[: self.limit] if self.limit else fitting, len(fitting))

    def leaves(self, each: LeftName) -> bool:
        """Whether a frontend that is left to nftables fits."""
        wanted = self._serves([each.service])
        return wanted and (not self.addresses or each.address in self.addresses)

    def _fits(self, row: Row) -> bool:
        wanted = self._serves(row.services)
        return wanted and (not self.addresses or not row.addresses.isdisjoint(self.addresses))

    def _serves(self, services: Iterable[str]) -> bool:
        return not self.services or any(
            each.startswith(begin) for each in services for begin in self.services
        )


def wanted(
    tables: Sequence[str], services: Sequence[str], addresses: Sequence[str], limit: int
) -> Wanted:
    """Raises click's usage error; so of a filter for the one table that can never have it."""
    for each in services:
        namespace, slash, _ = each.partition("/")
        if not (namespace and slash):
            raise click.UsageError(f"--service {each}: write NS/NAME, as shop/api")
    if services:
        _require("--service", "Services", tables, {n for n, v in VIEWS.items() if v.of_services})
    if addresses:
        _require("--address", "addresses", tables, {n for n, v in VIEWS.items() if v.addressed})
    try:
        canonical = [canonical_address(each) for each in addresses]
    except ValueError as error:
        raise click.UsageError(f"--address: {error}") from error
    return Wanted(tables, services, canonical, limit)


def _require(option: str, what: str, tables: Sequence[str], knowing: set[str]) -> None:
    """Of several tables those that know nothing of it have no rows that fit."""
    if len(tables) == 1 and tables[0] not in knowing:
        others = ", ".join(name for name in VIEWS if name in knowing)
        raise click.UsageError(f"{option}: {tables[0]} knows no {what}; these do: {others}")
