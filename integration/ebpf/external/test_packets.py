"""Packets from outside that are no plain segment or datagram: ICMP errors, fragments, oddities."""

from __future__ import annotations

import fcntl
import os
import random
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import crafted
import pytest
from crafted import Way
from flows.objects import Port
from flows.places import ADDRESSES
from scratch import until
from uplink_stage import (
    LOCAL,
    NODE_MAC,
    NODEPORT,
    OUTSIDE_MAC,
    Stage,
    datagrams,
    listening,
    node,
    requests,
    say,
    send,
    send_frame,
    settled,
    talk,
    world,
)

from podwire_core.family import FAMILIES, Family

pytestmark = pytest.mark.usefixtures("attached")

POLICIES = pytest.mark.parametrize("policy", [{}, LOCAL], ids=["Cluster", "Local"])
BOTH = pytest.mark.parametrize("family", FAMILIES)

_OTHERS_MAC = "02:00:00:00:01:77"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_SO_NO_CHECK = 11
_IPV6_DSTOPTS = 59
_MTU = 1300
TUN = Path("/dev/net/tun")


def outside(family: Family) -> str:
    return ADDRESSES["outside"][family]


# ------------------------------------------------------------------------------- ICMP errors


@BOTH
@POLICIES
def test_a_closed_port_is_told_to_the_client(
    stage: Stage, family: Family, policy: dict[str, str]
) -> None:
    stage.program(world("a", Port(80, 5399, "u", "UDP", NODEPORT), **policy))
    with datagrams(stage, family) as client:
        client.connect((node(family), NODEPORT))
        client.send(b"hello\n")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
    assert len(requests(stage)) == 1


@contextmanager
def narrow(stage: Stage, family: Family) -> Iterator[None]:
    """node1's link to a takes small packets alone, which a does not know."""
    stage.netns["node"].ip(["link set pod-a mtu 1300"])
    yield
    stage.netns["node"].ip(["link set pod-a mtu 1500"])
    for place in ("outside", "a"):
        stage.netns[place].run(
            "ip", "-f", family.nft.replace("ip", "inet", 1), "route", "flush", "cache"
        )


def path_mtu(stage: Stage, place: str, address: str) -> str:
    """What a place has learnt of the way to an address."""
    found = re.search(r"mtu (\d+)", stage.netns[place].run("ip", "route", "get", address))
    return found[1] if found else ""


@BOTH
@POLICIES
def test_a_client_learns_of_a_smaller_mtu_behind(
    stage: Stage, family: Family, policy: dict[str, str]
) -> None:
    """The node's complaint is about a packet to the endpoint, which no client has sent."""
    stage.program(world("a", Port(target=9000, node=NODEPORT), **policy))
    with stage.netns["a"].inside():
        listener = listening(9000)
    with narrow(stage, family), listener, talk(stage, node(family)) as client:
        served, _ = listener.accept()
        with served:
            blob = os.urandom(300_000)
            sending = threading.Thread(target=client.sendall, args=(blob,))
            sending.start()
            found = bytearray()
            served.settimeout(5)
            while len(found) < len(blob):
                found += served.recv(1 << 20)
            sending.join()
            assert found == blob
        assert path_mtu(stage, "outside", node(family)) == str(_MTU)


@BOTH
@POLICIES
def test_an_endpoint_learns_of_a_smaller_mtu_outside(
    stage: Stage, family: Family, policy: dict[str, str]
) -> None:
    """A router's complaint is about a packet of the Service's, which no endpoint has sent."""
    stage.program(world("a", **policy))
    with datagrams(stage, family) as client:
        client.connect((node(family), NODEPORT))
        assert say(client) == "a:5353"
        about = Way(node(family), outside(family), NODEPORT, client.getsockname()[1])
    complain(stage, crafted.datagram(about, 1, bytes(_MTU)))
    peer = outside(family) if policy else node(family)
    until("a has heard it", lambda: path_mtu(stage, "a", peer) == str(_MTU))
    stage.netns["a"].run("ip", "route", "flush", "cache")
    stage.netns["a"].run("ip", "-6", "route", "flush", "cache")


def complain(stage: Stage, about: bytes) -> None:
    """A router outside has no way for a packet that big."""
    family = Family.IPV4 if about[0] >> 4 == 4 else Family.IPV6
    protocol, kind, code = (crafted.ICMP, 3, 4) if family is Family.IPV4 else (crafted.ICMPV6, 2, 0)
    message = struct.pack(">BBHI", kind, code, 0, _MTU) + about[:576]
    send(stage, crafted.icmp(Way(outside(family), node(family)), protocol, message))


def test_an_error_about_nobodys_packet_is_left_alone(stage: Stage) -> None:
    """It reaches the node itself, as it came."""
    stage.program(world("a"))
    about = crafted.datagram(Way(node(Family.IPV4), outside(Family.IPV4), 4000, 4001), 1)
    with stage.netns["node"].inside():
        ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, crafted.ICMP)
    with ear:
        ear.settimeout(5)
        complain(stage, about)
        packet = ear.recv(4096)
    assert packet[28 : 28 + 20] == about[:20]


# -------------------------------------------------------------------------------- fragments


@contextmanager
def one_processor() -> Iterator[None]:
    """Else the second part of a datagram may overtake the first: its sender moves in between."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def echo(stage: Stage, place: str, port: int) -> Iterator[None]:
    """Datagrams come back as they are."""
    with stage.netns[place].inside():
        server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", port))

    def run() -> None:
        while True:
            data, client = server.recvfrom(65536)
            if not data:
                return
            server.sendto(data, client)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    with stage.netns[place].inside(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as last:
        last.sendto(b"", ("::1", port))
    thread.join()
    server.close()


@BOTH
@POLICIES
@pytest.mark.parametrize("size", [3_000, 60_000])
def test_big_datagrams_come_and_go(
    stage: Stage, family: Family, policy: dict[str, str], size: int
) -> None:
    """The parts that have no ports go where the first one goes."""
    endpoints = "a b" if policy else "a b d"
    stage.program(world(endpoints, Port(80, 9100, "u", "UDP", NODEPORT), **policy))
    places = [echo(stage, each, 9100) for each in "abd"]
    with one_processor(), places[0], places[1], places[2]:
        for _ in range(6):
            with datagrams(stage, family) as client:
                client.connect((node(family), NODEPORT))
                for count in (1, size, size + 7, 1):
                    client.send(bytes(count))
                    assert len(client.recv(65536)) == count
    assert len(requests(stage)) == 6


# --------------------------------------------------------------------------------- oddities


def test_options_of_ipv4_are_no_hindrance(stage: Stage) -> None:
    stage.program(world("a"))
    with datagrams(stage, Family.IPV4) as client:
        client.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\1\1\1\1")
        client.connect((node(Family.IPV4), NODEPORT))
        assert say(client) == "a:5353"
    assert len(requests(stage)) == 1


def test_extension_headers_of_ipv6_are_left_to_nftables(stage: Stage) -> None:
    stage.program(world("a"))
    with datagrams(stage, Family.IPV6) as client:
        client.setsockopt(socket.IPPROTO_IPV6, _IPV6_DSTOPTS, b"\0\0\1\4\0\0\0\0")
        client.connect((node(Family.IPV6), NODEPORT))
        assert say(client) == "a:5353"
    assert all(half.nftables for _, half in requests(stage))


def test_a_datagram_without_a_checksum_has_none(stage: Stage) -> None:
    stage.program(world("a", **LOCAL))
    with stage.netns["a"].inside():
        ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, crafted.UDP)
    with ear, datagrams(stage, Family.IPV4) as client:
        ear.settimeout(5)
        client.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        client.connect((node(Family.IPV4), NODEPORT))
        assert say(client) == "a:5353"
        assert ear.recv(4096)[26:28] == b"\0\0"


def test_what_is_another_machines_is_not_looked_at(stage: Stage) -> None:
    stage.program(world("a"))
    packet = crafted.opening("TCP", Way(outside(Family.IPV4), node(Family.IPV4), 4000, NODEPORT), 1)
    send(stage, packet, to=_OTHERS_MAC)
    send_frame(stage, tagged(packet))
    settled(stage)
    assert len(requests(stage)) == 1


def tagged(packet: bytes) -> bytes:
    """In a VLAN."""
    frame = crafted.frame(NODE_MAC, OUTSIDE_MAC, packet)
    return frame[:12] + b"\x81\x00\x00\x07" + frame[12:]


def test_rubbish_hurts_nobody(stage: Stage) -> None:
    """Packets that end early, and packets with any bit turned."""
    stage.program(world("a"))
    numbers = random.Random(1)
    for family in FAMILIES:
        way = Way(outside(family), node(family), 4000, NODEPORT)
        plain = [crafted.opening(each, way, 1) for each in ("TCP", "UDP", "ICMP")]
        plain += [crafted.unreachable(way, each) for each in plain]
        for packet in plain:
            for _ in range(100):
                turned = bytearray(packet[: numbers.randint(1, len(packet))])
                turned[numbers.randrange(len(turned))] ^= 1 << numbers.randrange(8)
                send(stage, bytes(turned), family=family)
    settled(stage)


@contextmanager
def tun(stage: Stage) -> Iterator[int]:
    """A link of node1's without Ethernet, of which this process is the other end."""
    if not TUN.exists():
        subprocess.run(["modprobe", "tun"], check=False, capture_output=True)
    if not TUN.exists():
        pytest.skip("the kernel has no tun links: CONFIG_TUN, of any version")
    with stage.netns["node"].inside():
        other = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(other, _TUNSETIFF, struct.pack("16sH22x", b"bare", _IFF_TUN | _IFF_NO_PI))
    stage.netns["node"].ip(
        ["link set bare up", "route add 10.77.0.9 dev bare", "route add fd00:770::9 dev bare"]
    )
    yield other
    os.close(other)


@pytest.mark.parametrize("client", ["10.77.0.9", "fd00:770::9"])
def test_a_link_without_ethernet_is_served(stage: Stage, client: str) -> None:
    stage.program(world("a"))
    family = Family.IPV4 if "." in client else Family.IPV6
    with tun(stage) as other:
        stage.attach("bare")
        os.write(other, crafted.opening("TCP", Way(client, node(family), 4000, NODEPORT), 7))
        answers: list[bytes] = []

        def answered() -> bool:
            try:
                packet = os.read(other, 4096)
            except BlockingIOError:
                return False
            # Routers and listeners are looked for by IPv6, too.
            if packet[9 if family is Family.IPV4 else 6] == crafted.TCP:
                answers.append(packet)
            return bool(answers)

        until("the endpoint answers", answered)
    head = 20 if family is Family.IPV4 else 40
    port, flags = answers[0][head : head + 2], answers[0][head + 13]
    assert (int.from_bytes(port), flags) == (NODEPORT, crafted.SYN | crafted.ACK)
    assert socket.inet_pton(*_packed(node(family))) in answers[0][8:24]
    assert len(requests(stage)) == 1


def _packed(address: str) -> tuple[int, str]:
    return (socket.AF_INET if "." in address else socket.AF_INET6), address
