"""An agent's part for Services, rules and maps, on a node whose endpoints are its own addresses.

    Node      a network namespace and a place of socket programs: what a process may leave behind
    Programmer   what an agent does in there: start() as after a restart, take() for changes

    10.96.0.10:80 ──► 10.244.0.1 … 10.244.0.60, all of them addresses of the loopback device

One listener answers at all of them, with the address that was reached. Clients are processes in the
place's cgroup.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy_stage import HERE
from scratch import Netns

from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change, Snapshot
from podwire_ebpf.plane import Place, Plane, open_plane
from podwire_proxy.services import TABLES, Services
from podwire_proxy.sockets import Reach, Sockets

ENDPOINTS = 60


def wire(netns: Netns) -> None:
    """Endpoints' addresses, and a way to everywhere, so that a VIP can be dialled at all."""
    netns.ip(
        [
            *(f"address add 10.244.0.{number}/32 dev lo" for number in range(1, ENDPOINTS + 1)),
            *(
                f"address add fd00:10:244::{number:x} dev lo nodad"
                for number in range(1, ENDPOINTS + 1)
            ),
            "address add 192.168.77.1/32 dev lo",
            "address add fd00:77::1 dev lo nodad",
            "link add away type veth peer name nowhere",
            "link set nowhere up",
            "link set away up arp off",
            "route add default dev away src 192.168.77.1",
            "route add ::/0 dev away src fd00:77::1",
        ]
    )


class Programmer:
    """Made in the node's network namespace, as an agent is. Raises BpfError and NftError."""

    def __init__(self, place: Place) -> None:
        self.plane: Plane = open_plane(place)
        self.owner = Owner(Kernel(), TABLES)
        self.owner.adopt()
        self.sockets = Sockets(Reach(refuses=self.plane.features.set_retval))
        self.services = Services(HERE, dict(self.owner.in_force), sockets=self.sockets)
        self.snapshot = Snapshot()

    def start(self, *objects: KubernetesObject) -> None:
        """The first sync: rules, then rows, then the programs that read them."""
        changes = [Change(type(each), each.name, each) for each in objects]
        new = [change for change in changes if self.snapshot.apply(change)]
        self.owner.sync(self.services.update(self.snapshot, new))  # type: ignore[arg-type]  # the first answer has no None
        tables = self.plane.tables
        self.plane.apply(
            self.sockets.adopt(
                tables.frontends.items(), tables.endpoints.items(), tables.members.items()
            )
        )
        self.plane.attach()

    def put(self, *objects: KubernetesObject) -> None:
        """These objects come, or come otherwise: rules first."""
        self.take([Change(type(each), each.name, each) for each in objects])

    def take(self, changes: Sequence[Change]) -> None:
        """Some changes, as one."""
        new = [change for change in changes if self.snapshot.apply(change)]
        self.owner.change(self.services.update(self.snapshot, new))
        self.plane.apply(self.sockets.take())

    def close(self) -> None:
        """As an agent that ends: all that is attached stays."""
        self.plane.close()
