"""Three nodes with a pod each: two on one link, the third behind a router.

    pod a 10.244.1.5        pod b 10.244.2.5                    pod c 10.244.3.5
        │                       │                                   │
     ┌──┴──┐ 192.168.7.1     ┌──┴──┐ 192.168.7.2    192.168.8.3  ┌──┴──┐
     │ one │                 │ two │                             │three│
     └──┬──┘                 └──┬──┘                             └──┬──┘
        └──────────┬────────────┘                                   │
           switch ─┴─ 192.168.7.254  router  192.168.8.254 ─────────┘

and the same in IPv6: pods at fd00:10:244:N::5, nodes at fd00:7::N and fd00:8::3.

Each node has a RouteKeeper of its own; `settle()` does what the agent's loop does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import scratch
from scratch import Netns

from podwire_core.family import Family
from podwire_core.feed.decode import decode
from podwire_core.objects import Node
from podwire_node.routes.keeper import RouteKeeper
from podwire_node.routes.overlay import OverlaySettings
from podwire_node.routes.routing import RouteMonitor, Routing, allow_forwarding

V4, V6 = Family.IPV4, Family.IPV6
NUMBERS = {"one": 1, "two": 2, "three": 3}


def pod_address(name: str, family: Family) -> str:
    """The address of the pod on a node."""
    number = NUMBERS[name]
    return f"10.244.{number}.5" if family is V4 else f"fd00:10:244:{number}::5"


def node_address(name: str, family: Family) -> str:
    """The InternalIP of a node."""
    number, net = NUMBERS[name], 8 if name == "three" else 7
    return f"192.168.{net}.{number}" if family is V4 else f"fd00:{net}::{number}"


def node_object(name: str, *addresses: str, cidrs: tuple[str, ...] | None = None) -> Node:
    """A Node; by default with the drawing's addresses and podCIDRs."""
    number = NUMBERS.get(name, 9)
    given = addresses or tuple(node_address(name, family) for family in Family)
    ranges = (f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64") if cidrs is None else cidrs
    document = {
        "metadata": {"name": name},
        "spec": {"podCIDRs": list(ranges)},
        "status": {"addresses": [{"type": "InternalIP", "address": each} for each in given]},
    }
    made = decode(document, Node, "test")
    assert isinstance(made, Node)
    return made


@dataclass
class Machine:
    """A node: its namespace, its pod's, and who keeps its routes."""

    name: str
    netns: Netns
    pod: Netns
    settings: OverlaySettings = field(default_factory=OverlaySettings)
    nodes: list[Node] = field(default_factory=list)

    def start(self) -> None:
        """A fresh agent, so far as routes go: nothing is remembered."""
        with self.netns.inside():
            assert not list(allow_forwarding())
            self.routing = Routing()
            self.monitor = RouteMonitor()
        self.keeper = RouteKeeper(self.name, self.routing, self.settings)
        self.keeper.take(self.nodes)

    def stop(self) -> None:
        self.routing.close()
        self.monitor.close()

    def restart(self, settings: OverlaySettings | None = None) -> None:
        self.stop()
        self.settings = settings or self.settings
        self.start()
        self.settle()

    def take(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.keeper.take(nodes)
        self.settle()

    def settle(self) -> None:
        """Sync until the kernel announces nothing more, as the agent's loop does."""
        deadline = time.monotonic() + 10
        with self.netns.inside():
            self.keeper.sync(time.monotonic())
            while self.monitor.changed():
                assert time.monotonic() < deadline, "it goes round in circles"
                self.keeper.compare()
                self.keeper.sync(time.monotonic())

    def routes(self) -> str:
        return self.netns.run("ip", "route") + self.netns.run("ip", "-6", "route")


@dataclass
class Site:
    """All of the drawing."""

    machines: dict[str, Machine]
    router: Netns

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def take(self, *nodes: Node) -> None:
        """Every node hears of these nodes."""
        for machine in self.machines.values():
            machine.take(list(nodes))

    def restart(self, settings: OverlaySettings) -> None:
        for machine in self.machines.values():
            machine.restart(settings)

    def reaches(self, source: str, target: str, *options: str) -> bool:
        """Whether a pod's ping to another is answered, in both families."""
        answers = [self.ping(source, pod_address(target, family), *options) for family in Family]
        assert answers[0][0] == answers[1][0], answers
        return answers[0][0]

    def ping(self, source: str, address: str, *options: str) -> tuple[bool, str]:
        command = ("ping", "-c1", "-W2", *options, address)
        inside = ["nsenter", f"--net=/run/netns/{self[source].pod.name}"]
        done = subprocess.run([*inside, *command], capture_output=True, text=True, check=False)
        return done.returncode == 0, done.stdout + done.stderr

    def transfer(self, source: str, target: str, family: Family, size: int = 1 << 20) -> str:
        """Send bytes from pod to pod over TCP; answers the client's address the server saw."""
        return transfer(self[source].pod, self[target].pod, pod_address(target, family), size)


_SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 5000), family=family)
print("ready", flush=True)
server.settimeout(20)
talk, client = server.accept()
talk.settimeout(20)
count = 0
while data := talk.recv(1 << 20):
    count += len(data)
talk.sendall(b"%d" % count)
print(client[0], flush=True)
"""
_CLIENT = """
import socket, sys
talk = socket.create_connection((sys.argv[1], 5000), timeout=20)
talk.sendall(bytes(int(sys.argv[2])))
talk.shutdown(socket.SHUT_WR)
print(talk.recv(100).decode())
"""


def transfer(
    source: Netns, target: Netns, address: str, size: int = 1 << 20, dials: str = ""
) -> str:
    """Send bytes over TCP; answers the client's address as the server saw it.

    dials: what the client dials, when that is not the address the server listens at.
    """
    server = target.popen(sys.executable, "-I", "-S", "-c", _SERVER, address)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n", server.communicate()
        arrived = source.run(sys.executable, "-I", "-S", "-c", _CLIENT, dials or address, str(size))
        assert int(arrived) == size
        return server.stdout.readline().strip()
    finally:
        server.kill()
        server.communicate()


@contextmanager
def three_nodes(settings: OverlaySettings | None = None, *, kept: bool = True) -> Iterator[Site]:
    """The drawing, with every node knowing the others; all of it is gone afterwards.

    kept: whether the nodes have RouteKeepers; without, whoever tests agents starts them.
    """
    made: list[Netns] = []
    machines: dict[str, Machine] = {}
    try:
        router = _made(made)
        _make_router(router)
        for name, number in NUMBERS.items():
            machine = Machine(name, _made(made), _made(made), settings or OverlaySettings())
            _plug(router, machine)
            wire_pod(machine.netns, machine.pod, number)
            machine.nodes = [node_object(each) for each in NUMBERS]
            machines[name] = machine
        with ExitStack() as stack:
            for machine in machines.values() if kept else ():
                machine.start()
                stack.callback(machine.stop)
                machine.settle()
            yield Site(machines, router)
    finally:
        for netns in made:
            scratch.remove(netns)


def _made(made: list[Netns]) -> Netns:
    """A namespace in which a link's own fe80:: address asks no one for leave first."""
    made.append(scratch.make())
    made[-1].run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
    return made[-1]


def _make_router(router: Netns) -> None:
    for setting in ("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1"):
        router.run("sysctl", "-qw", f"net.{setting}")
    router.run("ip", "link", "add", "switch", "type", "bridge")
    router.run("ip", "link", "set", "switch", "up")
    give(router, "switch", "192.168.7.254/24", "fd00:7::254/64")


def _plug(router: Netns, machine: Machine) -> None:
    """A node's uplink, and the router as its way out."""
    name, netns = machine.name, machine.netns
    peer = ("peer", "name", "uplink", "netns", netns.name)
    router.run("ip", "link", "add", f"to-{name}", "type", "veth", *peer)
    if name != "three":
        router.run("ip", "link", "set", f"to-{name}", "master", "switch")
    router.run("ip", "link", "set", f"to-{name}", "up")
    if name == "three":
        give(router, f"to-{name}", "192.168.8.254/24", "fd00:8::254/64")
    netns.run("ip", "link", "set", "uplink", "up")
    give(netns, "uplink", f"{node_address(name, V4)}/24", f"{node_address(name, V6)}/64")
    default(netns, 8 if name == "three" else 7)


def default(netns: Netns, net: int) -> None:
    """The router of a subnet as the way out."""
    netns.run("ip", "route", "replace", "default", "via", f"192.168.{net}.254")
    netns.run("ip", "route", "replace", "default", "via", f"fd00:{net}::254")


def give(netns: Netns, device: str, *addresses: str) -> None:
    for address in addresses:
        nodad = ["nodad"] if ":" in address else []
        netns.run("ip", "address", "add", address, "dev", device, *nodad)


def wire_pod(node: Netns, pod: Netns, number: int, mtu: int = 1500) -> None:
    """A veth pair, host routes, permanent neighbours: the plugin's shape, by hand."""
    host_mac, pod_mac = "02:00:00:00:01:01", "02:00:00:00:02:01"
    peer = ("peer", "name", "eth0", "mtu", str(mtu), "address", pod_mac, "netns", pod.name)
    node.run(
        "ip", "link", "add", "pod", "mtu", str(mtu), "address", host_mac, "type", "veth", *peer
    )
    node.run("ip", "link", "set", "pod", "up")
    pod.run("ip", "link", "set", "eth0", "up")
    addresses = (
        (f"10.244.{number}.5", "32", "169.254.1.1"),
        (f"fd00:10:244:{number}::5", "128", "fe80::1"),
    )
    for address, bits, gateway in addresses:
        give(pod, "eth0", f"{address}/{bits}")
        permanent = ("dev", "eth0", "nud", "permanent")
        pod.run("ip", "neigh", "add", gateway, "lladdr", host_mac, *permanent)
        pod.run("ip", "route", "add", "default", "via", gateway, "dev", "eth0", "onlink")
        node.run("ip", "route", "add", f"{address}/{bits}", "dev", "pod")
        permanent = ("dev", "pod", "nud", "permanent")
        node.run("ip", "neigh", "add", address, "lladdr", pod_mac, *permanent)
