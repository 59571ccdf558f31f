"""What a plan's steps and the questions about them are in rtnetlink; `answers` reads the rest.

pyroute2's message classes know each attribute's shape. Its sockets are not used: one of them
costs more than all the work of an ADD (see `rtnetlink`).

Source: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, pkt_sched.h.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from podwire_cni.family import Family, IPv6, family_of
from podwire_cni.plan import Address, Entry, Link, Neighbour, Plan, Qdisc, Route, Side
from podwire_cni.rtnetlink import NLM_F_DUMP, Message
from podwire_cni.tbf import QdiscMessage

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_RTM_NEWNEIGH, _RTM_GETNEIGH = 28, 30
_RTM_NEWQDISC, _RTM_GETQDISC = 36, 38
_NLM_F_ECHO = 0x08  # without it a qdisc is told to the group alone
_NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE = 0x100, 0x200, 0x400
_ADD = _NLM_F_CREATE | _NLM_F_EXCL
_REPLACE = _NLM_F_CREATE | _NLM_F_REPLACE

_IFF_UP = 0x01
_IFA_F_NODAD = 0x02
_NUD_PERMANENT = 0x80
_RTNH_F_ONLINK = 0x04
_RTN_UNICAST = 1
_RTPROT_BOOT = 3  # what `ip route` writes
_RT_SCOPE_LINK = 253
_RT_TABLE_MAIN = 254
_RTEXT_FILTER_SKIP_STATS = 0x08
_TC_H_ROOT = 0xFFFFFFFF
_TC_LINKLAYER_ETHERNET = 1

_Attributes: TypeAlias = list[tuple[str, object]]
_Class: TypeAlias = Any  # pyroute2 ships no types


def create_pair(plan: Plan, netns: int) -> Message:
    """Both ends, the pod's born in its namespace and the host's up; no carrier yet.

    A hardware address given at birth is NET_ADDR_SET: systemd's
    MACAddressPolicy=persistent then leaves it alone.
    """
    peer = {"attrs": [*_birth(plan.pod, plan.mtu), ("IFLA_NET_NS_FD", netns)]}
    kind = [
        ("IFLA_INFO_KIND", "veth"),
        ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]}),
    ]
    attributes = [*_birth(plan.host, plan.mtu), ("IFLA_LINKINFO", {"attrs": kind})]
    fields = {"flags": _IFF_UP, "change": _IFF_UP}
    return _message(plan.host, ifinfmsg, _RTM_NEWLINK, _ADD, attributes, **fields)


def delete_link(step: object, index: int) -> Message:
    """A link's end, and its peer's."""
    return _message(step, ifinfmsg, _RTM_DELLINK, 0, [], index=index)


def get_link(step: object, *, name: str = "", index: int = 0) -> Message:
    """A link, by its name or its index."""
    attributes: _Attributes = [("IFLA_EXT_MASK", _RTEXT_FILTER_SKIP_STATS)]
    if name:
        attributes.append(("IFLA_IFNAME", name))
    return _message(step, ifinfmsg, _RTM_GETLINK, 0, attributes, index=index)


def bring_up(step: object, index: int, alias: str = "") -> Message:
    """A link up, and named after its pod."""
    attributes: _Attributes = [("IFLA_IFALIAS", alias)] if alias else []
    fields = {"index": index, "flags": _IFF_UP, "change": _IFF_UP}
    return _message(step, ifinfmsg, _RTM_SETLINK, 0, attributes, **fields)


def install(entry: Entry, index: int) -> Message:
    """An entry of the plan on its link."""
    match entry:
        case Address():
            return _install_address(entry, index)
        case Neighbour():
            return _install_neighbour(entry, index)
        case Route():
            return _install_route(entry, index)
        case Qdisc():
            return _install_qdisc(entry, index)


def requests(plan: Plan, side: Side, index: int) -> Iterator[Message]:
    """What to ask for all that a side's link carries; `answers` reads what comes."""
    step = f"{side}: read"
    yield _message(step, ifaddrmsg, _RTM_GETADDR, NLM_F_DUMP, [], index=index)
    yield _message(step, ndmsg, _RTM_GETNEIGH, NLM_F_DUMP, [("NDA_IFINDEX", index)])
    for family in plan.families:
        device: _Attributes = [("RTA_OIF", index)]
        yield _get_routes(step, family, device)
    if any(isinstance(entry, Qdisc) and entry.side is side for entry in plan.entries):
        root = {"index": index, "parent": _TC_H_ROOT}
        yield _message(step, QdiscMessage, _RTM_GETQDISC, _NLM_F_ECHO, [], **root)


def get_default_routes(family: Family) -> Message:
    """All of the main table's routes: the kernel has no filter for the default ones."""
    return _get_routes("host: read default route", family, [])


def _get_routes(step: object, family: Family, attributes: _Attributes) -> Message:
    fields = {"family": family.socket, "table": _RT_TABLE_MAIN}
    return _message(step, rtmsg, _RTM_GETROUTE, NLM_F_DUMP, attributes, **fields)


def _birth(link: Link, mtu: int) -> _Attributes:
    return [("IFLA_IFNAME", link.name), ("IFLA_ADDRESS", link.mac), ("IFLA_MTU", mtu)]


def _install_address(entry: Address, index: int) -> Message:
    family = family_of(entry.address)
    address = str(entry.address)
    return _message(
        entry,
        ifaddrmsg,
        _RTM_NEWADDR,
        _ADD,
        [("IFA_LOCAL", address), ("IFA_ADDRESS", address)],
        family=family.socket,
        index=index,
        prefixlen=entry.address.max_prefixlen,
        flags=_IFA_F_NODAD if family is IPv6 else 0,
    )


def _install_neighbour(entry: Neighbour, index: int) -> Message:
    return _message(
        entry,
        ndmsg,
        _RTM_NEWNEIGH,
        _REPLACE,
        [("NDA_DST", str(entry.address)), ("NDA_LLADDR", entry.mac)],
        family=family_of(entry.address).socket,
        ifindex=index,
        state=_NUD_PERMANENT,
    )


def _install_route(entry: Route, index: int) -> Message:
    # On the host the newest lease wins over a route whose lease was lost. In the pod a
    # second default route is refused: see README, "What it is not".
    flags = _REPLACE if entry.side is Side.HOST else _ADD
    destination = entry.destination
    attributes: _Attributes = [("RTA_OIF", index), ("RTA_TABLE", _RT_TABLE_MAIN)]
    if destination.prefixlen:
        attributes.append(("RTA_DST", str(destination.network_address)))
    if entry.gateway:
        attributes.append(("RTA_GATEWAY", str(entry.gateway)))
    return _message(
        entry,
        rtmsg,
        _RTM_NEWROUTE,
        flags,
        attributes,
        family=family_of(destination).socket,
        dst_len=destination.prefixlen,
        table=_RT_TABLE_MAIN,
        proto=_RTPROT_BOOT,
        type=_RTN_UNICAST,
        scope=0 if entry.gateway else _RT_SCOPE_LINK,
        flags=_RTNH_F_ONLINK if entry.gateway else 0,
    )


def _install_qdisc(entry: Qdisc, index: int) -> Message:
    return _message(
        entry,
        QdiscMessage,
        _RTM_NEWQDISC,
        _REPLACE,
        [("TCA_KIND", "tbf"), ("TCA_OPTIONS", _bucket(entry))],
        index=index,
        parent=_TC_H_ROOT,
    )


def _bucket(qdisc: Qdisc) -> object:
    """A tbf's options. Its rate has 32 bits and, beside them, 64."""
    parms = {
        "rate___reserved": _TC_LINKLAYER_ETHERNET,
        "rate": min(qdisc.rate, 2**32 - 1),
        "limit": qdisc.limit,
    }
    attributes = [
        ("TCA_TBF_PARMS", parms),
        ("TCA_TBF_RATE64", qdisc.rate),
        ("TCA_TBF_BURST", qdisc.burst),
    ]
    return {"attrs": attributes}


def _message(
    step: object,
    kind: _Class,
    number: int,
    flags: int,
    attributes: _Attributes,
    /,  # some messages have a field `flags` too
    **fields: object,
) -> Message:
    message = kind()
    message.update(fields)
    message["attrs"] = attributes
    message["header"]["type"] = number
    message["header"]["flags"] = flags
    message.encode()
    return Message(step, bytes(message.data))
