"""A node and its pods, in network namespaces, with servers in each and one way to ask them all.

```
   web        app        db         client     outside     (a namespace each, TCP and UDP
    │ eth0     │          │          │          │           servers on ports 80 and 81)
    └─────┬────┴─────┬────┴─────┬────┴─────┬────┘
          └──────────┴── node ──┴──────────┘               routes; podwire-policy in forward
                  192.168.0.1  fd01::1
```

A socket belongs to the namespace in which it was made: the test process alone serves and
asks for everyone.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from scratch import Netns

from podwire_core.family import Family, family_of
from podwire_core.nft.kernel import Kernel

#: Who is there. The last is no pod: an address outside of the cluster.
ADDRESSES = {
    "shop/web": ("10.244.1.1", "fd00:1::1"),
    "shop/app": ("10.244.1.2", "fd00:1::2"),
    "data/db": ("10.244.1.3", "fd00:1::3"),
    "other/client": ("10.244.1.4", "fd00:1::4"),
    "outside": ("203.0.113.9", "2001:db8:9::9"),
}
NODE = ("192.168.0.1", "fd01::1")
PORTS = (80, 81)
#: Long for a packet between namespaces, and shorter than the first retransmission of a SYN.
PATIENCE = 0.5
_SYSCTLS = [
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.accept_dad=0",
]


class Probe(NamedTuple):
    source: str
    destination: str
    protocol: str
    port: int


@dataclass
class Servers:
    """Accepts and echoes for every listening socket, in one thread, until closed."""

    selector: selectors.BaseSelector
    stop: threading.Event

    def listen(self, address: str) -> None:
        """Serve on an address of the calling thread's namespace."""
        for port in PORTS:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                server = _socket(address, kind)
                server.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    server.listen(128)
                self.selector.register(server, selectors.EVENT_READ)

    def run(self) -> None:
        open_: list[socket.socket] = []  # a connection stays until its client has gone
        while not self.stop.is_set():
            for key, _ in self.selector.select(timeout=0.1):
                self._serve(key.fileobj, open_)
        sockets: list[Any] = [key.fileobj for key in self.selector.get_map().values()]
        for each in sockets:
            each.close()
        self.selector.close()

    def _serve(self, server: Any, open_: list[socket.socket]) -> None:
        if server.type == socket.SOCK_DGRAM:
            data, sender = server.recvfrom(64)
            server.sendto(data, sender)
        elif server in open_:
            data = server.recv(64)
            if data:
                server.sendall(data)
            else:
                open_.remove(server)
                self.selector.unregister(server)
                server.close()
        else:
            connection, _ = server.accept()
            open_.append(connection)
            self.selector.register(connection, selectors.EVENT_READ)


@dataclass(frozen=True)
class Machine:
    """The node, everyone in it, and nftables in its namespace."""

    node: Netns
    homes: Mapping[str, Netns]  # by address
    kernel: Kernel

    def connect(self, source: str, destination: str, kind: int, port: int) -> socket.socket:
        """A socket of `source`'s, on its way to `destination`; not waited for."""
        with self.homes[source].inside():
            made = _socket(source, kind)
        made.bind((source, 0))
        made.connect_ex((destination, port))
        return made

    def ask(self, probes: Iterable[Probe]) -> dict[Probe, bool]:
        """All probes at once: which got an answer within PATIENCE."""
        answers = dict.fromkeys(probes, False)
        with ExitStack() as undo:
            waiting = undo.enter_context(selectors.DefaultSelector())
            for probe in answers:
                kind = socket.SOCK_STREAM if probe.protocol == "TCP" else socket.SOCK_DGRAM
                client = self.connect(probe.source, probe.destination, kind, probe.port)
                undo.callback(client.close)
                if kind == socket.SOCK_DGRAM:
                    client.send(b"?")
                event = (
                    selectors.EVENT_WRITE if kind == socket.SOCK_STREAM else selectors.EVENT_READ
                )
                waiting.register(client, event, probe)
            deadline = time.monotonic() + PATIENCE
            while waiting.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in waiting.select(left):
                    asked: Any = key.fileobj
                    answers[key.data] = not asked.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    waiting.unregister(asked)
        return answers

    def everyone(self, family: Family) -> Sequence[str]:
        """Addresses of a family, the node's among them."""
        return [address for address in self.homes if family_of(address) is family]


def _socket(address: str, kind: int) -> socket.socket:
    family = socket.AF_INET6 if family_of(address) is Family.IPV6 else socket.AF_INET
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


@contextmanager
def machine(new_netns: Callable[[], Netns]) -> Iterator[Machine]:
    node = new_netns()
    node.run("sysctl", "-qw", *_SYSCTLS)
    for address in NODE:
        node.run("ip", "addr", "add", address, "dev", "lo")
    homes = dict.fromkeys(NODE, node)
    for number, addresses in enumerate(ADDRESSES.values(), 1):
        home = new_netns()
        _plug(node, home, f"pod{number}", addresses)
        homes |= dict.fromkeys(addresses, home)
    servers = Servers(selectors.DefaultSelector(), threading.Event())
    for address, home in homes.items():
        with home.inside():
            servers.listen(address)
    with node.inside():
        kernel = Kernel()
    thread = threading.Thread(target=servers.run)
    thread.start()
    try:
        yield Machine(node, homes, kernel)
    finally:
        servers.stop.set()
        thread.join()


def _plug(node: Netns, home: Netns, link: str, addresses: Iterable[str]) -> None:
    """A veth pair: host routes on the node, everything else by the node on the other side."""
    home.run("sysctl", "-qw", *_SYSCTLS[2:])
    node.run("ip", "link", "add", link, "type", "veth", "peer", "eth0", "netns", home.name)
    node.run("ip", "addr", "add", "169.254.1.1/32", "dev", link)
    node.run("ip", "addr", "add", "fe80::1/64", "dev", link, "nodad")
    node.run("ip", "link", "set", link, "up")
    home.run("ip", "link", "set", "eth0", "up")
    home.run("ip", "route", "add", "169.254.1.1", "dev", "eth0")
    for address in addresses:
        home.run("ip", "addr", "add", address, "dev", "eth0")
        node.run("ip", "route", "add", address, "dev", link)
    home.run("ip", "route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
    home.run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
