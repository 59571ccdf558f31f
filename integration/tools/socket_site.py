"""A node whose sockets are served: programs in a cgroup of the test's own, two pods, one Service.

```
 client 10.244.1.4 ─┐
        fd00::1:4   ├─ veth ─ server 10.244.2.5, fd00::2:5     10.96.0.13:80  ─► server:5432
                    ┘                                          10.96.0.14:80  ─► nobody
```

Pods have the names and addresses of drop_site: shop/frontend and shop/db. Whoever dials is a
process in the cgroup and in the client's namespace.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bpf_place
import scratch
from scratch import Netns

from podwire_ebpf.place import Place
from podwire_ebpf.plane import Plane, open_plane
from podwire_ebpf.records import Endpoint, Flag, Frontend, FrontendKey, MemberKey
from podwire_ebpf.records import Member as There
from podwire_ebpf.rows import Change
from podwire_node.observe.sockets import Hear

VIP, EMPTY, LEFT = "10.96.0.13", "10.96.0.14", "10.96.0.15"
VIP6 = "fd00:96::d"
CLIENT, SERVER = ("10.244.1.4", "fd00::1:4"), ("10.244.2.5", "fd00::2:5")
LIST, LIST6, NOBODY = 0xD1, 0xD6, 0xE0
LABELS = {
    FrontendKey(VIP, 80, 6): "shop/db:sql",
    FrontendKey(VIP6, 80, 6): "shop/db:sql",
    FrontendKey(EMPTY, 80, 6): "shop/empty:",
    FrontendKey("0.0.0.0", 30080, 6): "shop/db:sql",
}
LEFT_TO_NFTABLES = {FrontendKey(LEFT, 443, 6): "loadBalancerSourceRanges"}
ROWS = Change(
    frontends={
        FrontendKey(VIP, 80, 6): Frontend(
            LIST, 1, affinity=60, counter=1, first=(Endpoint(SERVER[0], 5432),)
        ),
        FrontendKey("0.0.0.0", 30080, 6): Frontend(
            LIST, 1, counter=1, first=(Endpoint(SERVER[0], 5432),)
        ),
        FrontendKey(VIP6, 80, 6): Frontend(LIST6, 1, first=(Endpoint(SERVER[1], 5432),)),
        FrontendKey(EMPTY, 80, 6): Frontend(NOBODY, 0, counter=2),
    },
    members={MemberKey(LIST, SERVER[0], 5432): There()},
    addresses={"192.168.7.1": True},
)

_DIAL = """
import socket, sys
for word in sys.argv[1:]:
    address, port = word.rsplit("/", 1)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as made:
        try:
            made.connect((address, int(port)))
            print("connected")
        except OSError as error:
            print(error.strerror)
"""
_SERVE = """
import socket
made = socket.create_server(("::", 5432), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    made.accept()[0].close()
"""


@dataclass
class SocketPart:
    """What the agent's part with the programs answers (podwire_node.observe.sockets.Sockets)."""

    plane: Plane
    node_cookie: int = 0
    backend: str = "ebpf"
    why: str = ""
    labels: Mapping[FrontendKey, str] = field(default_factory=lambda: LABELS)
    left: Mapping[FrontendKey, str] = field(default_factory=lambda: LEFT_TO_NFTABLES)

    @property
    def place(self) -> Place:
        return self.plane.place

    def observe(self, hear: Hear) -> None:
        self.plane.settings(self.node_cookie, Flag.OBSERVED)
        hear(self.plane.events())

    def unobserve(self) -> None:
        self.plane.settings(self.node_cookie)

    def reached(self) -> int | None:
        return None


@dataclass
class TwoPods:
    """A place for programs, and two pods; nobody serves their sockets yet."""

    place: Place
    client: Netns
    server: Netns

    def dial(self, *words: str) -> list[str]:
        """`ADDRESS/PORT` each, by TCP, from the client; what came of it."""
        join = f'echo $$ > {self.place.cgroup}/cgroup.procs; exec "$@"'
        enter = ["nsenter", f"--net=/run/netns/{self.client.name}", sys.executable, "-c", _DIAL]
        done = subprocess.run(
            ["sh", "-c", join, "sh", *enter, *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.splitlines()


@dataclass
class SocketSite(TwoPods):
    """plane: attached, with ROWS in its maps."""

    plane: Plane


@contextmanager
def two_pods(folder: Path) -> Iterator[TwoPods]:
    """folder: empty; its bpffs is mounted there. All is gone after the block."""
    with ExitStack() as stack:
        place = stack.enter_context(bpf_place.place(folder))
        client, server = (_netns(stack) for _ in range(2))
        _wire(client, server)
        serving = server.popen(sys.executable, "-c", _SERVE)
        stack.callback(_end, serving)
        assert serving.stdout is not None
        assert serving.stdout.readline() == "ready\n"
        yield TwoPods(place, client, server)


@contextmanager
def socket_site(folder: Path) -> Iterator[SocketSite]:
    """The same with programs attached, and ROWS in their maps."""
    with two_pods(folder) as pods, ExitStack() as stack:
        plane = open_plane(pods.place)
        stack.callback(plane.close)
        plane.apply(ROWS)
        plane.settings(0)
        plane.attach()
        yield SocketSite(pods.place, pods.client, pods.server, plane)


def _netns(stack: ExitStack) -> Netns:
    made = scratch.make()
    stack.callback(scratch.remove, made)
    return made


def _wire(client: Netns, server: Netns) -> None:
    client.ip([f"link add eth0 type veth peer name eth0 netns {server.name}"])
    for netns, own, other in ((client, CLIENT, SERVER), (server, SERVER, CLIENT)):
        commands = ["link set eth0 up"]
        commands += [f"addr add {own[0]}/32 dev eth0", f"addr add {own[1]}/128 dev eth0 nodad"]
        commands += [f"route add {other[0]} dev eth0", f"route add {other[1]}/128 dev eth0"]
        netns.ip(commands)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
