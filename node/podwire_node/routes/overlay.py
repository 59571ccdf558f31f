"""The overlay: pods' packets inside UDP (VXLAN, RFC 7348), to nodes that no link of ours reaches.

    ┌ IP      our InternalIP → the peer's             20 bytes (40 for IPv6)
    │ UDP     a port of the flow's hash → 8472         8
    │ VXLAN   VNI 112                                  8
    │ Ethernet our device's MAC → the peer's device's 14
    └─┬ IP    pod → pod                               as the pod sent it

Nothing is learned and nothing is flooded: who is where follows from the Nodes alone.

* A device's MAC is made from its node's InternalIP, so no one has to publish it.
* Its addresses are the first after each podCIDR's own (10.244.1.1, fd00:10:244:1::1), which no
  lease ever is: podwire-cni's ranges start one later. What the node itself sends into the
  overlay carries them, so that the answer comes back the same way. (The network's own address,
  which others use, is in IPv6 the subnet-router anycast: no one's source, RFC 4291 2.6.1.)
* One device has one underlay family, because the kernel opens one socket for a `local` address:
  IPv4 where our Node has an IPv4 InternalIP, else IPv6. Pods of both families go through it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv6Address, ip_address, ip_network

from podwire_core.family import Family, family_of, spelled

DEVICE = "podwire-vxlan"  # 13 characters; IFNAMSIZ is 16 with its NUL
ALIAS = "podwire: pods of the nodes that are on no link of ours"

#: Bytes that the overlay puts around a pod's packet, by the underlay's family.
OVERHEAD = {Family.IPV4: 50, Family.IPV6: 70}

#: IPv6 asks this of every link (RFC 8200 section 5).
LEAST_MTU = 1280
MOST_MTU = 65535


class Mode(StrEnum):
    """How pods of other nodes are reached."""

    AUTO = "auto"
    DIRECT = "direct"
    VXLAN = "vxlan"


@dataclass(frozen=True, slots=True)
class OverlaySettings:
    """What the operator chose. mtu: of pods, in bytes; 0 works it out. Raises ValueError."""

    mode: str = Mode.AUTO
    port: int = 8472
    vni: int = 112
    mtu: int = 0

    def __post_init__(self) -> None:
        Mode(self.mode)
        if not 1 <= self.port <= 65535:
            raise ValueError(f"VXLAN port {self.port} is not in 1..65535")
        if not 1 <= self.vni < 1 << 24:
            raise ValueError(f"VXLAN id {self.vni} is not in 1..{(1 << 24) - 1}")
        if self.mtu and not LEAST_MTU <= self.mtu <= MOST_MTU:
            raise ValueError(f"mtu {self.mtu} is neither 0 nor in {LEAST_MTU}..{MOST_MTU}")


@dataclass(frozen=True, slots=True)
class Device:
    """The VXLAN device. plain: it does nothing that we did not ask for (learn, flood, relay)."""

    vni: int
    port: int
    local: str
    mac: str
    mtu: int
    alias: str = ALIAS
    plain: bool = True
    up: bool = True

    def same_tunnel(self, other: Device) -> bool:
        """Whether one becomes the other in place; the kernel changes neither VNI nor port."""
        return self == replace(other, mac=self.mac, mtu=self.mtu, alias=self.alias, up=self.up)

    def __str__(self) -> str:
        tunnel = f"id {self.vni} local {self.local} dstport {self.port}"
        return f"{DEVICE} {tunnel} address {self.mac} mtu {self.mtu}"


@dataclass(frozen=True, slots=True)
class Address:
    """An address of the device with its prefix length; ours stand alone (/32 or /128)."""

    address: str

    def __str__(self) -> str:
        return f"address {self.address} dev {DEVICE}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A peer's overlay address and its device's MAC, known for good."""

    address: str
    mac: str

    def __str__(self) -> str:
        return f"neigh {self.address} lladdr {self.mac} dev {DEVICE}"


@dataclass(frozen=True, slots=True)
class Forward:
    """A peer's device and where its node is. More than one address is someone else's doing."""

    mac: str
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        return f"fdb {self.mac} dst {' '.join(self.addresses)} dev {DEVICE}"


Entry = Address | Neighbour | Forward
EntryKey = tuple[type[Entry], str]


def key_of(entry: Entry) -> EntryKey:
    """What the kernel knows an entry by."""
    return type(entry), entry.mac if isinstance(entry, Forward) else entry.address


def mac_of(address: str) -> str:
    """The MAC of the device whose node has this InternalIP; locally administered, unicast.

    IPv4: 0a:70 and the address, so that a dump can be read. IPv6: 0e and 40 bits of the
    address' SHA-256: among 1,000 nodes two share one in 1 of 2,000,000 clusters.
    """
    parsed = ip_address(address)
    if parsed.version == 4:
        return bytes([0x0A, 0x70, *parsed.packed]).hex(":")
    return bytes([0x0E, *hashlib.sha256(parsed.packed).digest()[:5]]).hex(":")


def device_address(cidr: str) -> str:
    """The overlay address of the node that has this podCIDR: "10.244.1.0/24" → "10.244.1.1"."""
    network = ip_network(cidr)
    return spelled(network[min(1, network.num_addresses - 1)])


def next_hop(cidr: str, mac: str) -> str:
    """What routes to a peer's podCIDR go via on the device: an address with its MAC for good.

    IPv4: the peer's overlay address. IPv6: the fe80:: address of its MAC (RFC 4291 appendix A),
    because Linux refuses a gateway that another route holds, `onlink` or not; the direct
    route to a podCIDR, which may be there until we replace it, holds all that is in it.
    """
    if family_of(cidr) is Family.IPV4:
        return device_address(cidr)
    octets = bytes.fromhex(mac.replace(":", ""))
    eui64 = bytes([octets[0] ^ 0x02, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return spelled(IPv6Address(b"\xfe\x80" + bytes(6) + eui64))


def device_mtu(uplink: int, local: str, configured: int) -> int:
    """The device's MTU in bytes: what an outer packet has room for, and never below IPv6's least.

    uplink: the MTU of the link it goes out by; 0 when that is not known yet.
    configured: what the operator wants pods to have, or 0.
    """
    room = (uplink or 1500) - OVERHEAD[family_of(local)]
    return max(LEAST_MTU, min(room, configured or room))
