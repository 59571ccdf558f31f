"""The kernel's door: applies a plan, removes a link, reads back what is there.

The only module that imports pyroute2. `IPRoute(netns=…)` would start a process per
socket; a socket belongs for ever to the namespace it was opened in, so we step in, open
one, and step out (0.3 ms).

The pod's end is born in the pod's namespace (IFLA_NET_NS_FD inside the peer). Nothing is
moved afterwards: a move waits for an RCU grace period under the kernel's one rtnl lock.
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from pyroute2 import IPRoute, NetlinkError

from podwire_cni.drift import LinkState, State
from podwire_cni.errors import InterfaceExists, KernelRefused
from podwire_cni.family import FAMILIES, IPv6, family_of
from podwire_cni.namespace import entered, write_sysctl
from podwire_cni.plan import Address, Entry, Link, Neighbour, Plan, Route, Side

DEFAULT_MTU = 1500

_IFA_F_NODAD = 0x02  # linux/if_addr.h
_IFF_UP = 0x01  # linux/if.h
_NUD_PERMANENT = 0x80  # linux/neighbour.h
_RTNH_F_ONLINK = 0x04  # linux/rtnetlink.h
_RT_SCOPE_LINK = 253  # linux/rtnetlink.h
_RT_TABLE_MAIN = 254  # linux/rtnetlink.h
_LOOPBACK_INDEX = 1  # LOOPBACK_IFINDEX, include/net/flow.h

_Socket: TypeAlias = Any  # an IPRoute; pyroute2 ships no types
_End: TypeAlias = tuple[_Socket, int]  # one side's socket and its link's index there


def default_mtu() -> int:
    """The MTU of the link that the default route leaves by, IPv4's first, else 1500."""
    with _refusal("host: read default route"), IPRoute() as ip:
        for family in FAMILIES:
            routes = list(ip.get_default_routes(family=family.socket, table=_RT_TABLE_MAIN))
            routes.sort(key=lambda route: route.get("priority") or 0)
            if routes and (index := routes[0].get("oif")):
                return int(ip.link("get", index=index)[0].get("mtu"))
    return DEFAULT_MTU


def apply(plan: Plan, netns: int) -> None:
    """Make the pair and everything on it.

    netns: descriptor of the pod's namespace.  Raises InterfaceExists or KernelRefused and
    may then leave a part behind: `remove_link(plan.host.name)` undoes all of it.
    """
    with ExitStack() as sockets:
        host_socket = sockets.enter_context(IPRoute())
        _create(host_socket, plan, netns)
        ends: dict[Side, _End] = {Side.HOST: (host_socket, _prepare(plan, Side.HOST))}
        with _refusal("pod: enter namespace"), entered(netns):
            ends[Side.POD] = (sockets.enter_context(IPRoute()), _prepare(plan, Side.POD))
        with _refusal("pod: link lo up"):
            ends[Side.POD][0].link("set", index=_LOOPBACK_INDEX, state="up")
        for link in (plan.pod, plan.host):
            _bring_up(ends[link.side], link)
        for entry in plan.entries:
            _install(ends[entry.side], entry)


def remove_link(name: str) -> bool:
    """Remove a link, and with it its peer, addresses, neighbours and routes.

    False when there is none of that name. Raises KernelRefused.
    """
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        return False
    with _refusal(f"host: link del {name}"), IPRoute() as ip:
        try:
            ip.link("del", index=index)
        except NetlinkError as error:
            # The pod's namespace died in between and took the pair along.
            if error.code != errno.ENODEV:
                raise
            return False
    return True


def read_state(plan: Plan, netns: int) -> State:
    """Read what the plan's links carry. netns: descriptor of the pod's namespace."""
    with _refusal("host: read"), IPRoute() as host:
        links, entries = _read_side(host, plan.host)
    with _refusal("pod: read"), entered(netns), IPRoute() as pod:
        pod_links, pod_entries = _read_side(pod, plan.pod)
    return State((*links, *pod_links), frozenset((*entries, *pod_entries)))


def _create(ip: _Socket, plan: Plan, netns: int) -> None:
    if _create_pair(ip, plan, netns):
        return
    # Either end's name may be taken. Only this attachment can have the host end's name:
    # that is what a killed ADD left, and its peer goes with it. The rest is not ours.
    if remove_link(plan.host.name) and _create_pair(ip, plan, netns):
        return
    raise InterfaceExists(f"the pod already has an interface {plan.pod.name}")


def _create_pair(ip: _Socket, plan: Plan, netns: int) -> bool:
    """Create both ends in one message; False when a name is taken."""
    with _refusal(plan.host):
        try:
            # A hardware address given at birth is NET_ADDR_SET: systemd's
            # MACAddressPolicy=persistent then leaves it alone.
            ip.link(
                "add",
                kind="veth",
                ifname=plan.host.name,
                address=plan.host.mac,
                mtu=plan.mtu,
                peer={
                    "ifname": plan.pod.name,
                    "address": plan.pod.mac,
                    "mtu": plan.mtu,
                    "net_ns_fd": netns,
                },
            )
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            return False
    return True


def _prepare(plan: Plan, side: Side) -> int:
    """Write the side's sysctls from within its namespace; the index of its link."""
    for sysctl in plan.sysctls:
        if sysctl.side is side:
            with _refusal(sysctl):
                write_sysctl(sysctl.path, sysctl.value)
    link = plan.host if side is Side.HOST else plan.pod
    with _refusal(link):
        return socket.if_nametoindex(link.name)


def _bring_up(end: _End, link: Link) -> None:
    ip, index = end
    with _refusal(link):
        ip.link("set", index=index, state="up", ifalias=link.alias)


def _install(end: _End, entry: Entry) -> None:
    with _refusal(entry):
        match entry:
            case Address():
                _install_address(*end, entry)
            case Neighbour(address=address, mac=mac):
                ip, index = end
                ip.neigh("replace", dst=str(address), lladdr=mac, ifindex=index, state="permanent")
            case Route():
                _install_route(*end, entry)


def _install_address(ip: _Socket, index: int, entry: Address) -> None:
    flags = _IFA_F_NODAD if family_of(entry.address) is IPv6 else 0
    ip.addr(
        "add",
        index=index,
        address=str(entry.address),
        prefixlen=entry.address.max_prefixlen,
        flags=flags,
    )


def _install_route(ip: _Socket, index: int, entry: Route) -> None:
    # On the host the newest lease wins over a route whose lease was lost. In the pod a
    # second default route is refused: see README, "What it is not".
    verb = "replace" if entry.side is Side.HOST else "add"
    way: dict[str, object] = {"scope": _RT_SCOPE_LINK}
    if entry.gateway:
        way = {"gateway": str(entry.gateway), "flags": _RTNH_F_ONLINK}
    family = family_of(entry.destination).socket
    ip.route(verb, family=family, dst=str(entry.destination), oif=index, **way)


def _read_side(ip: _Socket, link: Link) -> tuple[list[LinkState], list[Entry]]:
    try:
        found = next(iter(ip.link("get", ifname=link.name)))
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise
        return [], []
    index = found["index"]
    state = LinkState(link.side, link.name, found.get("address"), bool(found["flags"] & _IFF_UP))
    entries: list[Entry] = [
        *_read_addresses(ip, index, link),
        *_read_neighbours(ip, index, link),
        *_read_routes(ip, index, link),
    ]
    return [state], entries


def _read_addresses(ip: _Socket, index: int, link: Link) -> Iterator[Address]:
    for message in ip.get_addr(index=index):
        address = ipaddress.ip_address(message.get("local") or message.get("address"))
        if message["prefixlen"] == address.max_prefixlen:
            yield Address(link.side, link.name, address)


def _read_neighbours(ip: _Socket, index: int, link: Link) -> Iterator[Neighbour]:
    for message in ip.get_neighbours(ifindex=index):
        if message["state"] & _NUD_PERMANENT:
            address = ipaddress.ip_address(message.get("dst"))
            yield Neighbour(link.side, link.name, address, message.get("lladdr"))


def _read_routes(ip: _Socket, index: int, link: Link) -> Iterator[Route]:
    for family in FAMILIES:
        for message in ip.get_routes(family=family.socket, table=_RT_TABLE_MAIN, oif=index):
            base = message.get("dst") or family.everything.network_address
            destination = ipaddress.ip_network((base, message["dst_len"]))
            gateway = message.get("gateway")
            yield Route(
                link.side,
                link.name,
                destination,
                ipaddress.ip_address(gateway) if gateway else None,
            )


@contextmanager
def _refusal(what: object) -> Iterator[None]:
    """Turn the kernel's refusal into a KernelRefused that quotes the step."""
    try:
        yield
    except NetlinkError as error:
        raise KernelRefused(f"kernel refused `{what}`: {os.strerror(error.code)}") from error
    except OSError as error:
        raise KernelRefused(f"kernel refused `{what}`: {error.strerror}") from error
