"""Routes and overlay with real packets: three nodes, one of them behind a router.

integration/tools/three_nodes.py draws them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from three_nodes import (
    Machine,
    Site,
    default,
    give,
    node_address,
    node_object,
    pod_address,
    three_nodes,
)

from podwire_cni.attachment import Attachment
from podwire_core.family import Family
from podwire_node.routes.overlay import ALIAS, DEVICE, OverlaySettings, mac_of
from podwire_node.routes.overlay_device import told

ALL = [node_object(name) for name in ("one", "two", "three")]
THREE_V4 = "10.244.3.0/24 via 10.244.3.1 dev podwire-vxlan proto 112 onlink"

FE80_THREE = "fe80::870:c0ff:fea8:803"  # of 0a:70 and 192.168.8.3


@pytest.fixture
def site() -> Iterator[Site]:
    with three_nodes() as made:
        yield made


def overlay_of(machine: Machine) -> str:
    """The device as ip(8) shows it, or "" without one."""
    return machine.netns.run("ip", "-d", "link", "show", DEVICE, check=False)


def everything(machine: Machine) -> list[str]:
    """All that may be ours, as ip(8) and bridge(8) list it."""
    return [
        machine.routes(),
        overlay_of(machine),
        machine.netns.run("bridge", "fdb", "show", "dev", DEVICE, check=False),
        machine.netns.run("ip", "neigh", "show", "dev", DEVICE, "nud", "permanent", check=False),
        machine.netns.run("ip", "-6", "address", "show", "dev", DEVICE, check=False),
        machine.netns.run("ip", "-4", "address", "show", "dev", DEVICE, check=False),
    ]


def test_neighbours_are_reached_directly_and_others_through_the_overlay(site: Site) -> None:
    routes = site["one"].routes()
    assert "10.244.2.0/24 via 192.168.7.2 dev uplink proto 112" in routes
    assert "fd00:10:244:2::/64 via fd00:7::2 dev uplink proto 112" in routes
    assert THREE_V4 in routes
    assert f"fd00:10:244:3::/64 via {FE80_THREE} dev podwire-vxlan proto 112" in routes
    assert all(machine.keeper.problems == [] for machine in site.machines.values())
    for source in site.machines:
        for target in site.machines:
            assert site.reaches(source, target), (source, target)


def test_the_device_says_what_it_is(site: Site) -> None:
    shown = overlay_of(site["three"])
    tunnel = "vxlan id 112 local 192.168.8.3 srcport 0 0 dstport 8472 nolearning"
    for words in (tunnel, ALIAS, mac_of("192.168.8.3"), "mtu 1450", "addrgenmode none"):
        assert words in shown
    assert "fe80" not in site["three"].netns.run("ip", "-6", "address", "show", "dev", DEVICE)


def test_pods_see_each_other_and_not_their_nodes(site: Site) -> None:
    for family in Family:
        for source, target in (("one", "three"), ("three", "two"), ("one", "two")):
            assert site.transfer(source, target, family) == pod_address(source, family)


@pytest.mark.parametrize("family", Family)
def test_a_node_reaches_pods_behind_the_overlay_and_they_it(site: Site, family: Family) -> None:
    overlay = {Family.IPV4: "10.244.1.1", Family.IPV6: "fd00:10:244:1::1"}[family]
    one, three = site["one"], site["three"]
    one.netns.run("ping", "-c1", "-W2", pod_address("three", family))
    route = one.netns.run("ip", "route", "get", pod_address("three", family))
    assert f"src {overlay}" in route
    three.pod.run("ping", "-c1", "-W2", overlay)


def test_a_second_sync_and_a_restart_send_nothing(site: Site) -> None:
    for machine in site.machines.values():
        before = everything(machine)
        sent = machine.keeper.sent
        machine.keeper.compare()
        machine.settle()
        assert machine.keeper.sent == sent
        machine.restart()
        assert machine.keeper.sent == 0
        assert everything(machine) == before


def test_a_cluster_on_one_link_gets_no_device(site: Site) -> None:
    for name in ("one", "two", "three"):
        site[name].netns.run("ip", "link", "del", DEVICE)
    site.take(*ALL[:2])
    assert overlay_of(site["one"]) == ""
    assert site.reaches("one", "two")
    assert site["one"].keeper.mtu == 1500


@pytest.mark.parametrize(
    "meddling",
    [
        f"ip link del {DEVICE}",
        f"ip link set {DEVICE} down",
        f"ip link set {DEVICE} mtu 1300",
        f"ip link set {DEVICE} address 02:00:00:00:00:99",
        f"ip link set {DEVICE} alias stolen",
        f"bridge fdb del {mac_of('192.168.8.3')} dev {DEVICE}",
        f"bridge fdb replace {mac_of('192.168.8.3')} dev {DEVICE} dst 192.168.7.2",
        f"bridge fdb add 02:00:00:00:00:99 dev {DEVICE} dst 192.168.7.2",
        f"ip neigh del 10.244.3.1 dev {DEVICE}",
        f"ip neigh replace 10.244.3.1 lladdr 02:00:00:00:00:99 dev {DEVICE} nud permanent",
        f"ip neigh replace {FE80_THREE} lladdr 02:00:00:00:00:99 dev {DEVICE} nud reachable",
        f"ip neigh add 10.244.3.9 lladdr 02:00:00:00:00:99 dev {DEVICE}",
        f"ip address del 10.244.1.1/32 dev {DEVICE}",
        f"ip address add 10.99.0.1/24 dev {DEVICE}",
        f"ip address flush dev {DEVICE}",
        "ip route del 10.244.3.0/24",
        "ip -6 route del fd00:10:244:3::/64",
        "ip route replace 10.244.3.0/24 via 192.168.7.2 proto 112",
        f"ip route replace 10.244.2.0/24 dev {DEVICE} via 10.244.3.1 onlink proto 112",
        f"sysctl -qw net.ipv6.conf.{DEVICE}.disable_ipv6=1",
    ],
)
def test_whatever_others_do_is_announced_and_undone(site: Site, meddling: str) -> None:
    one = site["one"]
    before = everything(one)
    one.netns.run(*meddling.split())
    assert one.monitor.changed(), "the kernel says so"
    one.keeper.compare()
    one.settle()
    after = everything(one)
    assert _without_index(after) == _without_index(before)
    assert one.keeper.problems == []
    assert site.reaches("one", "three")


def _without_index(shown: list[str]) -> list[str]:
    """A device made anew has another number, which ip(8) puts before its name."""
    return [
        "\n".join(line.partition(f": {DEVICE}")[2] or line for line in text.splitlines())
        for text in shown
    ]


def test_a_device_of_another_tunnel_is_made_anew(site: Site) -> None:
    site.restart(OverlaySettings(port=4789, vni=7))
    for machine in site.machines.values():
        assert "vxlan id 7" in overlay_of(machine)
        assert "dstport 4789" in overlay_of(machine)
    assert site.reaches("one", "three")


def test_a_link_of_someone_else_with_our_name_is_left_alone(site: Site) -> None:
    one = site["one"]
    one.netns.run("ip", "link", "del", DEVICE)
    one.netns.run("ip", "link", "add", DEVICE, "type", "bridge")
    one.settle()
    (problem,) = one.keeper.problems
    assert DEVICE in problem
    assert "bridge" in problem
    assert site.reaches("one", "two"), "the rest goes on"
    one.netns.run("ip", "link", "del", DEVICE)
    one.settle()
    assert one.keeper.problems == []
    assert site.reaches("one", "three")


def test_a_node_that_moves_to_another_link_is_reached_anew(site: Site) -> None:
    three = site["three"]
    three.netns.run("ip", "address", "flush", "dev", "uplink", "scope", "global")
    site.router.run("ip", "address", "flush", "dev", "to-three", "scope", "global")
    site.router.run("ip", "link", "set", "to-three", "master", "switch")
    give(three.netns, "uplink", "192.168.7.3/24", "fd00:7::3/64")
    default(three.netns, 7)
    site.take(*ALL[:2], node_object("three", "192.168.7.3", "fd00:7::3"))
    assert "10.244.3.0/24 via 192.168.7.3 dev uplink" in site["one"].routes()
    for target in ("one", "two"):
        assert site.reaches("three", target)
    assert mac_of("192.168.8.3") not in "".join(everything(site["one"]))
    assert overlay_of(site["one"]), "another node may still send through it"
    assert site["one"].keeper.mtu == 1500


def test_a_peer_that_leaves_our_link_goes_behind_the_overlay(site: Site) -> None:
    """The Nodes stay as they are: it is our own link that now says otherwise."""
    one = site["one"]
    one.netns.run("ip", "address", "del", "192.168.7.1/24", "dev", "uplink")
    one.netns.run("ip", "address", "add", "192.168.7.1/32", "dev", "uplink")
    one.netns.run("ip", "route", "add", "192.168.7.254", "dev", "uplink")
    one.netns.run("ip", "route", "add", "default", "via", "192.168.7.254")
    assert one.monitor.changed()
    one.keeper.compare()
    one.settle()
    assert "10.244.2.0/24 via 10.244.2.1 dev podwire-vxlan" in one.routes()
    assert "fd00:10:244:2::/64 via fd00:7::2 dev uplink" in one.routes(), "each family for itself"


def test_nodes_come_and_go(site: Site) -> None:
    site.take(*ALL[:2])
    assert "10.244.3.0/24" not in site["one"].routes()
    assert mac_of("192.168.8.3") not in "".join(everything(site["one"]))
    site.take(*ALL)
    assert site.reaches("one", "three")


def test_direct_says_which_peer_it_cannot_reach_and_takes_the_device_away(site: Site) -> None:
    one = site["one"]
    one.restart(OverlaySettings(mode="direct"))
    assert overlay_of(one) == ""
    assert any("10.244.3.0/24 via 192.168.8.3" in problem for problem in one.keeper.problems)
    assert site.reaches("one", "two")
    assert one.keeper.mtu == 1500


def test_vxlan_wraps_even_for_neighbours(site: Site) -> None:
    site.restart(OverlaySettings(mode="vxlan"))
    assert site["one"].keeper.problems == []
    assert "10.244.2.0/24 via 10.244.2.1 dev podwire-vxlan" in site["one"].routes()
    assert site.reaches("one", "two")
    assert site.reaches("two", "three")


def test_what_is_wrapped_is_taken_from_a_node_that_is_answered_directly(site: Site) -> None:
    """Two nodes that disagree for a moment, on a host whose reverse path filter is strict."""
    site["two"].netns.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    site["one"].restart(OverlaySettings(mode="vxlan"))
    assert "10.244.2.0/24 via 10.244.2.1 dev podwire-vxlan" in site["one"].routes()
    assert "10.244.1.0/24 via 192.168.7.1 dev uplink" in site["two"].routes()
    assert site.reaches("one", "two")


def test_two_families_of_pods_go_over_an_underlay_of_one(site: Site) -> None:
    site.take(*(node_object(name, node_address(name, Family.IPV4)) for name in site.machines))
    assert "10.244.2.0/24 via 192.168.7.2" in site["one"].routes()
    assert (
        "fd00:10:244:2::/64 via fe80::870:c0ff:fea8:702 dev podwire-vxlan" in site["one"].routes()
    )
    for target in ("two", "three"):
        assert site.reaches("one", target)


def test_an_underlay_of_ipv6_carries_both_families(site: Site) -> None:
    site.take(*(node_object(name, node_address(name, Family.IPV6)) for name in site.machines))
    assert "local fd00:7::1" in overlay_of(site["one"])
    assert "mtu 1430" in overlay_of(site["one"])
    assert site["one"].keeper.mtu == 1430
    for target in ("two", "three"):
        assert site.reaches("one", target)
    assert site.transfer("one", "three", Family.IPV4) == pod_address("one", Family.IPV4)


def test_new_pods_get_what_fits_as_soon_as_one_peer_is_wrapped(site: Site) -> None:
    one = site["one"]
    assert one.keeper.mtu == 1450
    site.take(*ALL[:2])
    assert one.keeper.mtu == 1500
    one.netns.run("ip", "link", "set", "uplink", "mtu", "9000")
    one.settle()
    assert one.keeper.mtu == 9000
    one.take(ALL)
    assert one.keeper.mtu == 8950
    assert "mtu 8950" in overlay_of(one)
    one.restart(OverlaySettings(mtu=1400))
    assert one.keeper.mtu == 1400


@pytest.mark.parametrize("family", Family)
def test_a_pod_with_the_uplinks_mtu_gets_through_the_overlay(site: Site, family: Family) -> None:
    """It was made before the first peer was wrapped: it learns the path's MTU (RFC 1191, 8201)."""
    header = {Family.IPV4: 28, Family.IPV6: 48}[family]
    target = pod_address("three", family)
    whole, told = site.ping("one", target, "-M", "do", "-s", str(1500 - header))
    assert not whole
    assert "1450" in told, "whom it was too big for says how big it may be"
    site["one"].pod.run("ip", "route", "flush", "cache")
    assert site.transfer("one", "three", family) == pod_address("one", family)
    assert site.ping("one", target, "-M", "do", "-s", str(1450 - header))[0]


@pytest.mark.parametrize("family", Family)
def test_a_route_changes_its_way_without_a_gap(site: Site, family: Family) -> None:
    """Direct, wrapped and back, three times, under 500 pings a second."""
    target = pod_address("two", family)
    flood = site["one"].pod.popen("ping", "-q", "-i0.002", "-c1000", "-W1", target)
    for mode in ("vxlan", "auto") * 3:
        site.restart(OverlaySettings(mode=mode))
        assert site["one"].keeper.problems == []
    out, _ = flood.communicate(timeout=30)
    assert "1000 received" in out


def test_other_peoples_routes_links_and_neighbours_are_left_alone(site: Site) -> None:
    one = site["one"].netns
    one.run("ip", "link", "add", "theirs", "type", "vxlan", "id", "5", "dstport", "4789")
    one.run("ip", "link", "set", "theirs", "up")
    one.run("bridge", "fdb", "add", "02:00:00:00:00:07", "dev", "theirs", "dst", "192.168.7.7")
    one.run("ip", "route", "add", "10.99.0.0/16", "via", "192.168.7.2")
    site.take(*ALL[:2])
    site.restart(OverlaySettings(mode="direct"))
    assert "02:00:00:00:00:07" in one.run("bridge", "fdb")
    assert "10.99.0.0/16" in one.run("ip", "route")


def test_neighbours_of_other_links_wake_no_one(site: Site) -> None:
    one = site["one"]
    assert not one.monitor.changed()
    one.netns.run(
        "ip", "neigh", "replace", "192.168.7.77", "lladdr", "02:00:00:00:00:77", "dev", "uplink"
    )
    one.netns.run("ip", "neigh", "del", "192.168.7.77", "dev", "uplink")
    assert not one.monitor.changed()


def test_pods_that_come_and_go_wake_no_one(site: Site) -> None:
    one = site["one"].netns
    assert not site["one"].monitor.changed()
    pod = Attachment("podwire", "some-container", "eth0").host_name
    one.run(
        "ip", "link", "add", pod, "type", "veth", "peer", "name", "eth0", "netns", site.router.name
    )
    one.run("ip", "link", "set", pod, "up")
    one.run("ip", "route", "add", "10.244.1.9/32", "dev", pod)
    one.run("ip", "route", "add", "fd00:10:244:1::9/128", "dev", pod)
    one.run("ip", "neigh", "add", "10.244.1.9", "lladdr", "02:00:00:00:00:09", "dev", pod)
    one.run("ip", "link", "del", pod)
    assert not site["one"].monitor.changed()
    one.run("ip", "link", "set", "uplink", "mtu", "1400")
    assert site["one"].monitor.changed(), "what is no pod's is heard"


def test_routes_of_other_tables_wake_no_one(site: Site) -> None:
    one = site["one"]
    assert not one.monitor.changed()
    for table in ("100", "1000"):
        one.netns.run("ip", "route", "add", "10.78.0.0/16", "dev", "uplink", "table", table)
    assert not one.monitor.changed()
    one.netns.run("ip", "route", "add", "10.78.0.0/16", "dev", "uplink")
    assert one.monitor.changed(), "the main one is heard"


def test_announcements_that_were_lost_count(site: Site) -> None:
    one = site["one"]
    lines = (f"route add 10.77.{n // 250}.{n % 250} dev uplink\n" for n in range(5000))
    batch = one.netns.popen("ip", "-batch", "-")
    assert batch.communicate("".join(lines), timeout=30)[1] == ""
    assert one.monitor.changed()
    assert not one.monitor.changed()


def test_only_lost_announcements_are_forgiven(site: Site) -> None:
    monitor = site["one"].monitor
    monitor.close()
    with pytest.raises(OSError, match="descriptor"):
        monitor.changed()


def test_another_vxlan_device_with_our_id_is_named_and_left_alone(site: Site) -> None:
    one = site["one"]
    one.netns.run("ip", "link", "del", DEVICE)
    one.netns.run("ip", "link", "add", "theirs", "type", "vxlan", "id", "112", "dstport", "8472")
    one.settle()
    assert "another VXLAN device has this id and port" in "".join(one.keeper.problems)
    assert site.reaches("one", "two"), "the rest goes on"
    one.netns.run("ip", "link", "del", "theirs")
    one.settle()
    assert one.keeper.problems == []
    assert site.reaches("one", "three")


@pytest.mark.parametrize("reads", ["overlay.read", "overlay.entries", "read", "mtu"])
def test_a_kernel_that_cannot_be_asked_changes_and_ends_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    """A dump that fails (no memory, interrupted too often) is tried again, and told meanwhile."""
    one = site["one"]
    before = everything(one)

    def fail(*_: object) -> None:
        with told("reading"):
            raise OSError(errno.ENOBUFS, "No buffer space available")

    holder, _, method = reads.rpartition(".")
    with monkeypatch.context() as patch:
        patch.setattr(one.routing.overlay if holder else one.routing, method, fail)
        one.keeper.compare()
        assert one.keeper.sync(0.0) == pytest.approx(0.1)
        assert one.keeper.problems == ["reading: No buffer space available"]
    assert everything(one) == before
    with one.netns.inside():
        assert one.keeper.sync(0.2) is None
    assert one.keeper.problems == []
