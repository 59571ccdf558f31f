"""What a plan's steps and the questions about them are in rtnetlink; `answers` reads the rest.

    header (rtnetlink.Message)   a struct of the message's kind   attributes: length, type, value

Packed here, and not by pyroute2, whose classes take a third of an ADD's time to write thirteen
messages. They are the judge in the tests: what is packed here is what they would have packed.

Source: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, pkt_sched.h.
"""

import struct
from collections.abc import Iterator

from podwire_cni.family import Family, IPv6, family_of
from podwire_cni.plan import Address, Entry, Link, Neighbour, Plan, Qdisc, Route, Side
from podwire_cni.rtnetlink import HEADER_BYTES, NLM_F_DUMP, Message, header
from podwire_cni.rtnetlink import attributes as attributes_of

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
IPV6_ROUTES = 0x400  # RTMGRP_IPV6_ROUTE, whose members are told of such routes
_RTM_NEWNEIGH, _RTM_GETNEIGH = 28, 30
_RTM_NEWQDISC, _RTM_GETQDISC = 36, 38
_NLM_F_ECHO = 0x08  # without it a qdisc is told to the group alone
_NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE = 0x100, 0x200, 0x400
_ADD = _NLM_F_CREATE | _NLM_F_EXCL
_REPLACE = _NLM_F_CREATE | _NLM_F_REPLACE

_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix' length, flags, scope, index
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, lengths, tos, table, protocol, scope, type, flags
_ROUTE_TYPE = HEADER_BYTES + 7  # where rtm_type is in a message
_TCMSG = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
_TBF_QOPT = struct.Struct("=BBHhHI12xIII")  # struct tc_tbf_qopt: rate, no peak, limit, buffer, mtu
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_NUMBER, _LONG_NUMBER = struct.Struct("=I"), struct.Struct("=Q")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO = 1, 3, 4, 18
_IFLA_IFALIAS, _IFLA_NET_NS_FD, _IFLA_EXT_MASK = 20, 28, 29
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6

_IFF_UP = 0x01
_IFA_F_NODAD = 0x02
_NUD_PERMANENT = 0x80
_RTNH_F_ONLINK = 0x04
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_RTPROT_BOOT = 3  # what `ip route` writes
_RT_SCOPE_LINK = 253
_RT_TABLE_MAIN = 254
_RTEXT_FILTER_SKIP_STATS = 0x08
_TC_H_ROOT = 0xFFFFFFFF
_TC_LINKLAYER_ETHERNET = 1


def create_pair(plan: Plan, netns: int) -> Message:
    """Both ends, the pod's born in its namespace and the host's up; no carrier yet.

    A hardware address given at birth is NET_ADDR_SET: systemd's
    MACAddressPolicy=persistent then leaves it alone.
    """
    peer = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _birth(plan.pod, plan.mtu)
    peer += _attribute(_IFLA_NET_NS_FD, _NUMBER.pack(netns))
    kind = _text(_IFLA_INFO_KIND, "veth")
    kind += _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, peer))
    attributes = _birth(plan.host, plan.mtu) + _attribute(_IFLA_LINKINFO, kind)
    return _link(plan.host, _RTM_NEWLINK, attributes, flags=_ADD, up=True)


def delete_link(step: object, index: int) -> Message:
    """A link's end, and its peer's."""
    return _link(step, _RTM_DELLINK, b"", index=index)


def get_link(step: object, *, name: str = "", index: int = 0) -> Message:
    """A link, by its name or its index."""
    attributes = _attribute(_IFLA_EXT_MASK, _NUMBER.pack(_RTEXT_FILTER_SKIP_STATS))
    if name:
        attributes += _text(_IFLA_IFNAME, name)
    return _link(step, _RTM_GETLINK, attributes, index=index)


def bring_up(step: object, index: int, alias: str = "") -> Message:
    """A link up, and named after its pod."""
    attributes = _text(_IFLA_IFALIAS, alias) if alias else b""
    return _link(step, _RTM_SETLINK, attributes, index=index, up=True)


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
    step, device = f"{side}: read", _NUMBER.pack(index)
    yield _message(step, _RTM_GETADDR, NLM_F_DUMP, _IFADDRMSG.pack(0, 0, 0, 0, index))
    neighbours = _NDMSG.pack(0, 0, 0, 0, 0) + _attribute(_NDA_IFINDEX, device)
    yield _message(step, _RTM_GETNEIGH, NLM_F_DUMP, neighbours)
    for family in plan.families:
        yield _get_routes(step, family, _attribute(_RTA_OIF, device))
    if any(isinstance(entry, Qdisc) and entry.side is side for entry in plan.entries):
        root = _TCMSG.pack(0, index, 0, _TC_H_ROOT, 0)
        yield _message(step, _RTM_GETQDISC, _NLM_F_ECHO, root)


def own_address(kind: int, announced: bytes) -> bytes:
    """The address, packed, that an announced route makes the namespace's own; of others b""."""
    if kind != _RTM_NEWROUTE or announced[_ROUTE_TYPE] != _RTN_LOCAL:
        return b""
    found = dict(attributes_of(announced, HEADER_BYTES + _RTMSG.size))
    return found.get(_RTA_DST, b"")


def get_default_routes(family: Family) -> Message:
    """All of the main table's routes: the kernel has no filter for the default ones."""
    return _get_routes("host: read default route", family, b"")


def _get_routes(step: object, family: Family, attributes: bytes) -> Message:
    body = _RTMSG.pack(family.socket, 0, 0, 0, _RT_TABLE_MAIN, 0, 0, 0, 0)
    return _message(step, _RTM_GETROUTE, NLM_F_DUMP, body + attributes)


def _birth(link: Link, mtu: int) -> bytes:
    address = _attribute(_IFLA_ADDRESS, _hardware(link.mac))
    return _text(_IFLA_IFNAME, link.name) + address + _attribute(_IFLA_MTU, _NUMBER.pack(mtu))


def _install_address(entry: Address, index: int) -> Message:
    family, address = family_of(entry.address), entry.address.packed
    flags = _IFA_F_NODAD if family is IPv6 else 0
    body = _IFADDRMSG.pack(family.socket, entry.address.max_prefixlen, flags, 0, index)
    body += _attribute(_IFA_LOCAL, address) + _attribute(_IFA_ADDRESS, address)
    return _message(entry, _RTM_NEWADDR, _ADD, body)


def _install_neighbour(entry: Neighbour, index: int) -> Message:
    body = _NDMSG.pack(family_of(entry.address).socket, index, _NUD_PERMANENT, 0, 0)
    body += _attribute(_NDA_DST, entry.address.packed)
    body += _attribute(_NDA_LLADDR, _hardware(entry.mac))
    return _message(entry, _RTM_NEWNEIGH, _REPLACE, body)


def _install_route(entry: Route, index: int) -> Message:
    # On the host the newest lease wins over a route whose lease was lost. In the pod a
    # second default route is refused: see README, "What it is not".
    flags = _REPLACE if entry.side is Side.HOST else _ADD
    destination, gateway = entry.destination, entry.gateway
    body = _RTMSG.pack(
        family_of(destination).socket,
        destination.prefixlen,
        0,
        0,
        _RT_TABLE_MAIN,
        _RTPROT_BOOT,
        0 if gateway else _RT_SCOPE_LINK,
        _RTN_UNICAST,
        _RTNH_F_ONLINK if gateway else 0,
    )
    body += _attribute(_RTA_OIF, _NUMBER.pack(index))
    body += _attribute(_RTA_TABLE, _NUMBER.pack(_RT_TABLE_MAIN))
    if destination.prefixlen:
        body += _attribute(_RTA_DST, destination.network_address.packed)
    if gateway:
        body += _attribute(_RTA_GATEWAY, gateway.packed)
    return _message(entry, _RTM_NEWROUTE, flags, body)


def _install_qdisc(entry: Qdisc, index: int) -> Message:
    body = _TCMSG.pack(0, index, 0, _TC_H_ROOT, 0)
    body += _text(_TCA_KIND, "tbf") + _attribute(_TCA_OPTIONS, _bucket(entry))
    return _message(entry, _RTM_NEWQDISC, _REPLACE, body)


def _bucket(qdisc: Qdisc) -> bytes:
    """A tbf's options. Its rate has 32 bits and, beside them, 64; its depth is in bytes."""
    rate = min(qdisc.rate, 2**32 - 1)
    # Cells, 3 and -1, are of the rate tables that kernels before 3.8 needed; tc writes them still.
    parms = _TBF_QOPT.pack(3, _TC_LINKLAYER_ETHERNET, 0, -1, 0, rate, qdisc.limit, 0, 0)
    return (
        _attribute(_TCA_TBF_PARMS, parms)
        + _attribute(_TCA_TBF_RATE64, _LONG_NUMBER.pack(qdisc.rate))
        + _attribute(_TCA_TBF_BURST, _NUMBER.pack(qdisc.burst))
    )


def _link(
    step: object, kind: int, attributes: bytes, *, index: int = 0, flags: int = 0, up: bool = False
) -> Message:
    state = _IFF_UP if up else 0
    return _message(step, kind, flags, _IFINFOMSG.pack(0, 0, index, state, state) + attributes)


def _message(step: object, kind: int, flags: int, body: bytes) -> Message:
    return Message(step, header(kind, flags, len(body)) + body)


def _attribute(kind: int, value: bytes) -> bytes:
    """struct rtattr and its value, padded for the next one to follow."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _hardware(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
