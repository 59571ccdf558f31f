"""The plan's golden text, and the names it is built from."""

import ipaddress

from podwire_cni.attachment import Attachment
from podwire_cni.drift import LinkState, State, find_drift
from podwire_cni.plan import Address, Plan, Side, make_plan

ATTACHMENT = Attachment("podnet", "abc", "eth0")
ADDRESSES = (ipaddress.ip_address("10.244.1.5"), ipaddress.ip_address("fd00:10:244:1::5"))

GOLDEN = """\
host: link pwdzdwyupsv5bzf address 02:34:9a:9c:cd:50 alias default/web
pod: link eth0 address 02:34:9a:9c:cd:51 alias default/web
mtu 1450
host: sysctl net/ipv4/ip_forward = 1
host: sysctl net/ipv4/conf/pwdzdwyupsv5bzf/rp_filter = 1
host: sysctl net/ipv6/conf/all/forwarding = 1
host: sysctl net/ipv6/conf/pwdzdwyupsv5bzf/disable_ipv6 = 0
host: sysctl net/ipv6/conf/pwdzdwyupsv5bzf/accept_ra = 0
host: sysctl net/ipv6/conf/pwdzdwyupsv5bzf/addr_gen_mode = 1
pod: sysctl net/ipv6/conf/eth0/disable_ipv6 = 0
pod: sysctl net/ipv6/conf/eth0/accept_ra = 0
pod: sysctl net/ipv6/conf/eth0/addr_gen_mode = 1
pod: addr 10.244.1.5/32 dev eth0
pod: neigh 169.254.1.1 lladdr 02:34:9a:9c:cd:50 dev eth0 nud permanent
pod: route 169.254.1.1/32 dev eth0 scope link
pod: route 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink
host: neigh 10.244.1.5 lladdr 02:34:9a:9c:cd:51 dev pwdzdwyupsv5bzf nud permanent
host: route 10.244.1.5/32 dev pwdzdwyupsv5bzf scope link
pod: addr fd00:10:244:1::5/128 dev eth0 nodad
pod: neigh fe80::1 lladdr 02:34:9a:9c:cd:50 dev eth0 nud permanent
pod: route fe80::1/128 dev eth0 scope link
pod: route ::/0 via fe80::1 dev eth0 onlink
host: neigh fd00:10:244:1::5 lladdr 02:34:9a:9c:cd:51 dev pwdzdwyupsv5bzf nud permanent
host: route fd00:10:244:1::5/128 dev pwdzdwyupsv5bzf scope link"""


def plan() -> Plan:
    return make_plan(ATTACHMENT, "default/web", ADDRESSES, 1450)


def healthy() -> State:
    links = (
        LinkState(Side.HOST, ATTACHMENT.host_name, ATTACHMENT.host_mac, up=True),
        LinkState(Side.POD, "eth0", ATTACHMENT.pod_mac, up=True),
    )
    return State(links, frozenset(plan().entries))


def test_a_dual_stack_plan_reads_like_this() -> None:
    assert str(plan()) == GOLDEN


def test_an_ipv4_plan_leaves_ipv6_alone() -> None:
    assert "ipv6" not in str(make_plan(ATTACHMENT, "default/web", ADDRESSES[:1], 1500))


def test_the_longest_pod_name_fits_the_alias() -> None:
    alias = make_plan(ATTACHMENT, "n" * 63 + "/" + "ä" * 253, ADDRESSES, 1500).host.alias
    assert alias.startswith("n" * 63 + "/ä")
    assert len(alias.encode()) <= 254


def test_host_names_differ_in_every_part_of_the_attachment() -> None:
    attachments = [Attachment(n, c, i) for n in "ab" for c in "ab" for i in ("ab", "b")]
    names = {attachment.host_name for attachment in attachments}
    assert len(names) == len(attachments)
    assert {len(name) for name in names} == {15}


def test_the_two_macs_are_local_unicast_and_differ() -> None:
    assert ATTACHMENT.host_mac != ATTACHMENT.pod_mac
    for mac in (ATTACHMENT.host_mac, ATTACHMENT.pod_mac):
        assert int(mac[:2], 16) & 0b11 == 0b10


def test_a_healthy_pod_has_no_drift() -> None:
    assert find_drift(plan(), healthy()) == []


def test_what_later_plugins_add_is_no_drift() -> None:
    more = Address(Side.POD, "eth0", ipaddress.ip_address("192.0.2.1"))
    state = State(healthy().links, healthy().entries | {more})
    assert find_drift(plan(), state) == []


def test_each_missing_entry_is_named() -> None:
    for entry in plan().entries:
        state = State(healthy().links, healthy().entries - {entry})
        assert find_drift(plan(), state) == [f"{entry} is missing"]


def test_a_missing_link_is_named_without_all_that_went_with_it() -> None:
    state = State(healthy().links[:1], frozenset())
    drift = find_drift(plan(), state)
    assert drift[0] == "pod: link eth0 is missing"
    assert all(sentence.startswith("host: ") for sentence in drift[1:])


def test_a_changed_mac_and_a_link_that_is_down_are_named() -> None:
    down = LinkState(Side.POD, "eth0", "02:00:00:00:00:09", up=False)
    state = State((healthy().links[0], down), healthy().entries)
    assert find_drift(plan(), state) == [
        f"pod: link eth0 has address 02:00:00:00:00:09, not {ATTACHMENT.pod_mac}",
        "pod: link eth0 is down",
    ]
