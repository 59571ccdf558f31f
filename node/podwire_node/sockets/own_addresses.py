"""The node's own addresses at which NodePorts answer, as they come and go.

    rtnetlink announces ─► the node's addresses ∩ where NodePorts answer ─► the map `addresses`

Loopback is no row: the programs know it (LOCALHOST). Link-local IPv6 addresses are none either: one
may be on two links, this node's here and a neighbour's there. nftables serves these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

from podwire_ebpf.layout import ADDRESSES
from podwire_node.announcements import Announcements
from podwire_node.stale.addresses import Addresses

_GROUPS = 0x10 | 0x100  # linux/rtnetlink.h: RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
MAX = ADDRESSES.max_entries


class OwnAddresses:
    """Those of the network namespace it was made in. Close it."""

    def __init__(self) -> None:
        self._addresses = Addresses()
        self._announced = Announcements(_GROUPS)

    def fileno(self) -> int:
        """Readable when an address came or went."""
        return self._announced.fileno()

    def close(self) -> None:
        """Listen no more."""
        self._announced.close()
        self._addresses.close()

    def hear(self) -> None:
        """Take the announcements."""
        self._announced.any()

    def within(self, networks: Sequence[str]) -> frozenset[str]:
        """Those in these networks, at most MAX. Raises OSError."""
        return answering(self._addresses.read(), networks)


def answering(packed: Iterable[bytes], networks: Sequence[str]) -> frozenset[str]:
    """Addresses of these, of 4 or 16 bytes, at which NodePorts answer (pure)."""
    asked = [ip_network(each) for each in networks]
    found = sorted(ip_address(each) for each in packed if len(each) == 4)
    found6 = sorted(ip_address(each) for each in packed if len(each) == 16)
    return frozenset(
        [
            str(each)
            for each in (*found, *found6)
            if not (each.is_loopback or (each.version == 6 and each.is_link_local))
            if any(each in network for network in asked)
        ][:MAX]
    )
