"""node1 with the proxy's rules for a world, and connections from any place to any other.

with stage() as found:
    found.program(world)                             # as a restarted agent would
    found.ask("c", [("tcp", "10.96.0.10", 80)])      # [Seen("a:8080", "10.244.1.7")]
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import flow_site
import sctp
from flow_servers import Servers
from flows.places import LOCAL_PODS, NODE, REMOTE_PODS, SERVED, SERVED_AWAY
from flows.rows import AWAY, DROP, REJECT
from flows.world import World
from scratch import SLOWNESS, Netns

from podwire_core.family import Family
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.objects import Set
from podwire_core.nft.owner import Owner
from podwire_core.objects import Protocol
from podwire_core.snapshot import Change
from podwire_lab.programs import probe
from podwire_proxy import layout
from podwire_proxy.services import TABLES, Services

#: Who listens where. On node1 only a hostNetwork pod would: all else is refused by its own stack.
PORTS = {
    **dict.fromkeys((*LOCAL_PODS, *REMOTE_PODS), SERVED),
    **dict.fromkeys(("node", "node2"), (8080,)),
    **dict.fromkeys(("outside", flow_site.BEYOND), SERVED_AWAY),
}
PATIENCE = 20.0 * SLOWNESS  # seconds for who is to answer, on a busy machine
#: What a sender whose own rules stop its datagram is told, whether they drop or refuse it.
STOPPED = f"failed {os.strerror(errno.EPERM)}"

Target = tuple[str, str, int]  # protocol, address, port


class Seen(NamedTuple):
    """What a connection came to: an end in the words of the table, and the client's address."""

    end: str
    client: str = ""


class Stage:
    """Namespaces by place, servers in them, and the proxy on node1."""

    def __init__(self, netns: Mapping[str, Netns]) -> None:
        self.netns = netns
        with netns["node"].inside():
            self.owner = Owner(Kernel(), TABLES)
        self.services = Services(NODE)

    def program(self, world: World) -> None:
        """Bring node1 from the world it is in to this one, as a restarted agent would."""
        flow_site.enter(world, self.netns["node"])
        self.owner.adopt()
        self.services = Services(NODE, dict(self.owner.in_force), world.options)
        self.snapshot, changes = world.changes()
        self.owner.sync(self.services.update(self.snapshot, changes))  # type: ignore[arg-type]  # the first answer has no None

    def change(self, *changes: Change) -> None:
        """Something happens in the cluster; who remembers what is no endpoint forgets it."""
        new = [change for change in changes if self.snapshot.apply(change)]
        self.owner.change(self.services.update(self.snapshot, new))

    def ask(self, source: str, targets: Sequence[Target], timeout: float = PATIENCE) -> list[Seen]:
        """One connection from a place to each target, all at once."""
        with self.netns[source].inside():
            if any(protocol == "sctp" for protocol, _, _ in targets):
                answers = sctp.ask([target[1:] for target in targets], timeout)
            else:
                answers = probe.ask(list(targets), timeout)
        return [seen(*each) for each in answers]

    def remembered(self) -> int:
        """How many clients' endpoints the kernel remembers."""
        return sum(len(self.owner.entries(each.table, each.name)) for each in self._memories())

    def remembered_addresses(self) -> list[str]:
        """Where clients of TCP were sent that the kernel remembers."""
        name = layout.affinity(Protocol.TCP).addresses
        return [
            address
            for family in Family
            for address in self.owner.entries(layout.table(family), name).values()
        ]

    def forget(self) -> None:
        """Let it remember no one; no flow either, to which datagrams of its port would belong."""
        for each in self._memories():
            known = self.owner.entries(each.table, each.name)
            self.owner.forget(each.table, (each.name,), list(known))
        flow_site.forget_connections(self.netns["node"])

    def _memories(self) -> Iterator[Set]:
        wanted = self.services.wanted.values()
        return (each for each in wanted if isinstance(each, Set) and each.dynamic)


def seen(outcome: str, text: str) -> Seen:
    """A probe's answer in the words of the table."""
    if outcome == "answered":
        where, client = text.split()
        beyond = where.startswith((flow_site.BEYOND, "outside"))
        return Seen(AWAY if beyond else where, client)
    found = {"refused": REJECT, "silent": DROP}
    return Seen(found.get(outcome, f"{outcome} {text}"))


@contextmanager
def stage() -> Iterator[Stage]:
    """A stage, gone after the block."""
    with flow_site.site() as netns, _many_sockets():
        servers = Servers()
        try:
            servers.start(netns, PORTS)
            yield Stage(netns)
        finally:
            servers.close()


@contextmanager
def _many_sockets() -> Iterator[None]:
    """Clients of every place at once, and their servers, are more than the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
