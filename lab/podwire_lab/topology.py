"""A lab as a value: its nodes and its address plan. Drawings and set-up both start here.

All addresses live in namespaces of the lab that are linked to nothing else, so every lab
uses the same plan and two labs never meet.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum

import msgspec

MAX_NODES = 200
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?")

FABRIC_V4 = ipaddress.IPv4Network("192.168.100.0/24")
FABRIC_V6 = ipaddress.IPv6Network("fd00:192:168:100::/64")
CLUSTER_V4 = ipaddress.IPv4Network("10.244.0.0/16")
CLUSTER_V6 = "fd00:10:244"  # …:NUMBER::/64 for each node
SERVICES_V4 = ipaddress.IPv4Network("10.96.0.0/16")
SERVICES_V6 = ipaddress.IPv6Network("fd00:10:96::/112")
#: What LoadBalancers get their addresses from; the world sends all of it to the first node.
BALANCERS_V4 = ipaddress.IPv4Network("192.168.101.0/24")
BALANCERS_V6 = ipaddress.IPv6Network("fd00:192:168:101::/112")
DNS_V4 = "10.96.0.10"
NODE_PORTS = range(30000, 32768)


class LabNode(msgspec.Struct, frozen=True):
    """One node: a network namespace with an agent, a runner, and a leg on the fabric.

    `pod_cidrs` is the plan; a real control plane gives a node others, which its Node object has.
    `zone`: of its label topology.kubernetes.io/zone; "" for none.
    """

    name: str
    netns: str
    ips: tuple[str, str]
    pod_cidrs: tuple[str, str]
    zone: str = ""


class Proxy(StrEnum):
    """Who serves Services on the lab's nodes; anyone but podwire needs a real control plane."""

    PODWIRE = "podwire"
    KUBE_PROXY = "kube-proxy"  # in nftables mode
    KUBE_PROXY_IPTABLES = "kube-proxy-iptables"


class ProxyMode(StrEnum):
    """What answers for Services on the lab's nodes, where podwire serves them."""

    NFTABLES = "nftables"
    EBPF = "ebpf"  # programs at sockets, and nftables for what they leave
    AUTO = "auto"  # these where the kernel has what they need


class Lab(msgspec.Struct, frozen=True):
    """A lab. `fabric` is the namespace that holds the bridge between the nodes.

    The fabric is also where the world outside the cluster is: its bridge has the gateway
    addresses, and a client run there is a client that belongs to no node.
    `kubernetes`: a real control plane runs there, in place of the small one.
    """

    name: str
    fabric: str
    nodes: tuple[LabNode, ...]
    gateways: tuple[str, str] = (str(FABRIC_V4[1]), str(FABRIC_V6[1]))
    kubernetes: bool = False
    proxy: Proxy = Proxy.PODWIRE
    proxy_mode: ProxyMode = ProxyMode.NFTABLES

    def node(self, name: str) -> LabNode:
        """A node by its name. Raises KeyError."""
        return {node.name: node for node in self.nodes}[name]

    @property
    def prefix(self) -> str:
        """What the names of all its network namespaces begin with; no other lab's begin so."""
        return f"{netns_prefix(self.name)}"


def netns_prefix(lab: str) -> str:
    """Names of a lab's namespaces: pw.LAB.fabric, pw.LAB.NODE, pw.LAB.pod.NAMESPACE.NAME."""
    return f"pw.{lab}."


def plan_lab(
    name: str,
    nodes: int,
    *,
    kubernetes: bool = False,
    proxy: Proxy = Proxy.PODWIRE,
    proxy_mode: ProxyMode = ProxyMode.NFTABLES,
    zones: Sequence[str] = (),
) -> Lab:
    """The lab of that name with node1 … nodeN, which stand in the zones in turn.

    Raises ValueError for a name that is no DNS label of at most 20 characters, for a number
    of nodes outside 1…200 (a node takes one address of the fabric's /24), for a kube-proxy
    that would have no API server to ask, and for one in a mode of ours.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"lab name {name!r}: use at most 20 of a-z, 0-9 and -")
    if not 1 <= nodes <= MAX_NODES:
        raise ValueError(f"{nodes} nodes: a lab has 1 to {MAX_NODES}")
    if proxy is not Proxy.PODWIRE and not kubernetes:
        raise ValueError(f"proxy {proxy}: it needs a real control plane, add --kubernetes")
    if proxy is not Proxy.PODWIRE and proxy_mode is not ProxyMode.NFTABLES:
        raise ValueError(f"proxy mode {proxy_mode}: it is podwire's, leave --proxy {proxy} away")
    prefix = netns_prefix(name)
    v4 = list(CLUSTER_V4.subnets(new_prefix=24))
    return Lab(
        name=name,
        fabric=f"{prefix}fabric",
        nodes=tuple(
            LabNode(
                name=f"node{number}",
                netns=f"{prefix}node{number}",
                ips=(str(FABRIC_V4[10 + number]), str(FABRIC_V6[_alike(10 + number)])),
                pod_cidrs=(str(v4[number]), f"{CLUSTER_V6}:{number}::/64"),
                zone=zones[(number - 1) % len(zones)] if zones else "",
            )
            for number in range(1, nodes + 1)
        ),
        kubernetes=kubernetes,
        proxy=proxy,
        proxy_mode=proxy_mode,
    )


def _alike(number: int) -> int:
    """The number whose hexadecimal digits read like these decimal ones: 12 → 0x12.

    So 192.168.100.12 and fd00:192:168:100::12 are seen to be one node's.
    """
    return int(str(number), 16)
