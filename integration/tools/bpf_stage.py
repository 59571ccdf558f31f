"""A node with two pods and four endpoints, whose sockets the eBPF programs translate.

     a  10.8.1.2 ──┐                      ┌─ 10.9.0.1  fd09::1   TCP and UDP 8080: who answers
        fd08:1::2  ├─ node ── endpoints ──┤  …
     b  10.8.2.2 ──┘  10.8.1.1            └─ 10.9.0.4  fd09::4
        fd08:2::2     fd08:1::1

with bpf_stage.stage(folder) as on:
    on.serve(FrontendKey("10.96.0.10", 80, TCP), "10.9.0.1", "10.9.0.2")
    with on.dial(on.a, "10.96.0.10", 80) as made:
        made.getpeername(), who(made)

There is no nftables here: what the programs let pass goes nowhere, or where it was sent. While the
stage stands this process is in its cgroup, and so is what it starts.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import bpf_place
import kernel_features
import scratch
from bpf_answers import answering
from scratch import Netns

from podwire_ebpf.layout import FIRST
from podwire_ebpf.place import Place
from podwire_ebpf.plane import Plane, open_plane
from podwire_ebpf.records import (
    Endpoint,
    EndpointKey,
    Flag,
    Frontend,
    FrontendKey,
    Member,
    MemberKey,
    Peer,
    ReverseKey,
)
from podwire_ebpf.rows import Change

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
PORT = 8080
ENDPOINTS4 = tuple(f"10.9.0.{number}" for number in range(1, 5))
ENDPOINTS6 = tuple(f"fd09::{number}" for number in range(1, 5))

_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, Linux 5.14
_SO_COOKIE = 57
_PATIENCE = 20


def family_of(address: str) -> socket.AddressFamily:
    """Of an address as text."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def list_of(key: FrontendKey) -> int:
    """A list's number, as good as a digest where each frontend has a list of its own."""
    return hash(key) & (1 << 64) - 1


def cookie(made: socket.socket) -> int:
    """The socket's, as the programs know it."""
    return int.from_bytes(made.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), sys.byteorder)


def who(made: socket.socket) -> str:
    """The address of the endpoint at the other end."""
    made.sendall(b"who?\n")
    return made.recv(100).decode()


@dataclass
class Stage:
    """What stands. Frontends have lists of their own."""

    plane: Plane
    place: Place
    node: Netns
    a: Netns
    b: Netns
    endpoints: Netns

    # -------------------------------------------------------------------------------- maps

    def serve(
        self,
        key: FrontendKey,
        *addresses: str,
        affinity: int = 0,
        counter: int = 0,
        ready: frozenset[str] | None = None,
        ending: frozenset[str] = frozenset(),
    ) -> None:
        """A frontend with these endpoints.

        ready: those a client is sent back to, if not all. ending: others, that still serve.
        """
        number, every = list_of(key), [Endpoint(each, PORT) for each in addresses]
        served = Frontend(number, len(every), affinity, counter, first=tuple(every[:FIRST]))
        change = Change(frontends={key: served})
        for slot, each in enumerate(every[FIRST:], FIRST):
            change.endpoints[EndpointKey(number, slot)] = each
        for member in [key for key in self.plane.tables.members.read() if key.list == number]:
            change.members[member] = None
        for each in every if affinity or key.protocol == UDP else ():
            state = 1 if ready is None or each.address in ready else 2
            change.members[MemberKey(number, each.address, each.port)] = Member(state)
        for address in ending:
            change.members[MemberKey(number, address, PORT)] = Member(2)
        self.plane.apply(change)

    def withdraw(self, key: FrontendKey) -> None:
        """The Service is deleted."""
        self.plane.apply(Change(frontends={key: None}))

    def clear(self) -> None:
        """As when the plane was made; counters alone stay."""
        tables = self.plane.tables
        tables.frontends.delete(tables.frontends.read())
        for table in (tables.endpoints, tables.members, tables.affinity, tables.reverse):
            table.delete(table.read())  # type: ignore[arg-type] # keys of the very table
        tables.addresses.delete(tables.addresses.read())
        tables.canaries.delete(tables.canaries.read())
        self.plane.settings(self.namespace(self.node))

    def answers_at(self, *addresses: str) -> None:
        """Addresses at which NodePorts answer."""
        self.plane.apply(Change(addresses=dict.fromkeys(addresses, True)))

    def localhost(self, *, answers: bool = True) -> None:
        """Whether NodePorts answer at the node's loopback."""
        self.plane.settings(self.namespace(self.node), Flag.LOCALHOST if answers else Flag(0))

    def remembered(self, made: socket.socket) -> set[tuple[str, int]]:
        """The endpoints that the maps have of a socket."""
        number, tables = cookie(made), self.plane.tables
        return {
            *((key.address, key.port) for key in tables.reverse.read() if _is_of(key, number)),
            *(_endpoint(peer) for peer in tables.peers.read().values() if peer.socket == number),
        }

    def namespace(self, where: Netns) -> int:
        """The cookie of a network namespace: the kernel's word, before Linux 5.14 the programs'."""
        with self.socket(where, socket.AF_INET, socket.SOCK_DGRAM) as made:
            if kernel_features.has("so_netns_cookie"):
                raw = made.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
                return int.from_bytes(raw, sys.byteorder)
            with suppress(PermissionError):
                made.connect(("192.0.0.8", 9))
            found = self.plane.tables.canaries.get(cookie(made))
            assert found
            return found.namespace

    def counted(self, counter: int) -> tuple[int, int]:
        """Connections and refusals so far."""
        return tuple(self.plane.tables.counters.get(counter) or (0, 0))  # type: ignore[return-value] # a pair

    # -------------------------------------------------------------------------------- sockets

    def socket(
        self, where: Netns, family: socket.AddressFamily, kind: socket.SocketKind
    ) -> socket.socket:
        """A socket of somebody there."""
        with where.inside():
            made = socket.socket(family, kind)
        made.settimeout(_PATIENCE)
        return made

    def dial(self, where: Netns, address: str, port: int, *, mapped: bool = False) -> socket.socket:
        """A TCP connection; mapped: by a dual-stack socket to ::ffff:address."""
        return self._connected(where, address, port, socket.SOCK_STREAM, mapped=mapped)

    def talk(self, where: Netns, address: str, port: int, *, mapped: bool = False) -> socket.socket:
        """A connected UDP socket."""
        return self._connected(where, address, port, socket.SOCK_DGRAM, mapped=mapped)

    def _connected(
        self, where: Netns, address: str, port: int, kind: socket.SocketKind, *, mapped: bool
    ) -> socket.socket:
        target = f"::ffff:{address}" if mapped else address
        made = self.socket(where, family_of(target), kind)
        try:
            made.connect((target, port))
        except BaseException:
            made.close()
            raise
        return made


def _is_of(key: ReverseKey, number: int) -> bool:
    return key.socket == number and key.port != 0 and not key.forward


def _endpoint(peer: Peer) -> tuple[str, int]:
    return peer.endpoint, peer.endpoint_port


def refusal() -> type[OSError]:
    """What a call to a Service without endpoints ends with."""
    return ConnectionRefusedError if kernel_features.has("set_retval") else PermissionError


# ------------------------------------------------------------------------------------ building


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Everything, gone after the block. folder: an empty one; a bpffs is mounted there."""
    with ExitStack() as undo:
        place = undo.enter_context(bpf_place.place(folder))
        namespaces = []
        for _ in range(4):
            namespaces.append(scratch.make())
            undo.callback(scratch.remove, namespaces[-1])
        node, a, b, endpoints = namespaces
        _wire(node, a, b, endpoints)
        undo.enter_context(inside(place.cgroup))
        undo.enter_context(answering(endpoints, ENDPOINTS4 + ENDPOINTS6, PORT))
        plane = open_plane(place)
        undo.callback(plane.close)
        plane.attach()
        made = Stage(plane, place, node, a, b, endpoints)
        made.clear()
        yield made


@contextmanager
def inside(cgroup: Path) -> Iterator[None]:
    """This process is in a cgroup."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    (ours,) = (line.removeprefix("0::/") for line in lines if line.startswith("0::"))
    home = bpf_place.cgroup2() / ours
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (home / "cgroup.procs").write_text(str(os.getpid()))


def _wire(node: Netns, a: Netns, b: Netns, endpoints: Netns) -> None:
    node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    for number, each in enumerate((a, b, endpoints), 1):
        link = f"to{number}"
        node.ip([f"link add {link} type veth peer name eth0 netns {each.name}"])
        node.ip(
            [
                f"addr add 10.8.{number}.1/24 dev {link}",
                f"addr add fd08:{number}::1/64 dev {link} nodad",
                f"link set {link} up",
            ]
        )
        each.ip(
            [
                f"addr add 10.8.{number}.2/24 dev eth0",
                f"addr add fd08:{number}::2/64 dev eth0 nodad",
                "link set eth0 up",
                f"route add default via 10.8.{number}.1",
                f"route add default via fd08:{number}::1",
            ]
        )
    endpoints.ip([f"addr add {each}/32 dev lo" for each in ENDPOINTS4])
    endpoints.ip([f"addr add {each}/128 dev lo nodad" for each in ENDPOINTS6])
    node.ip(["route add 10.9.0.0/24 via 10.8.3.2", "route add fd09::/64 via fd08:3::2"])
