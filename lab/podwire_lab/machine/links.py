"""The cables of the lab: the fabric's bridge, and one veth pair per node plugged into it.

    fabric netns                              node netns
    fabric0 (bridge, the gateways) ── node1 ═══ uplink0 ── default routes, forwarding

The one file of the lab that imports pyroute2.
"""

from __future__ import annotations

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from podwire_lab.machine import namespaces
from podwire_lab.topology import (
    BALANCERS_V4,
    BALANCERS_V6,
    FABRIC_V4,
    FABRIC_V6,
    Lab,
    LabNode,
)

#: What the kernel's refusals are, for those who may not import pyroute2.
LinkError = NetlinkError

BRIDGE = "fabric0"
UPLINK = "uplink0"

_PREFIX_LENGTHS = (FABRIC_V4.prefixlen, FABRIC_V6.prefixlen)
_NO_DAD = 0x02  # IFA_F_NODAD: the plan has no duplicates, and DAD costs a second

#: Set before any link is there: `default` is what new links begin with.
_ANY_SYSCTLS = {
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.accept_ra": "0",
}
_NODE_SYSCTLS = {
    **_ANY_SYSCTLS,
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv6.conf.default.forwarding": "1",
    "net.ipv4.conf.all.rp_filter": "0",  # a translated reply may come back another way
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}


def make_fabric(lab: Lab) -> None:
    """The namespace with the bridge that has the gateway addresses."""
    namespaces.create(lab.fabric, _ANY_SYSCTLS)

    def build() -> None:
        with IPRoute() as ip:
            ip.link("add", ifname=BRIDGE, kind="bridge", br_mcast_snooping=0)
            bridge = _index(ip, BRIDGE)
            _add_addresses(ip, bridge, lab.gateways)
            ip.link("set", index=bridge, state="up")

    namespaces.inside(lab.fabric, build)


def make_node(lab: Lab, node: LabNode) -> None:
    """A node's namespace with its leg on the fabric, made with both ends where they belong."""
    namespaces.create(node.netns, _NODE_SYSCTLS)

    def build() -> None:
        with IPRoute() as ip:
            peer = {"ifname": node.name, "net_ns_fd": str(namespaces.path(lab.fabric))}
            ip.link("add", ifname=UPLINK, kind="veth", peer=peer)
            uplink = _index(ip, UPLINK)
            ip.link("set", index=uplink, state="up", ifalias=f"{node.name} on the fabric")
            _add_addresses(ip, uplink, node.ips)

    def plug() -> None:
        with IPRoute() as ip:
            ip.link(
                "set",
                index=_index(ip, node.name),
                master=_index(ip, BRIDGE),
                state="up",
                ifalias=f"to {UPLINK} of {node.name}",
            )

    def route() -> None:
        with IPRoute() as ip:
            uplink = _index(ip, UPLINK)
            for gateway, everything in zip(lab.gateways, ("0.0.0.0/0", "::/0"), strict=True):
                ip.route("add", dst=everything, gateway=gateway, oif=uplink)

    namespaces.inside(node.netns, build)
    namespaces.inside(lab.fabric, plug)
    namespaces.inside(node.netns, route)


def route_balancers(lab: Lab) -> None:
    """The world sends the balancers' addresses to the first node, as a provider's network does."""

    def route() -> None:
        with IPRoute() as ip:
            ranges = (BALANCERS_V4, BALANCERS_V6)
            for addresses, gateway in zip(ranges, lab.nodes[0].ips, strict=True):
                ip.route("add", dst=str(addresses), gateway=gateway, oif=_index(ip, BRIDGE))

    namespaces.inside(lab.fabric, route)


def try_links() -> None:
    """Make the lab's kinds of links in the calling thread's namespace. Raises when refused."""
    with IPRoute() as ip:
        ip.link("add", ifname=BRIDGE, kind="bridge")
        ip.link("add", ifname=UPLINK, kind="veth", peer={"ifname": "peer0"})


def _add_addresses(ip: IPRoute, index: int, addresses: tuple[str, str]) -> None:
    for address, length in zip(addresses, _PREFIX_LENGTHS, strict=True):
        ip.addr("add", index=index, address=address, prefixlen=length, flags=_NO_DAD)


def _index(ip: IPRoute, name: str) -> int:
    return int(ip.link_lookup(ifname=name)[0])
