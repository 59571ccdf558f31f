"""Whole truth tables by real packets: every probe at once, each known where it comes out.

with stage(site) as found:
    found.ask([Probe("10.0.0.1", "10.0.1.2", "TCP", 80), …])    # {probe: "x/b", other: ""}

Nothing waits for time. One thread sends, on one processor, whose backlog every hop of a packet
goes through in turn: when a mark that was sent last has come out, after a way as long as the
longest, so has everything that ever will. What has not was dropped.

Nodes send by raw sockets, through their output hook, and hear by raw sockets, behind their input
hook; everyone else is behind a packet socket.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import crafted
import packet_site
from crafted import Way
from packet_site import MARK, OUTSIDE, Site
from scratch import Netns

from podwire_core.family import Family, family_of
from podwire_core.netlink import NETFILTER, Conversation, Message

BURST = 200  # packets between two marks; a processor's backlog takes a thousand
PATIENCE = 60.0  # seconds for a mark, on a busy machine
_ROOM = 1 << 24  # bytes of a receiver's buffer
_ETH_P_ALL = 3  # linux/if_ether.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23  # linux/if_packet.h
_ETHERNET = 14
_FORGET = 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE; without a tuple: everything
_FIRST = 0x70000000  # numbers of probes; a mark's has a first byte that no other has
_MARKS = 0x7F000000
_HEARD = (crafted.TCP, crafted.UDP, crafted.SCTP)


class Probe(NamedTuple):
    """A new connection from an address to an address."""

    source: str
    destination: str
    protocol: str
    port: int


class Arrived(NamedTuple):
    """A packet that came out. packet: without its IP header, where a node heard IPv6."""

    place: str
    number: int
    packet: bytes


class _Ready(NamedTuple):
    """A packet that was made once and is sent often."""

    send: Callable[[bytes], object]
    frame: bytes
    number: int


class Stage:
    """See the module. netns: of every place."""

    def __init__(self, site: Site, netns: Mapping[str, Netns], undo: ExitStack) -> None:
        self.site, self.netns = site, netns
        self._homes = site.homes()
        self._links: dict[tuple[str, str], socket.socket] = {}  # by place and device
        self._raw: dict[tuple[str, Family], socket.socket] = {}  # what nodes send by
        self._ears: list[tuple[str, int, socket.socket]] = []  # place, protocol (0: a link), socket
        self._tables: list[Conversation] = []
        self._ready: dict[Probe, _Ready] = {}
        self._marks = 0
        for name, each in netns.items():
            with each.inside():
                self._open(name, undo)

    # ------------------------------------------------------------------------- questions

    def ask(self, probes: Iterable[Probe]) -> dict[Probe, str]:
        """Where each comes out, "" for nowhere; no connection was known before."""
        self.forget()
        wanted = list(probes)
        ready = [self._ready.get(probe) or self._make(probe) for probe in wanted]
        found: dict[int, str] = {}
        with one_processor():
            for first in range(0, len(ready), BURST):
                for send, packet, _ in ready[first : first + BURST]:
                    send(packet)
                found |= {number: place for place, number, _ in self._settled()}
        return {
            probe: found.get(number, "")
            for probe, (_, _, number) in zip(wanted, ready, strict=True)
        }

    def passed(self, *packets: bytes, place: str = "") -> list[Arrived]:
        """Send IP packets, each from the place that has its source address; what came out of them.

        place: where they are sent from instead. Connections stay known.
        """
        numbers = {crafted.number_of(each) for each in packets}
        return [each for each in self.seen(*packets, place=place) if each.number in numbers]

    def seen(self, *packets: bytes, place: str = "") -> list[Arrived]:
        """The same, and everything else that came out meanwhile."""
        with one_processor():
            for each in packets:
                send, frame = self._sending(each, place)
                send(frame)
            return self._settled()

    def forget(self) -> None:
        """Let both nodes forget all connections."""
        for each in self._tables:
            refused = each.tell([Message(_FORGET, bytes(4))])
            assert not refused, refused

    # --------------------------------------------------------------------------- sockets

    def _open(self, name: str, undo: ExitStack) -> None:
        """The sockets of a place, whose namespace the thread is in."""
        if name not in self.site.nodes:
            for device in self.site.nodes if name == OUTSIDE else ("eth0",):
                link = undo.enter_context(_link(device))
                self._links[name, device] = link
                self._ears.append((name, 0, link))
            return
        self._tables.append(Conversation(NETFILTER))
        undo.callback(self._tables[-1].close)
        for family, af in ((Family.IPV4, socket.AF_INET), (Family.IPV6, socket.AF_INET6)):
            raw = undo.enter_context(socket.socket(af, socket.SOCK_RAW, socket.IPPROTO_RAW))
            self._raw[name, family] = raw
            ping = crafted.ICMP if family is Family.IPV4 else crafted.ICMPV6
            for protocol in (*_HEARD, ping):
                ear = undo.enter_context(socket.socket(af, socket.SOCK_RAW, protocol))
                _prepare(ear)
                self._ears.append((name, protocol if family is Family.IPV6 else -1, ear))

    def _make(self, probe: Probe) -> _Ready:
        number = _FIRST + len(self._ready)
        sport = 20000 + len(self._ready) % 40000
        way = Way(probe.source, probe.destination, sport, probe.port)
        packet = crafted.opening(probe.protocol, way, number)
        self._ready[probe] = _Ready(*self._sending(packet), number)
        return self._ready[probe]

    def _sending(self, packet: bytes, place: str = "") -> tuple[Callable[[bytes], object], bytes]:
        """By what a packet is sent, and its bytes there."""
        source, destination = _ends(packet)
        place = place or self._homes[source]
        if place in self.site.nodes:
            raw = self._raw[place, family_of(source)]
            return (lambda data: raw.sendto(data, (destination, 0))), packet
        device, guest = "eth0", place
        if place == OUTSIDE:
            device = guest = self.site.node_of(self._homes.get(destination, OUTSIDE))
        number = packet_site.number_of(self.site, guest)
        macs = packet_site.mac(1, number), packet_site.mac(2, number)
        return self._links[place, device].send, crafted.frame(*macs, packet)

    # -------------------------------------------------------------------------- arrivals

    def _settled(self) -> list[Arrived]:
        """Everything that has come out since, once a mark has."""
        self._marks += 1
        source = next(each for each in self.site.outside if ":" not in each)
        mark = _MARKS + self._marks % 0xFFFFFF
        packet = crafted.datagram(Way(source, MARK, 1 + self._marks % 65535, 9), mark)
        send, frame = self._sending(packet, OUTSIDE)
        send(frame)
        last = self._links[OUTSIDE, list(self.site.nodes)[1]]
        found: list[Arrived] = []
        while all(each.number != mark for each in found):
            heard, _, _ = select.select([last], [], [], PATIENCE)
            assert heard, "a mark that nothing may drop never came out"
            found += self._heard(OUTSIDE, 0, last)
        for ear in self._ears:
            found += self._heard(*ear)
        return [each for each in found if each.number >> 24 != _MARKS >> 24]

    @staticmethod
    def _heard(place: str, protocol: int, ear: socket.socket) -> Iterator[Arrived]:
        """protocol: 0 for frames, -1 for IP packets, else that of what follows IPv6's header."""
        with suppress(BlockingIOError):
            while True:
                data = ear.recv(2048)
                if protocol > 0:
                    yield Arrived(place, crafted.number_in(protocol, data), data)
                    continue
                packet = data if protocol else data[_ETHERNET:]
                if packet and packet[0] >> 4 in (4, 6):
                    yield Arrived(place, crafted.number_of(packet), packet)


def _link(device: str) -> socket.socket:
    """All that comes in by a device, as frames; and the way out."""
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    found.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    _prepare(found)
    found.bind((device, _ETH_P_ALL))
    return found


def _prepare(ear: socket.socket) -> None:
    ear.setblocking(False)
    ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)


def _ends(packet: bytes) -> tuple[str, str]:
    """Source and destination of an IP packet."""
    if packet[0] >> 4 == 4:
        return socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    return tuple(
        socket.inet_ntop(socket.AF_INET6, each) for each in struct.unpack("16s16s", packet[8:40])
    )  # type: ignore[return-value]  # they are two


@contextmanager
def one_processor() -> Iterator[None]:
    """The calling thread stays on one processor, and so do the packets that it sends."""
    all_ = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_)


@contextmanager
def stage(site: Site) -> Iterator[Stage]:
    """A stage, gone after the block."""
    with packet_site.built(site) as netns, ExitStack() as undo:
        yield Stage(site, netns, undo)
