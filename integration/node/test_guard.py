"""Pods that send what is not theirs to send, through a real agent's table.

```
 attacker, friend, victim (pods) ── node (agent, overlay) ── uplink ── peer, which is node2 as well
```

Each shot is fired again without the table: then it arrives, or the test would prove nothing.
"""

from __future__ import annotations

import itertools
import re
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import crafted
import pytest
from attaching_node import NODE_ADDRESSES, AttachingNode
from crafted import ACK, RST, SYN, Way
from firing_range import PEER, Pod, attach
from raw_pods import Eye, Gun, wrapped
from scratch import Netns, until

from podwire_core.family import FAMILIES, Family
from podwire_node.control.client import AgentClient

PODS = {
    "victim": ("10.244.1.200", "fd00:10:244:1::200"),
    "friend": ("10.244.1.201", "fd00:10:244:1::201"),
    "attacker": ("10.244.1.202", "fd00:10:244:1::202"),
}
FAR = ("10.244.2.9", "fd00:10:244:2::9")
FAR_DEVICE = ("10.244.2.1", "fd00:10:244:2::1")
VIPS = {"here": "10.96.0.10", "there": "10.96.0.11"}
PORT = 8472
SLICES = "discovery.k8s.io/v1"
numbers = itertools.count(0x5A000001)


@dataclass
class Scene:
    """The node, its pods, and who shoots."""

    node: AttachingNode
    pods: Mapping[str, Pod]

    @contextmanager
    def gun(self, name: str = "attacker") -> Iterator[Gun]:
        with closing(Gun(self.pods[name].netns)) as gun:
            yield gun

    @contextmanager
    def eyes(self) -> Iterator[Mapping[str, Eye]]:
        """Of the victim, and of the peer."""
        with (
            closing(Eye(self.pods["victim"].netns)) as victim,
            closing(Eye(self.node.peer)) as outside,
        ):
            yield {"victim": victim, "outside": outside}

    def unguard(self) -> None:
        """Nobody is left to put the tables back."""
        self.node.agents[-1].send_signal(signal.SIGKILL)
        self.node.agents[-1].wait(60)
        for family in ("ip", "ip6"):
            self.node.netns.run("nft", "delete", "table", family, "podwire-guard")

    def trust_links(self) -> None:
        """rp_filter off: IPv4 hangs on the table alone."""
        for name in ("all", *self.links()):
            self.node.netns.run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")

    def links(self) -> list[str]:
        return re.findall(
            r"^\d+: (pw[a-z2-7]{13})", self.node.netns.run("ip", "link"), re.MULTILINE
        )

    def dropped(self, family: Family, chain: str) -> int:
        """Packets that a chain's counter has."""
        listed = self.node.netns.run("nft", "list", "chain", family.nft, "podwire-guard", chain)
        return sum(map(int, re.findall(r"counter packets (\d+)", listed)))


Start = Callable[..., Scene]


@pytest.fixture
def start(
    node: AttachingNode, new_netns: Callable[[], Netns], monkeypatch: pytest.MonkeyPatch
) -> Start:
    def begin(routing: str = "vxlan", components: str = "cni") -> Scene:
        monkeypatch.setenv("PODWIRE_ROUTING", routing)
        node.components = components
        node.peer.run("ip", "-6", "route", "add", "fd00:10:244::/48", "via", NODE_ADDRESSES[1])
        rows = [{"type": "InternalIP", "address": each} for each in PEER]
        cidrs = ["10.244.2.0/24", "fd00:10:244:2::/64"]
        node.put("Node", "node2", spec={"podCIDRs": cidrs}, status={"addresses": rows})
        for name in PODS:
            node.put_pod(name, app=name)
        node.start()
        return Scene(node, {each: attach(node, new_netns(), each, PODS[each]) for each in PODS})

    return begin


# ------------------------------------------------------------------------- whose address


def shots(family: Family, source: str) -> dict[str, Callable[[int], bytes]]:
    """Packets to the victim under an address; the conversation is the friend's (see below)."""
    index = FAMILIES.index(family)
    victim = PODS["victim"][index]

    def way(sport: int) -> Way:
        return Way(source, victim, sport, 80)

    return {
        "new": lambda number: crafted.segment(way(40001), number),
        "new UDP": lambda number: crafted.datagram(way(40002), number),
        "invalid, SYN|ACK": lambda number: crafted.segment(way(40003), number, SYN | ACK, 7),
        "invalid, RST": lambda number: crafted.segment(way(40004), number, RST),
        "established UDP": lambda number: crafted.datagram(way(41000), number),
    }


def converse(scene: Scene, family: Family) -> None:
    """The friend and the victim have a conversation."""
    index = FAMILIES.index(family)
    way = Way(PODS["friend"][index], PODS["victim"][index], 41000, 80)
    with scene.gun("friend") as friend, scene.gun("victim") as victim:
        for gun, each, other in ((friend, way, "victim"), (victim, way.back, "friend")):
            number = next(numbers)
            with closing(Eye(scene.pods[other].netns)) as eye:
                gun(crafted.datagram(each, number))
                assert eye.saw(number, 5)


def arrived(
    scene: Scene, cases: Mapping[str, Callable[[int], bytes]], name: str = "attacker"
) -> list[str]:
    """Those that the victim saw."""
    with scene.eyes() as eyes, scene.gun(name) as gun:
        fired = {case: next(numbers) for case in cases}
        for case, number in fired.items():
            gun(cases[case](number))
        return [case for case, number in fired.items() if eyes["victim"].saw(number)]


def test_a_pod_sends_under_its_own_address_whatever_the_state(start: Start) -> None:
    """Without component policy, and without rp_filter."""
    scene = start("direct")
    scene.trust_links()
    borrowed = [
        (family, shots(family, source))
        for index, family in enumerate(FAMILIES)
        for source in (PODS["friend"][index], FAR[index], NODE_ADDRESSES[index])
    ]
    for index, family in enumerate(FAMILIES):
        converse(scene, family)
        own = shots(family, PODS["attacker"][index])
        assert arrived(scene, own) == list(own)
        assert arrived(scene, shots(family, PODS["friend"][index]), "friend") == list(own)
    for family, cases in borrowed:
        before = scene.dropped(family, "borrowed")
        assert arrived(scene, cases) == []
        assert scene.dropped(family, "borrowed") == before + len(cases)
    scene.unguard()
    for _, cases in (borrowed[0], borrowed[3]):  # the friend's
        assert arrived(scene, cases) == list(cases)


def test_a_borrowed_address_is_told_of_by_observe(start: Start) -> None:
    scene = start("direct", "cni,policy")
    client = AgentClient(scene.node.folder / "run/control.sock")
    source, target = PODS["friend"][1], PODS["victim"][1]
    with scene.gun() as gun:
        gun(crafted.datagram(Way(source, target, 40000, 80), next(numbers)))

    def flows() -> list[dict[str, Any]]:
        return [each for each in client.ask("observe", {"last": 99}) if each["kind"] == "borrowed"]

    until("it is told", lambda: len(flows()) == 1)
    (flow,) = flows()
    assert flow["IP"]["source"] == source
    assert "which is not its own address" in flow["reason"]


def heard(scene: Scene, way: Way) -> bool:
    """Whether a datagram reaches a listener of the node."""
    with scene.node.netns.inside(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as listener:
        listener.bind(("::", 7777))
        number = next(numbers)
        with scene.gun() as gun:
            gun(crafted.datagram(way, number))
        listener.settimeout(0.4)
        try:
            return bool(listener.recv(99) == number.to_bytes(4, "big"))
        except TimeoutError:
            return False


def test_the_node_hears_nobody_who_is_nobody(start: Start) -> None:
    """Such a source is in no policy, and rp_filter takes 0.0.0.0 for a DHCP client."""
    scene = start("direct")
    ways = [Way("0.0.0.0", "255.255.255.255", 4000, 7777), Way("fe80::9", "ff02::1", 4000, 7777)]
    own = [Way(PODS["attacker"][index], NODE_ADDRESSES[index], 4000, 7777) for index in (0, 1)]
    assert [heard(scene, each) for each in (*own, *ways)] == [True, True, False, False]
    scene.unguard()
    assert [heard(scene, each) for each in ways] == [True, True]


_LATER = """
table ip6 later {
    chain input {
        type filter hook input priority 0
        icmpv6 type nd-neighbor-solicit ip6 saddr { ::, fe80::9 } counter
        icmpv6 type nd-router-advert ip6 saddr fe80::9 counter
    }
}
"""


def test_neighbours_still_find_each_other(start: Start) -> None:
    """As a pod does that looks for a duplicate of its address, before it has any."""
    scene = start("direct")
    scene.node.netns.run("nft", _LATER)
    target = socket.inet_pton(socket.AF_INET6, "fe80::9")
    solicitation, advertisement = b"\x87" + bytes(7) + target, b"\x86" + bytes(15)
    group = "ff02::1"

    def came() -> list[int]:
        listed = scene.node.netns.run("nft", "list", "table", "ip6", "later")
        return [int(each) for each in re.findall(r"counter packets (\d+)", listed)]

    with scene.gun() as gun:
        gun(crafted.icmp(Way("fe80::9", group), crafted.ICMPV6, advertisement, 255))
        for source in ("::", "fe80::9"):
            gun(crafted.icmp(Way(source, group), crafted.ICMPV6, solicitation, 255))
        until("they are there", lambda: came()[0] == 2)
        assert came()[1] == 0, "no pod is a router"
        scene.unguard()
        gun(crafted.icmp(Way("fe80::9", group), crafted.ICMPV6, advertisement, 255))
        until("it is there", lambda: came()[1] == 1)


# ------------------------------------------------------------------------------ overlay


def inner(source: str, target: str) -> tuple[int, bytes]:
    number = next(numbers)
    return number, crafted.datagram(Way(source, target, 40000, 80), number)


def smuggled(scene: Scene, outer: Callable[[bytes], bytes]) -> list[str]:
    """Which inner packets come out, of a pod's that has them wrapped."""
    out = []
    with scene.eyes() as eyes, scene.gun() as gun:
        for index in (0, 1):
            for source in (PODS["friend"][index], FAR[index]):
                for target, place in ((PODS["victim"][index], "victim"), (PEER[index], "outside")):
                    number, packet = inner(source, target)
                    gun(outer(packet))
                    if eyes[place].saw(number):
                        out.append(f"{source} to {place}")
    return out


def to(
    destination: str, port: int = PORT, node: str = NODE_ADDRESSES[0]
) -> Callable[[bytes], bytes]:
    source = PODS["attacker"][":" in destination]
    return lambda packet: wrapped(packet, Way(source, destination, 50000, port), node)


def test_a_pod_reaches_the_overlay_by_no_address_of_its_node(start: Start) -> None:
    scene = start(components="cni,policy")
    ways = [to(each) for each in (NODE_ADDRESSES[0], "10.244.1.1", "255.255.255.255")]
    for way in ways:
        assert smuggled(scene, way) == []
    scene.unguard()
    for way in ways[:2]:
        assert len(smuggled(scene, way)) >= 4


def seen_outside(scene: Scene, outer: Callable[[bytes], bytes]) -> bool:
    """Whether a pod's wrapped packet gets to the peer, for it to unwrap."""
    number, packet = inner(FAR[0], PODS["victim"][0])
    with scene.eyes() as eyes, scene.gun() as gun:
        gun(outer(packet))
        return eyes["outside"].saw(number)


def test_a_pod_reaches_the_overlay_by_no_address_of_another_node(start: Start) -> None:
    scene = start()
    ways = [to(each, node=PEER[0]) for each in (*PEER, *FAR_DEVICE)]
    assert not any(seen_outside(scene, way) for way in ways)
    assert seen_outside(scene, to(PEER[0], PORT + 1)), "other ports are open"
    assert seen_outside(scene, to(FAR[0])), "and among pods, this one is"
    scene.unguard()
    assert all(seen_outside(scene, way) for way in ways)


def put_service(node: AttachingNode, name: str, endpoint: str) -> None:
    """A Service of the overlay's port of a node."""
    ports = [{"name": "x", "port": 7000, "protocol": "UDP", "targetPort": PORT}]
    metadata = {"namespace": "default", "labels": {"kubernetes.io/service-name": name}}
    address = {"clusterIP": VIPS[name], "clusterIPs": [VIPS[name]]}
    node.put("Service", name, metadata={"namespace": "default"}, spec={**address, "ports": ports})
    node.put(
        "EndpointSlice",
        name,
        SLICES,
        metadata=metadata,
        addressType="IPv4",
        ports=[{"name": "x", "port": PORT, "protocol": "UDP"}],
        endpoints=[{"addresses": [endpoint], "conditions": {"ready": True}}],
    )


def test_a_service_is_no_way_into_the_overlay(start: Start) -> None:
    scene = start(components="cni,proxy")
    put_service(scene.node, "here", NODE_ADDRESSES[0])
    put_service(scene.node, "there", PEER[0])
    listing = ("nft", "list", "table", "ip", "podwire-proxy")
    until(
        "both are served",
        lambda: all(each in scene.node.netns.run(*listing) for each in VIPS.values()),
    )
    here, there = (to(VIPS[each], 7000) for each in ("here", "there"))
    assert smuggled(scene, here) == []
    assert not seen_outside(scene, there)
    scene.unguard()
    assert len(smuggled(scene, here)) >= 4
    assert seen_outside(scene, there)


def test_what_a_peer_wraps_is_no_pod_of_ours_and_nothing_wrapped(start: Start) -> None:
    scene = start()

    def sends(source: str, packet: bytes | None = None) -> bool:
        index = int(":" in source)
        number, plain = inner(source, PODS["victim"][index])
        if packet is None:
            packet = plain
        payload = wrapped(packet, Way("192.0.2.1", "192.0.2.2"), NODE_ADDRESSES[0])[28:]
        with scene.eyes() as eyes:
            with scene.node.peer.inside():
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sender:
                sender.sendto(payload, (NODE_ADDRESSES[0], PORT))
            return eyes["victim"].saw(number)

    assert sends(FAR[0])
    assert sends(FAR[1])
    assert not sends(PODS["friend"][0])
    assert not sends(PODS["friend"][1])
    scene.unguard()
    assert sends(PODS["friend"][0])
