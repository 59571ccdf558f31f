"""What the kernel tells about a link and what it carries, as the plan's own values.

What no plan has is no answer: broadcast routes, neighbours that come and go, other masks.

Source: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, pkt_sched.h.
"""

import ipaddress
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from podwire_cni.drift import LinkState
from podwire_cni.family import FAMILIES
from podwire_cni.plan import Address, Entry, Link, Neighbour, Qdisc, Route
from podwire_cni.tbf import QdiscMessage

_IFF_UP = 0x01
_NUD_PERMANENT = 0x80
_EVERYTHING = {family.socket: family.everything for family in FAMILIES}

_Decoded: TypeAlias = Any  # pyroute2 ships no types


def read_link(link: Link, answer: bytes) -> LinkState:
    """What a plan's link is now."""
    message = _decoded(ifinfmsg, answer)
    up = bool(message["flags"] & _IFF_UP)
    return LinkState(link.side, link.name, message.get_attr("IFLA_ADDRESS"), up)


def read_entry(link: Link, answer: bytes) -> Entry | None:
    """What the link carries, one thing; None when no plan could have it."""
    reader = _READERS.get(int.from_bytes(answer[4:6], sys.byteorder))
    return reader(link, answer) if reader else None


def _read_address(link: Link, answer: bytes) -> Address | None:
    message = _decoded(ifaddrmsg, answer)
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    address = ipaddress.ip_address(text)
    if message["prefixlen"] != address.max_prefixlen:
        return None
    return Address(link.side, link.name, address)


def _read_neighbour(link: Link, answer: bytes) -> Neighbour | None:
    message = _decoded(ndmsg, answer)
    if not message["state"] & _NUD_PERMANENT:
        return None
    address = ipaddress.ip_address(message.get_attr("NDA_DST"))
    return Neighbour(link.side, link.name, address, message.get_attr("NDA_LLADDR"))


def _read_route(link: Link, answer: bytes) -> Route | None:
    message = _decoded(rtmsg, answer)
    everything = _EVERYTHING.get(message["family"])
    if everything is None:
        return None
    base = message.get_attr("RTA_DST") or str(everything.network_address)
    destination = ipaddress.ip_network((base, message["dst_len"]))
    gateway = message.get_attr("RTA_GATEWAY")
    way = ipaddress.ip_address(gateway) if gateway else None
    return Route(link.side, link.name, destination, way)


def _read_qdisc(link: Link, answer: bytes) -> Qdisc | None:
    # The kind decides what the options are, so it is looked at before they are.
    if b"\x08\x00\x01\x00tbf\x00" not in answer:
        return None
    options = _decoded(QdiscMessage, answer).get_attr("TCA_OPTIONS")
    rate = options.get_attr("TCA_TBF_RATE64") or options.get_attr("TCA_TBF_PARMS")["rate"]
    return Qdisc(link.side, link.name, rate)


_READERS: dict[int, Callable[[Link, bytes], Entry | None]] = {
    20: _read_address,  # RTM_NEWADDR
    24: _read_route,  # RTM_NEWROUTE
    28: _read_neighbour,  # RTM_NEWNEIGH
    36: _read_qdisc,  # RTM_NEWQDISC
}


def _decoded(kind: _Decoded, answer: bytes) -> _Decoded:
    message = kind(answer)
    message.decode()
    return message
