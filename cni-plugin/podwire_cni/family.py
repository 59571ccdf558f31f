"""What differs between IPv4 and IPv6, as a value instead of an `if`.

The gateways are the same for every pod on every node. Neither is ever assigned to an
interface: a permanent neighbour entry in the pod answers for it (see `plan`).
"""

import ipaddress
import socket
from dataclasses import dataclass
from typing import TypeAlias

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Family:
    """One address family.

    number: 4 or 6, as in the result's `ips[].version`.
    socket: the kernel's AF_INET or AF_INET6.
    gateway: the pod's next hop; link-local, so it needs no address of the node's.
    everything: the destination of a default route.
    """

    number: int
    socket: int
    gateway: IPAddress
    everything: IPNetwork

    def __str__(self) -> str:
        return f"IPv{self.number}"


IPv4 = Family(
    number=4,
    socket=socket.AF_INET,
    gateway=ipaddress.IPv4Address("169.254.1.1"),
    everything=ipaddress.IPv4Network("0.0.0.0/0"),
)
IPv6 = Family(
    number=6,
    socket=socket.AF_INET6,
    gateway=ipaddress.IPv6Address("fe80::1"),
    everything=ipaddress.IPv6Network("::/0"),
)
FAMILIES = (IPv4, IPv6)


def family_of(value: IPAddress | IPNetwork) -> Family:
    """The family of an address or a network."""
    return IPv4 if value.version == 4 else IPv6


def host_network(address: IPAddress) -> IPNetwork:
    """The address as a /32 or /128."""
    return ipaddress.ip_network(address)
