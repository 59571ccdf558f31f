"""Our rtnetlink messages are, byte for byte, what pyroute2 packs for the same words."""

import ipaddress
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from podwire_cni import messages
from podwire_cni.attachment import Attachment
from podwire_cni.family import FAMILIES, Family
from podwire_cni.plan import Address, Entry, Neighbour, Plan, Qdisc, Route, Side, make_plan
from podwire_cni.rtnetlink import Message
from podwire_cni.tbf import QdiscMessage

CREATE, REPLACE, DUMP, ECHO = 0x600, 0x500, 0x300, 0x08
PLAN = make_plan(
    Attachment("podnet", "web-1", "eth0"),
    "default/web",
    [ipaddress.ip_address("10.244.1.5"), ipaddress.ip_address("fd00:10:244:1::5")],
    1450,
)


def packed(
    kind: Any, number: int, flags: int, attributes: list[tuple[str, object]], /, **fields: object
) -> bytes:
    """What pyroute2 makes of it."""
    message = kind()
    message.update(fields)
    message["attrs"] = attributes
    message["header"]["type"] = number
    message["header"]["flags"] = flags
    message.encode()
    return bytes(message.data)


def born(name: str, mac: str) -> list[tuple[str, object]]:
    return [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_MTU", 1450)]


def entry(kind: type[Entry], side: Side, family: Family, plan: Plan = PLAN) -> list[Entry]:
    """A plan's entries of a kind, of one side and family."""
    found = (each for each in plan.on(side) if isinstance(each, kind))
    return [each for each in found if _version(each) == family.number]


def _version(each: Entry) -> int:
    match each:
        case Route():
            return each.destination.version
        case Address() | Neighbour():
            return each.address.version
    return 0


def assert_packed(ours: Message, theirs: bytes) -> None:
    assert ours.data.hex(" ") == theirs.hex(" ")


def test_a_pair_is_born_with_its_peer_in_the_pod() -> None:
    peer = {"attrs": [*born("eth0", PLAN.pod.mac), ("IFLA_NET_NS_FD", 7)]}
    info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]
    attributes = [*born(PLAN.host.name, PLAN.host.mac), ("IFLA_LINKINFO", {"attrs": info})]
    theirs = packed(ifinfmsg, 16, CREATE, attributes, flags=1, change=1)
    assert_packed(messages.create_pair(PLAN, 7), theirs)


def test_a_link_is_asked_for_named_brought_up_and_deleted() -> None:
    quiet: tuple[str, object] = ("IFLA_EXT_MASK", 8)
    assert_packed(messages.get_link("", index=3), packed(ifinfmsg, 18, 0, [quiet], index=3))
    named = packed(ifinfmsg, 18, 0, [quiet, ("IFLA_IFNAME", "eth0")])
    assert_packed(messages.get_link("", name="eth0"), named)
    up = packed(ifinfmsg, 19, 0, [("IFLA_IFALIAS", "a/b")], index=3, flags=1, change=1)
    assert_packed(messages.bring_up("", 3, "a/b"), up)
    assert_packed(messages.delete_link("", 300), packed(ifinfmsg, 17, 0, [], index=300))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_an_address_needs_no_duplicate_detection(family: Family) -> None:
    (each,) = entry(Address, Side.POD, family)
    assert isinstance(each, Address)
    text = str(each.address)
    theirs = packed(
        ifaddrmsg,
        20,
        CREATE,
        [("IFA_LOCAL", text), ("IFA_ADDRESS", text)],
        family=family.socket,
        index=9,
        prefixlen=each.address.max_prefixlen,
        flags=2 if family.number == 6 else 0,
    )
    assert_packed(messages.install(each, 9), theirs)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_neighbour_is_permanent(family: Family, side: Side) -> None:
    (each,) = entry(Neighbour, side, family)
    assert isinstance(each, Neighbour)
    attributes: list[tuple[str, object]] = [
        ("NDA_DST", str(each.address)),
        ("NDA_LLADDR", each.mac),
    ]
    theirs = packed(ndmsg, 28, REPLACE, attributes, family=family.socket, ifindex=9, state=0x80)
    assert_packed(messages.install(each, 9), theirs)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_route_leads_out_of_its_link(family: Family, side: Side) -> None:
    routes = entry(Route, side, family)
    assert len(routes) == (2 if side is Side.POD else 1)
    for each in routes:
        assert isinstance(each, Route)
        attributes: list[tuple[str, object]] = [("RTA_OIF", 9), ("RTA_TABLE", 254)]
        if each.destination.prefixlen:
            attributes.append(("RTA_DST", str(each.destination.network_address)))
        if each.gateway:
            attributes.append(("RTA_GATEWAY", str(each.gateway)))
        theirs = packed(
            rtmsg,
            24,
            REPLACE if side is Side.HOST else CREATE,
            attributes,
            family=family.socket,
            dst_len=each.destination.prefixlen,
            table=254,
            proto=3,
            type=1,
            scope=0 if each.gateway else 253,
            flags=4 if each.gateway else 0,
        )
        assert_packed(messages.install(each, 9), theirs)


@pytest.mark.parametrize("rate", [1, 125_000, 2**32 - 1, 10**10])
def test_a_rate_has_64_bits(rate: int) -> None:
    parms = {"rate___reserved": 1, "rate": min(rate, 2**32 - 1), "limit": 99_000}
    options = [("TCA_TBF_PARMS", parms), ("TCA_TBF_RATE64", rate), ("TCA_TBF_BURST", 5000)]
    attributes: list[tuple[str, object]] = [
        ("TCA_KIND", "tbf"),
        ("TCA_OPTIONS", {"attrs": options}),
    ]
    theirs = packed(QdiscMessage, 36, REPLACE, attributes, index=9, parent=0xFFFFFFFF)
    assert_packed(messages.install(Qdisc(Side.POD, "eth0", rate, 5000, 99_000), 9), theirs)


def test_what_a_link_carries_is_asked_for_by_filters() -> None:
    slow = make_plan(
        Attachment("podnet", "web-1", "eth0"), "a/b", [ipaddress.ip_address("10.244.1.5")], 1450
    )
    addresses, neighbours, routes = messages.requests(slow, Side.POD, 4)
    assert_packed(addresses, packed(ifaddrmsg, 22, DUMP, [], index=4))
    assert_packed(neighbours, packed(ndmsg, 30, DUMP, [("NDA_IFINDEX", 4)]))
    theirs = packed(rtmsg, 26, DUMP, [("RTA_OIF", 4)], family=2, table=254)
    assert_packed(routes, theirs)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_all_routes_are_asked_for_where_the_default_one_is_wanted(family: Family) -> None:
    theirs = packed(rtmsg, 26, DUMP, [], family=family.socket, table=254)
    assert_packed(messages.get_default_routes(family), theirs)


ANNOUNCED = {
    "a local route": (24, "local", b"\xfd" + bytes(14) + b"\x05"),
    "a route that leads on": (24, "unicast", b""),
    "a local route that goes": (25, "local", b""),
}


@pytest.mark.parametrize(("number", "kind", "own"), ANNOUNCED.values(), ids=ANNOUNCED)
def test_a_local_route_tells_that_an_address_is_its_namespaces_own(
    number: int, kind: str, own: bytes
) -> None:
    type_ = {"unicast": 1, "local": 2}[kind]
    attributes: list[tuple[str, object]] = [("RTA_TABLE", 255), ("RTA_DST", "fd00::5")]
    announced = packed(rtmsg, number, 0, attributes, family=10, dst_len=128, table=255, type=type_)
    assert messages.own_address(number, announced) == own
