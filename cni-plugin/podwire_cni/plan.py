"""What one pod's wiring consists of, decided before the kernel is asked.

Pure: an attachment, its addresses and an MTU make a `Plan`. The same values give the same
plan, byte for byte, because even the hardware addresses follow from the attachment. That
is why both ends' neighbours are known in advance and no ARP or neighbour discovery ever
runs on the link.

`Address`, `Neighbour` and `Route` are also what `netlink` reads back, so CHECK is a set
difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from podwire_cni.attachment import Attachment
from podwire_cni.family import Family, IPAddress, IPNetwork, IPv6, family_of, host_network

# IFALIASZ is 256 with its NUL. A namespace has at most 63 characters and a pod's name 253,
# so the longest pair does not fit and loses its tail.
_ALIAS_BYTES = 255

_IPV4_FORWARDING = "net/ipv4/ip_forward"
_IPV6_FORWARDING = "net/ipv6/conf/all/forwarding"
FORWARDING = frozenset({_IPV4_FORWARDING, _IPV6_FORWARDING})  # the node-wide switches


class Side(StrEnum):
    """Which end of the veth pair, and so which network namespace."""

    HOST = "host"
    POD = "pod"


@dataclass(frozen=True, slots=True)
class Link:
    """One end of the veth pair. `alias` is what `ip -d link` shows."""

    side: Side
    name: str
    mac: str
    alias: str

    def __str__(self) -> str:
        return f"{self.side}: link {self.name} address {self.mac} alias {self.alias}"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A file under /proc/sys in one side's namespace, and its value."""

    side: Side
    path: str
    value: str

    def __str__(self) -> str:
        return f"{self.side}: sysctl {self.path} = {self.value}"


@dataclass(frozen=True, slots=True)
class Address:
    """An address on its own, /32 or /128: nothing else is on the link."""

    side: Side
    device: str
    address: IPAddress

    def __str__(self) -> str:
        nodad = " nodad" if family_of(self.address) is IPv6 else ""
        return f"{self.side}: addr {host_network(self.address)} dev {self.device}{nodad}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour."""

    side: Side
    device: str
    address: IPAddress
    mac: str

    def __str__(self) -> str:
        return (
            f"{self.side}: neigh {self.address} lladdr {self.mac} dev {self.device} nud permanent"
        )


@dataclass(frozen=True, slots=True)
class Route:
    """A route out of a device; without a gateway its scope is the link."""

    side: Side
    device: str
    destination: IPNetwork
    gateway: IPAddress | None = None

    def __str__(self) -> str:
        # onlink: the gateway need not be covered by another route.
        way = (
            f"via {self.gateway} dev {self.device} onlink"
            if self.gateway
            else (f"dev {self.device} scope link")
        )
        return f"{self.side}: route {self.destination} {way}"


Entry: TypeAlias = Address | Neighbour | Route


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything an ADD installs, in the order it is installed.

    host, pod: the veth pair's ends, both with `mtu` bytes.
    sysctls: written between the links' creation and their coming up.
    entries: what the two ends then carry; also what CHECK expects to find.
    """

    host: Link
    pod: Link
    mtu: int
    sysctls: tuple[Sysctl, ...]
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        lines = (self.host, self.pod, f"mtu {self.mtu}", *self.sysctls, *self.entries)
        return "\n".join(str(line) for line in lines)


def make_plan(attachment: Attachment, pod: str, addresses: Sequence[IPAddress], mtu: int) -> Plan:
    """Decide the wiring.

    pod: "namespace/name", for the aliases.  addresses: at most one of each family.
    mtu: bytes.
    """
    alias = pod.encode()[:_ALIAS_BYTES].decode(errors="ignore")
    host = Link(Side.HOST, attachment.host_name, attachment.host_mac, alias)
    inner = Link(Side.POD, attachment.interface, attachment.pod_mac, alias)
    families = [family_of(address) for address in addresses]
    return Plan(
        host=host,
        pod=inner,
        mtu=mtu,
        sysctls=tuple(s for family in families for s in _sysctls(family, host, inner)),
        entries=tuple(e for address in addresses for e in _entries(address, host, inner)),
    )


def _sysctls(family: Family, host: Link, pod: Link) -> tuple[Sysctl, ...]:
    return _ipv6_sysctls(host, pod) if family is IPv6 else _ipv4_sysctls(host)


def _ipv4_sysctls(host: Link) -> tuple[Sysctl, ...]:
    return (
        Sysctl(Side.HOST, _IPV4_FORWARDING, "1"),
        # Strict reverse path: the route to the pod's address leads back to this link, so a
        # pod that borrows another's address is dropped before any policy sees it. The
        # kernel takes the larger of this and `all`, in which 2 (loose) would win.
        Sysctl(Side.HOST, f"net/ipv4/conf/{host.name}/rp_filter", "1"),
    )


def _ipv6_sysctls(host: Link, pod: Link) -> tuple[Sysctl, ...]:
    forwarding = Sysctl(Side.HOST, _IPV6_FORWARDING, "1")
    return (forwarding, *_ipv6_link_sysctls(host), *_ipv6_link_sysctls(pod))


def _ipv6_link_sysctls(link: Link) -> tuple[Sysctl, ...]:
    values = {
        # Container runtimes and distributions may have switched IPv6 off by default.
        "disable_ipv6": "0",
        # Nobody advertises a router on this link, except an attacker.
        "accept_ra": "0",
        # Duplicate detection would hold the address back for a second; the lease
        # database already knows that there is no duplicate.
        "accept_dad": "0",
        "dad_transmits": "0",
        # No fe80:: address of its own (IN6_ADDR_GEN_MODE_NONE): nothing would use it.
        "addr_gen_mode": "1",
    }
    prefix = f"net/ipv6/conf/{link.name}"
    return tuple(Sysctl(link.side, f"{prefix}/{key}", value) for key, value in values.items())


def _entries(address: IPAddress, host: Link, pod: Link) -> tuple[Entry, ...]:
    family = family_of(address)
    gateway = family.gateway
    return (
        Address(Side.POD, pod.name, address),
        Neighbour(Side.POD, pod.name, gateway, host.mac),
        Route(Side.POD, pod.name, host_network(gateway)),
        Route(Side.POD, pod.name, family.everything, gateway),
        Neighbour(Side.HOST, host.name, address, pod.mac),
        Route(Side.HOST, host.name, host_network(address)),
    )
