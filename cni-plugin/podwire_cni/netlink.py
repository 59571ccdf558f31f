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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from podwire_cni.errors import InterfaceExists, KernelRefused
from podwire_cni.family import FAMILIES, IPv6, family_of, host_network
from podwire_cni.namespace import entered, write_sysctl
from podwire_cni.plan import Address, Entry, Link, Neighbour, Plan, Route, Side, Sysctl

DEFAULT_MTU = 1500

_IFA_F_NODAD = 0x02  # linux/if_addr.h
_IFF_UP = 0x01  # linux/if.h
_NUD_PERMANENT = 0x80  # linux/neighbour.h
_RTNH_F_ONLINK = 0x04  # linux/rtnetlink.h
_RT_SCOPE_LINK = 253  # linux/rtnetlink.h
_RT_TABLE_MAIN = 254  # linux/rtnetlink.h
_LOOPBACK_INDEX = 1  # LOOPBACK_IFINDEX, include/net/flow.h

# One side's socket and the index of the plan's link there. pyroute2 ships no types.
_End = tuple[Any, int]


@dataclass(frozen=True, slots=True)
class State:
    """What a plan's two links carry now.

    links: those that exist and are up, with their present hardware address.
    entries: permanent neighbours, /32 and /128 addresses, routes of the main table.
    """

    links: frozenset[tuple[Side, str]]
    entries: frozenset[Entry]


def default_mtu() -> int:
    """The MTU of the link that the default route leaves by, IPv4's first, else 1500."""
    with IPRoute() as ip:
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
            _bring_up(*ends[link.side], link)
        for entry in plan.entries:
            _install(*ends[entry.side], entry)


def remove_link(name: str) -> bool:
    """Remove a link, and with it its peer, addresses, neighbours and routes.

    False when there is none of that name. Raises KernelRefused.
    """
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        return False
    with IPRoute() as ip, _refusal(f"host: link del {name}"):
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
    with IPRoute() as host, _refusal("host: read"):
        links, entries = _read_side(host, plan.host)
    with entered(netns), IPRoute() as pod, _refusal("pod: read"):
        pod_links, pod_entries = _read_side(pod, plan.pod)
    return State(frozenset((*links, *pod_links)), frozenset((*entries, *pod_entries)))


def _create(ip: Any, plan: Plan, netns: int) -> None:  # noqa: ANN401 - untyped pyroute2
    try:
        _create_pair(ip, plan, netns)
    except FileExistsError:
        # Either end may be in the way. Ours is known by the host end's name, which only
        # this attachment can have: what a killed ADD left. Anything else is not ours.
        if not remove_link(plan.host.name):
            raise InterfaceExists(f"{plan.pod.name} already exists in the pod") from None
        try:
            _create_pair(ip, plan, netns)
        except FileExistsError:
            raise InterfaceExists(f"{plan.pod.name} already exists in the pod") from None
