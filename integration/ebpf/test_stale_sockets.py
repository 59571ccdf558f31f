"""Clients that dial a Service once, over real programs: what they are told when its endpoint goes.

client, in the cgroup ── 10.96.0.10:53 ──► programs ──► 10.244.0.1:5353, and later 10.244.0.2:5353
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import agent_process
import bpf_place
import kernel_features
import pytest
import socket_programmer
from agent_process import AgentProcess
from proxy_stage import endpoints, pod_address, service
from scratch import Netns, until
from socket_programmer import Programmer

from podwire_core.family import Family
from podwire_core.objects import Protocol
from podwire_node.stale.socket_plan import translated
from podwire_node.stale.sockets import StaleSockets
from podwire_proxy.frontend import Backend, Frontend

kernel_features.needs("sock_destroy")

VIP = {Family.IPV4: "10.96.0.10", Family.IPV6: "fd00:10:96::a"}
PORT = 5353

#: Asks over one socket; tells answers, silence and errors, and dials again after those.
CLIENT = """
import os, socket, sys
cgroup, address, kind, port = sys.argv[1:]
open(cgroup + "/cgroup.procs", "w").write(str(os.getpid()))
family = socket.AF_INET6 if ":" in address else socket.AF_INET
kind = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
while True:
    made = socket.socket(family, kind)
    made.connect((address, int(port)))
    print("dialled", flush=True)
    try:
        while patience := sys.stdin.readline():
            made.settimeout(float(patience))
            try:
                made.send(b"who")
                print(made.recv(100).decode(), flush=True)
            except TimeoutError:
                print("silence", flush=True)
        break
    except OSError as error:
        print(error.strerror, flush=True)
"""
#: Connects, and waits.
WAITER = """
import os, socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
made = socket.create_connection((sys.argv[2], int(sys.argv[3])))
print("connected", flush=True)
try: made.recv(10)
except OSError as error: print(error.strerror, flush=True)
"""
#: The Service's port, and what answers there: each endpoint with its address.
DNS = {"port": PORT, "name": "", "protocol": "UDP"}
ANSWERS = """
import select, socket, sys
poll, known = select.poll(), {}
for address in sys.argv[2:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind((address, int(sys.argv[1])))
    poll.register(made, select.POLLIN)
    known[made.fileno()] = address, made
print("ready", flush=True)
while True:
    for descriptor, _ in poll.poll():
        address, made = known[descriptor]
        made.sendto(address.encode(), made.recvfrom(100)[1])
"""


class Client:
    """A program that asks when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.hears()

    def hears(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def asks(self, patience: float = 30) -> str:
        """What becomes of one question; `silence` after so many seconds."""
        assert self._process.stdin
        self._process.stdin.write(f"{patience}\n")
        self._process.stdin.flush()
        return self.hears()


class Node:
    """Namespace, programs, and sockets that answer at an endpoint with its address."""

    def __init__(self, netns: Netns, programmer: Programmer, stack: ExitStack) -> None:
        self.netns, self.programmer = netns, programmer
        self._stack = stack

    @contextmanager
    def client(self, address: str, kind: str = "udp") -> Iterator[Client]:
        words = (str(self.programmer.plane.place.cgroup), address, kind, "53")
        with self.netns.popen(sys.executable, "-I", "-S", "-c", CLIENT, *words) as process:
            try:
                yield Client(process)
            finally:
                process.kill()

    def lead(self, *numbers: int) -> None:
        """The Service has these endpoints from now on."""
        self.programmer.put(
            *(endpoints("dns", *numbers, name=family, family=family, port=DNS) for family in Family)
        )


def goes(netns: Netns, address: str, port: int) -> None:
    """An endpoint's pod ends: what is sent to it vanishes from now on."""
    match = f"{'ip6' if ':' in address else 'ip'} daddr {address} udp dport {port}"
    netns.run("nft", "add table inet gone")
    hook = "{ type filter hook input priority 0; }"
    netns.run("nft", f"add chain inet gone input {hook}")
    netns.run("nft", f"add rule inet gone input {match} drop")


def answers(netns: Netns, stack: ExitStack, port: int, *addresses: str) -> None:
    """Have these answer in a namespace, each with its address."""
    words = ("-I", "-S", "-c", ANSWERS, str(port), *addresses)
    servers = stack.enter_context(netns.popen(sys.executable, *words))
    stack.callback(servers.kill)
    assert servers.stdout
    assert servers.stdout.readline() == "ready\n"


@pytest.fixture
def node(new_netns: Callable[[], Netns], tmp_path: Path) -> Iterator[Node]:
    netns = new_netns()
    socket_programmer.wire(netns)
    pods = [pod_address(number, family) for number in (1, 2) for family in Family]
    with ExitStack() as stack:
        place = stack.enter_context(bpf_place.place(tmp_path))
        answers(netns, stack, PORT, *pods)
        stack.enter_context(netns.inside())
        programmer = stack.enter_context(closing(Programmer(place)))
        both = {"clusterIPs": list(VIP.values()), "ipFamilies": list(Family)}
        programmer.start(service("dns", VIP[Family.IPV4], port=53, protocol="UDP", **both))
        made = Node(netns, programmer, stack)
        made.lead(1)
        yield made


@pytest.mark.parametrize("dialled", ["10.96.0.10", "fd00:10:96::a", "::ffff:10.96.0.10"])
def test_a_resolver_that_dialled_once_goes_on_with_the_new_endpoint(
    node: Node, dialled: str
) -> None:
    family = Family.IPV4 if "." in dialled else Family.IPV6
    tables, services = node.programmer.plane.tables, node.programmer.services
    with (
        node.client(dialled) as client,
        closing(StaleSockets(lambda: translated(tables, tcp=False))) as stale,
    ):
        stale.submit(dict(services.udp_serving))
        assert client.asks() == pod_address(1, family)
        until("everything was compared", lambda: stale.idle)
        node.lead(2)
        goes(node.netns, pod_address(1, family), PORT)
        assert [client.asks(0.1) for _ in range(3)] == ["silence"] * 3  # as for ever, without us

        stale.submit(dict(services.udp_serving))
        until("everything was compared", lambda: stale.idle)
        assert stale.destroyed_total == 1
        assert client.asks() in {"Destination address required", "Software caused connection abort"}
        assert client.hears() == "dialled"
        assert client.asks() == pod_address(2, family)


def test_who_has_an_endpoint_that_stays_is_not_disturbed(node: Node) -> None:
    tables, services = node.programmer.plane.tables, node.programmer.services
    with (
        node.client(VIP[Family.IPV4]) as client,
        closing(StaleSockets(lambda: translated(tables, tcp=False))) as stale,
    ):
        for numbers in ((1,), (1, 2), (1,)):
            node.lead(*numbers)
            stale.submit(dict(services.udp_serving))
            until("everything was compared", lambda: stale.idle)
            assert client.asks() == pod_address(1)
        assert stale.destroyed_total == 0


def test_who_dialled_the_endpoint_itself_is_not_touched(node: Node) -> None:
    """The same peer, but no Service's client: it is the program's own affair."""
    tables = node.programmer.plane.tables
    direct = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with direct, closing(StaleSockets(lambda: translated(tables, tcp=False))) as stale:
        direct.connect((pod_address(1), PORT))
        direct.settimeout(10)
        node.lead(2)
        stale.submit(dict(node.programmer.services.udp_serving))
        until("everything was compared", lambda: stale.idle)
        direct.send(b"who")
        assert direct.recv(100).decode() == pod_address(1)


def test_tcp_is_told_by_choice(node: Node) -> None:
    tables = node.programmer.plane.tables
    tcp = Frontend(Family.IPV4, VIP[Family.IPV4], Protocol.TCP, 53)
    node.programmer.put(
        service("dns", VIP[Family.IPV4], port=53, protocol="TCP"),
        endpoints("dns", 1, name="IPv4", port={**DNS, "protocol": "TCP"}),
    )
    listener = socket.create_server((pod_address(1), PORT))
    with listener, node.client(VIP[Family.IPV4], "tcp") as client:
        for chosen in (False, True):
            with closing(StaleSockets(lambda: translated(tables, tcp=chosen))) as stale:  # noqa: B023 - used up within the turn
                stale.submit({tcp: frozenset({Backend(pod_address(2), PORT)})})
                until("everything was compared", lambda: stale.idle)
                assert stale.destroyed_total == chosen
        assert client.asks() in {"Software caused connection abort", "Broken pipe"}


def test_an_agent_ends_what_it_is_told_to_end(
    new_netns: Callable[[], Netns], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netns = new_netns()
    socket_programmer.wire(netns)
    with ExitStack() as stack:
        place = stack.enter_context(bpf_place.place(tmp_path))
        folder = tmp_path_factory.mktemp("agent")
        agent = AgentProcess(netns, place, folder, "--stale-sockets", "all")
        stack.callback(agent.kill)
        agent.lead(1)
        agent.start()
        with netns.inside():
            listener = stack.enter_context(socket.create_server((pod_address(1), 8080)))
        words = (str(place.cgroup), agent_process.VIP, "80")
        client = stack.enter_context(netns.popen(sys.executable, "-I", "-c", WAITER, *words))
        stack.callback(client.kill)
        served = stack.enter_context(listener.accept()[0])
        assert client.stdout
        assert client.stdout.readline() == "connected\n"
        agent.lead(2)
        assert client.stdout.readline() == "Software caused connection abort\n"
        with suppress(ConnectionResetError):
            assert served.recv(10) == b""


def test_an_agent_tells_a_resolver_in_a_pod_that_its_endpoint_went(
    new_netns: Callable[[], Netns], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By default, and in a network namespace of its own; it never dials again unless it is told."""
    netns, pod = new_netns(), new_netns()
    for each in (netns, pod):
        socket_programmer.wire(each)
    with ExitStack() as stack:
        place = stack.enter_context(bpf_place.place(tmp_path))
        agent = AgentProcess(netns, place, tmp_path_factory.mktemp("agent"), protocol="UDP")
        stack.callback(agent.kill)
        agent.lead(1, 2)
        agent.start()
        answers(pod, stack, agent_process.PORT, pod_address(1), pod_address(2))
        words = (str(place.cgroup), agent_process.VIP, "udp", "80")
        process = stack.enter_context(pod.popen(sys.executable, "-I", "-S", "-c", CLIENT, *words))
        stack.callback(process.kill)
        client = Client(process)
        first = client.asks()
        stays = 2 if first == pod_address(1) else 1
        goes(pod, first, agent_process.PORT)
        assert client.asks(0.1) == "silence"
        agent.lead(stays)
        assert client.asks() in {"Destination address required", "Software caused connection abort"}
        assert client.hears() == "dialled"
        assert client.asks() == pod_address(stays)
