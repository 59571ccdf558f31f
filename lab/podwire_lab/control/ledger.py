"""Who has which address and which port: of the Services' range, of the balancers', of the nodes.

1  what an author asks for and what a Service holds already is given; who holds goes first
2  what is still missing takes the lowest free one
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from podwire_core.family import Family
from podwire_core.objects import ObjectName
from podwire_lab.topology import (
    BALANCERS_V4,
    BALANCERS_V6,
    NODE_PORTS,
    SERVICES_V4,
    SERVICES_V6,
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: What is given from. No two hold one value, so that a value tells its pool.
Pool = Network | range

CLUSTER_POOLS: Mapping[Family, Network] = {Family.IPV4: SERVICES_V4, Family.IPV6: SERVICES_V6}
BALANCER_POOLS: Mapping[Family, Network] = {Family.IPV4: BALANCERS_V4, Family.IPV6: BALANCERS_V6}
PORTS: Pool = NODE_PORTS
#: Addresses below this one are for those that ask for them; DNS has .10.
FIRST_FREE = 11


class RefusedError(ValueError):
    """A Service that cannot be served: the field at fault, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


@dataclass(frozen=True)
class Claim:
    """One thing that a Service needs of a pool: an address, or a port.

    field: where it is published. asked: what its author wrote; held: what was published before;
    "" is neither.
    """

    field: str
    pool: Pool
    asked: str = ""
    held: str = ""


class Ledger:
    """Who has what. Keys are the values' text."""

    def __init__(self) -> None:
        self._holder: dict[str, ObjectName] = {}
        self._given: dict[ObjectName, dict[str, str]] = {}
        self._free: dict[Pool, Iterator[str]] = {}

    def given(self, service: ObjectName) -> Mapping[str, str]:
        """What a Service got, by field."""
        return self._given.get(service, {})

    def settle(self, service: ObjectName, claims: Sequence[Claim]) -> None:
        """Give a Service what it asks for or holds. Raises RefusedError, having given nothing."""
        for row in claims:
            if row.asked:
                self._check(service, row)
        for row in claims:
            value = row.asked or row.held
            if value and self._holder.get(value, service) == service:
                self._give(service, row, value)

    def fill(self, service: ObjectName, claims: Sequence[Claim]) -> None:
        """Give a Service what is still missing: the lowest that is free. Raises RefusedError."""
        for row in claims:
            if row.field not in self.given(service):
                free = next(self._unheld(row.pool), "")
                if not free:
                    raise RefusedError(row.field, "cannot be given: none is free")
                self._give(service, row, free)

    def _check(self, service: ObjectName, row: Claim) -> None:
        holder = self._holder.get(row.asked, service)
        if holder != service:
            raise RefusedError(row.field, f"{row.asked} belongs to Service {holder}")
        if isinstance(row.pool, range):
            if int(row.asked) not in row.pool:
                span = f"{row.pool[0]}-{row.pool[-1]}"
                raise RefusedError(row.field, f"{row.asked} is outside {span}")
        elif ipaddress.ip_address(row.asked) not in row.pool:
            raise RefusedError(row.field, f"{row.asked} is outside {row.pool}")

    def _give(self, service: ObjectName, row: Claim, value: str) -> None:
        self._holder[value] = service
        self._given.setdefault(service, {})[row.field] = value

    def _unheld(self, pool: Pool) -> Iterator[str]:
        """A pool's free values. One iterator a pool, which is gone through once."""
        free = self._free.setdefault(pool, _values(pool))
        return (value for value in free if value not in self._holder)


def _values(pool: Pool) -> Iterator[str]:
    if isinstance(pool, range):
        return map(str, pool)
    return (str(pool[number]) for number in range(FIRST_FREE, pool.num_addresses - 1))
