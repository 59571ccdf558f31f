"""What one pod's wiring consists of, decided before the kernel is asked.

Pure: an attachment, its addresses and an MTU make a `Plan`. The same values give the same
plan, byte for byte, because even the hardware addresses follow from the attachment. That
is why both ends' neighbours are known in advance and no ARP or neighbour discovery ever
runs on the link.

`Address`, `Neighbour`, `Route` and `Qdisc` are also what `netlink` reads back, so CHECK is a
set difference.

Nobody needs a gratuitous ARP or an unsolicited advertisement: the node is the pod's only
neighbour, and an ADD replaces what the node knows of an address' last owner.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from podwire_cni.attachment import Attachment
from podwire_cni.family import Family, IPAddress, IPNetwork, IPv6, family_of, host_network
from podwire_cni.limits import Bandwidth
from podwire_cni.shaping import shape

# IFLA_IFALIAS takes 255, its NUL counted. A namespace has at most 63 characters and a pod's
# name 253, so the longest pair does not fit and loses its tail.
_ALIAS_BYTES = 254

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
    """A file under /proc/sys in one side's namespace, and its value.

    as_good: other values, which do the same; an ADD does not ask for them.
    """

    side: Side
    path: str
    value: str
    as_good: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.side}: sysctl {self.path} = {self.value}"


@dataclass(frozen=True, slots=True)
class Address:
    """An address on its own, /32 or /128: nothing else is on the link."""

    side: Side
    device: str
    address: IPAddress

    def __str__(self) -> str:
        # Duplicate detection would hold the address back for a second; the lease database
        # already knows that there is no duplicate.
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


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A token bucket filter at the root of a device: what leaves by it has a rate.

    rate: bytes per second; burst and limit, the bucket's and the queue's size, bytes. The kernel
    keeps the latter in units of its own, so two of one rate are the same.
    """

    side: Side
    device: str
    rate: int
    burst: int = field(default=0, compare=False)
    limit: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.side}: qdisc dev {self.device} root tbf rate {8 * self.rate}bit"


Entry: TypeAlias = Address | Neighbour | Route | Qdisc


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

    @property
    def families(self) -> tuple[Family, ...]:
        """Of the pod's addresses, in their order."""
        addresses = (each.address for each in self.entries if isinstance(each, Address))
        return tuple(family_of(address) for address in addresses)

    def on(self, side: Side) -> tuple[Entry, ...]:
        """What one side's link carries, in the order it is installed."""
        return tuple(entry for entry in self.entries if entry.side is side)

    def __str__(self) -> str:
        lines = (self.host, self.pod, f"mtu {self.mtu}", *self.sysctls, *self.entries)
        return "\n".join(str(line) for line in lines)


def make_plan(
    attachment: Attachment,
    pod: str,
    addresses: Sequence[IPAddress],
    mtu: int,
    *,
    mac: str = "",
    bandwidth: Bandwidth | None = None,
    localhost: bool = False,
) -> Plan:
    """Decide the wiring.

    pod: "namespace/name", for the aliases.  addresses: at most one of each family.
    mtu: bytes.  mac: the pod end's, or "" for the attachment's own.  localhost: whether
    127.0.0.1 of the node leads to the pod, as a hostPort does.
    """
    alias = pod.encode()[:_ALIAS_BYTES].decode(errors="ignore")
    host = Link(Side.HOST, attachment.host_name, attachment.host_mac, alias)
    inner = Link(Side.POD, attachment.interface, mac.lower() or attachment.pod_mac, alias)
    families = [family_of(address) for address in addresses]
    entries = [entry for address in addresses for entry in _entries(address, host, inner)]
    return Plan(
        host=host,
        pod=inner,
        mtu=mtu,
        sysctls=tuple(
            sysctl
            for family in families
            for sysctl in _sysctls(family, host, inner, localhost=localhost)
        ),
        entries=(*entries, *_qdiscs(bandwidth or Bandwidth(), host, inner, mtu)),
    )


def _sysctls(family: Family, host: Link, pod: Link, *, localhost: bool) -> tuple[Sysctl, ...]:
    if family is IPv6:
        return _ipv6_sysctls(host, pod)
    return (*_ipv4_sysctls(host), *([_localhost(host)] if localhost else ()))


def _localhost(host: Link) -> Sysctl:
    """Let 127.0.0.0/8 through this link.

    Only for a hostPort, which `Host.admit` put in force: with it comes the rule that keeps the pod
    from what listens at the node's 127.0.0.1 (CVE-2020-8558).
    """
    return Sysctl(Side.HOST, f"net/ipv4/conf/{host.name}/route_localnet", "1")


def strict_source(host_name: str) -> Sysctl:
    """The host end drops what does not come from its pod's own IPv4 address.

    Strict reverse path: the route to the pod's address leads back to this link, so a pod that
    borrows another's is dropped before any policy sees it. Loose (2) drops the same, because the
    host end has no address of its own (__fib_validate_source, net/ipv4/fib_frontend.c); udev
    writes it to each new link (systemd's 50-default.conf), and Ubuntu to `all`, which the kernel
    takes where it is larger.
    """
    return Sysctl(Side.HOST, f"net/ipv4/conf/{host_name}/rp_filter", "1", as_good=("2",))


def _ipv4_sysctls(host: Link) -> tuple[Sysctl, ...]:
    return (Sysctl(Side.HOST, _IPV4_FORWARDING, "1"), strict_source(host.name))


def _ipv6_sysctls(host: Link, pod: Link) -> tuple[Sysctl, ...]:
    forwarding = Sysctl(Side.HOST, _IPV6_FORWARDING, "1")
    return (forwarding, *_ipv6_link_sysctls(host), *_ipv6_link_sysctls(pod))


def _ipv6_link_sysctls(link: Link) -> tuple[Sysctl, ...]:
    values = {
        # Container runtimes and distributions may have switched IPv6 off by default.
        "disable_ipv6": "0",
        # Nobody advertises a router on this link, except an attacker.
        "accept_ra": "0",
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


def _qdiscs(limits: Bandwidth, host: Link, pod: Link, mtu: int) -> tuple[Entry, ...]:
    """What the pod receives leaves the host's end; what it sends, its own.

    At its own end a sender that is too fast is held back, and nothing is dropped on the way to
    a device of another kind (README, "Bandwidth").
    """
    directions = (
        (host, limits.ingress_rate, limits.ingress_burst),
        (pod, limits.egress_rate, limits.egress_burst),
    )
    return tuple(
        Qdisc(link.side, link.name, *shape(rate, burst, mtu))
        for link, rate, burst in directions
        if rate
    )
