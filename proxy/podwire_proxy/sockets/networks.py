"""Whether an address is in one of some networks: asked of a hundred thousand at a start."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from ipaddress import ip_network

from podwire_core.family import Family, family_of

_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class Networks:
    """CIDRs in their canonical spelling."""

    def __init__(self, cidrs: Collection[str]) -> None:
        self._rows: dict[Family, list[tuple[int, int]]] = {}
        for each in map(ip_network, cidrs):
            row = (int(each.network_address), int(each.netmask))
            self._rows.setdefault(family_of(str(each)), []).append(row)

    def hold_any(self, addresses: Iterable[str], family: Family) -> bool:
        """Whether one of these addresses, all of one family, is in there."""
        rows = self._rows.get(family)
        return bool(rows) and any(self._hold(each, family) for each in addresses)

    def _hold(self, address: str, family: Family) -> bool:
        number = int.from_bytes(socket.inet_pton(_FAMILIES[family], address), "big")
        return any(number & mask == network for network, mask in self._rows[family])
