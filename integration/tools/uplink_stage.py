"""The flows' stage with the programs for traffic from outside at node1's links to other machines.

                 outside                     node2 ── d, e
                    │                          │
      uplink ───────┴────────── node1 ─────────┴ fabric         a, b, c behind pod-…
         └ in: to an endpoint                     └ in: to an endpoint
         └ out: from what was dialled             └ out: from what was dialled

with stage(folder) as found:                          # nftables alone
    found.attach()                                    # and the programs beside it
    found.program(world)                              # rules and maps
    found.ask("outside", [("tcp", "192.168.77.1", 30080)])
    found.connections()                               # {Flow: Connection}
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import bpf_place
import crafted
import flow_site
import flow_stage
from flows.objects import Port, Svc
from flows.places import ADDRESSES, NODE
from flows.world import World
from scratch import Netns

from podwire_core.family import Family
from podwire_core.objects import Node, ObjectName
from podwire_core.snapshot import Change
from podwire_ebpf import external, uplink
from podwire_ebpf.external import Connection, Flag, Flow, Way
from podwire_ebpf.plane import External, Plane, open_plane
from podwire_ebpf.records import Member
from podwire_ebpf.tables import Table
from podwire_proxy.services import Services
from podwire_proxy.sockets import Reach, Sockets

#: By which of node1's links the world comes in.
LINKS = ("uplink", "fabric")
REACH = Reach(external=True, masquerade=Flag.MASQUERADE, by_source=Flag.BY_SOURCE)
#: Of uplink, and of the host at its other end.
NODE_MAC, OUTSIDE_MAC = "02:00:00:00:01:00", "02:00:00:00:02:00"
NODEPORT = 30080
PORTS = (Port(node=NODEPORT), Port(80, 5353, "u", "UDP", NODEPORT))
LOCAL = {"externalTrafficPolicy": "Local"}


class Stage(flow_stage.Stage):
    """See the module. The socket programs are attached nowhere."""

    def __init__(self, netns: Mapping[str, Netns], plane: Plane) -> None:
        super().__init__(netns)
        self.plane = plane
        self.external: External = plane.external()
        self.sockets = Sockets(REACH)

    # ------------------------------------------------------------------------- programs

    def attach(self, *links: str) -> None:
        """Have the programs at links of node1's, as `LINKS`."""
        with self.netns["node"].inside():
            for link in links or LINKS:
                uplink.attach(link, self.external.programs)

    def detach(self) -> list[str]:
        """Take them away; from which links."""
        with self.netns["node"].inside():
            return uplink.remove()

    # ---------------------------------------------------------------------- rules, maps

    def program(self, world: World) -> None:
        """As a restarted agent would, with maps that are new."""
        flow_site.enter(world, self.netns["node"])
        self.owner.adopt()
        self.sockets = Sockets(REACH)
        held = dict(self.owner.in_force)
        options = replace(
            world.options,
            masquerade_mark=external.MASQUERADE_MARK,
            translated_mark=external.TRANSLATED_MARK,
        )
        self.services = Services(NODE, held, options, self.sockets)
        self.snapshot, changes = world.changes()
        self.owner.sync(self.services.update(self.snapshot, changes))  # type: ignore[arg-type]  # the first answer has no None
        self._empty()
        self.plane.apply(self.sockets.take())
        own = dict.fromkeys(self._nodeport_addresses(world), Member())
        self.plane.tables.addresses.update(own)
        self.external.insiders.update(dict.fromkeys(self._insiders(world), Member()))

    def change(self, *changes: Change) -> None:
        """Something happens in the cluster: nftables first, then the maps."""
        super().change(*changes)
        self.plane.apply(self.sockets.take())

    def become(self, after: World) -> None:
        """The cluster's objects become those of another world, piece by piece."""
        self.change(*after.changes()[1])

    def _empty(self) -> None:
        tables = self.plane.tables
        every: list[Table[Any, Any]] = [tables.frontends, tables.endpoints, tables.members]
        every += [tables.addresses, tables.affinity, *self._memory]
        for table in (*every, self.external.insiders):
            table.delete(list(table.read()))

    def _nodeport_addresses(self, world: World) -> Iterator[str]:
        networks = [ip_network(each) for each in self.services.nodeport_networks]
        for address in world.node_addresses():
            own = ip_address(address)
            if not own.is_loopback and any(own in each for each in networks):
                yield address

    def _insiders(self, world: World) -> Iterator[str]:
        local = world.options.local
        if local.mode == "nodes":
            for each in self.snapshot.all(Node):
                yield from each.pod_cidrs
        elif local.mode == "own":
            mine = self.snapshot.get(Node, ObjectName("", NODE))
            yield from mine.pod_cidrs if mine else ()
        else:
            yield from local.cidrs

    # ------------------------------------------------------------------------ questions

    def connections(self) -> dict[Flow, Connection]:
        """Both halves of all that the programs know."""
        opening, established = (each.read() for each in self._memory)
        return opening | established

    @property
    def _memory(self) -> tuple[Table[Flow, Connection], Table[Flow, Connection]]:
        return self.external.opening, self.external.connections

    def forget(self) -> None:
        """Let rules and programs remember no one, and no connection."""
        super().forget()
        tables: tuple[Table[Any, Any], ...]
        tables = (self.plane.tables.affinity, *self._memory)
        for table in tables:
            table.delete(list(table.read()))


# ------------------------------------------------------------------------------- vocabulary


def world(endpoints: str, *ports: Port, **more: Any) -> World:
    """Service `web`, with every way in from outside; more: of Svc, and fields of its spec."""
    web = Svc("web", endpoints, *(ports or PORTS), balancer=True, external=True, **more)
    return World(endpoints or "none", (web,), ())


def node(family: Family) -> str:
    """node1's address."""
    return ADDRESSES["node"][family]


def talk(stage: Stage, address: str, port: int = NODEPORT, **more: Any) -> socket.socket:
    """A TCP connection of the host outside; more: of socket.create_connection."""
    with stage.netns["outside"].inside():
        return socket.create_connection((address, port), timeout=20, **more)


def datagrams(stage: Stage, family: Family, place: str = "outside", port: int = 0) -> socket.socket:
    """A UDP socket of a place."""
    kind = socket.AF_INET6 if family is Family.IPV6 else socket.AF_INET
    with stage.netns[place].inside():
        made = socket.socket(kind, socket.SOCK_DGRAM)
    made.settimeout(20)
    made.bind(("", port))
    return made


def listening(port: int) -> socket.socket:
    """A TCP server's socket for both families, in the namespace of the calling thread."""
    made = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    made.settimeout(20)
    return made


def say(connection: socket.socket) -> str:
    """A word to a server; who answers."""
    connection.sendall(b"hello\n")
    return connection.recv(4096).decode().split()[0]


def send(stage: Stage, packet: bytes, *, to: str = NODE_MAC, family: Family | None = None) -> None:
    """An IP packet of the host outside; family: where its own first bits may lie."""
    frame = crafted.frame(to, OUTSIDE_MAC, packet)
    if family:
        frame = frame[:12] + (b"\x08\x00" if family is Family.IPV4 else b"\x86\xdd") + frame[14:]
    send_frame(stage, frame)


def send_frame(stage: Stage, *frames: bytes) -> None:
    """What the host outside sends, one after the other."""
    with stage.netns["outside"].inside():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with link:
        link.bind(("eth0", 0))
        for frame in frames:
            link.send(frame)


def settled(stage: Stage) -> None:
    """Whatever was sent before has come in, as this is served."""
    assert stage.ask("outside", [("tcp", node(Family.IPV4), NODEPORT)])[0].end != "DROP"


def requests(stage: Stage) -> list[tuple[Flow, Connection]]:
    """The halves that clients' packets go by."""
    return [row for row in stage.connections().items() if row[0].way is Way.REQUEST]


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """A stage, gone after the block. folder: an empty one, for a bpffs."""
    with bpf_place.place(folder) as place, flow_stage.stage() as plain, ExitStack() as undo:
        plane = open_plane(place)
        undo.callback(plane.close)
        # Ports that tests name: no connection before may have had them.
        own = "net.ipv4.ip_local_reserved_ports=45000-45099"
        plain.netns["outside"].run("sysctl", "-qw", own)
        yield Stage(plain.netns, plane)
