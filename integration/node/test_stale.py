"""Clients that never reconnect, over the kernel: real sockets, real NAT, one namespace a test.

client 10.0.0.1 ──► VIP 10.96.0.10:53, or the node's 10.0.0.1:30053
                       └─ dnat, as the test says ──► servers 10.244.0.1, 10.244.0.2
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import pytest
from scratch import Netns, until

from podwire_core.conntrack import UDP, Conntrack
from podwire_core.family import FAMILIES, Family
from podwire_core.objects import Protocol
from podwire_node.stale import Run, StaleConnections
from podwire_proxy.frontend import Backend, Frontend

V4, V6 = FAMILIES
AF = {V4: socket.AF_INET, V6: socket.AF_INET6}
NODE = {V4: "10.0.0.1", V6: "fd00::1"}
VIP = {V4: "10.96.0.10", V6: "fd00:10:96::a"}
PODS = {V4: ("10.244.0.1", "10.244.0.2"), V6: ("fd00:10:244::1", "fd00:10:244::2")}
OTHER_VIP = {V4: "10.96.0.11", V6: "fd00:10:96::b"}
FAR_POD = {V4: "10.244.9.1", V6: "fd00:10:244:9::1"}
RULES = """
table inet proxy {
  chain output { type nat hook output priority -100
  }
  chain tracked { type filter hook output priority 0
    ct state new counter comment "connections are tracked where a rule asks for them"
  }
}
"""
MANY, CLIENTS = 120_000, 1_000


class World:
    """A node of one family: servers, clients, and where frontends lead to."""

    def __init__(self, netns: Netns, family: Family, stack: ExitStack) -> None:
        self.netns, self.family, self._stack = netns, family, stack
        a, b = PODS[family]
        self.a, self.b = Backend(a, 5353), Backend(b, 5353)
        self.vip = Frontend(family, VIP[family], Protocol.UDP, 53)
        self.nodeport = Frontend(family, "", Protocol.UDP, 30053)
        for address in (NODE[family], a, b):
            netns.run("ip", "address", "add", address, "dev", "lo", *["nodad"] * (family is V6))
            until(f"{address} answers", partial(self._answers, address))
        # Without NAT a VIP leads nowhere.
        netns.run("ip", "link", "add", "away", "type", "veth", "peer", "name", "nowhere")
        netns.run("ip", "link", "set", "nowhere", "up")
        netns.run("ip", "link", "set", "away", "up", "arp", "off")
        version = "-6" if family is V6 else "-4"
        netns.run("ip", version, "route", "add", "default", "dev", "away", "src", NODE[family])
        netns.run("nft", RULES)

    def _answers(self, address: str) -> bool:
        """One of IPv6 takes the kernel a moment after it was added."""
        told = self.netns.run("ping", "-c1", "-W5", address, check=False)
        return " 0% packet loss" in told

    def lead(self, frontend: Frontend, *backends: Backend, protocol: str = "udp") -> None:
        """From now on new connections to the frontend go to the last of the backends."""
        self.netns.run("nft", "flush chain inet proxy output")
        for backend in backends[-1:]:
            ip = self.family.nft
            address = frontend.address or NODE[self.family]
            to = f"[{backend.address}]" if self.family is V6 else backend.address
            match = f"{ip} daddr {address} {protocol} dport {frontend.port}"
            rule = f"add rule inet proxy output {match} dnat {ip} to {to}:{backend.port}"
            self.netns.run("nft", rule)

    def server(self, at: Backend) -> socket.socket:
        """Hears what comes to an address and port."""
        made = self._stack.enter_context(socket.socket(AF[self.family], socket.SOCK_DGRAM))
        made.bind(at)
        made.settimeout(0.02)
        return made

    def client(self, frontend: Frontend) -> socket.socket:
        """Has one socket, and sends to the frontend for ever."""
        made = self._stack.enter_context(socket.socket(AF[self.family], socket.SOCK_DGRAM))
        made.bind((NODE[self.family], 0))
        made.connect((frontend.address or NODE[self.family], frontend.port))
        return made

    def stale(self, ran: Callable[[Run], object] = lambda _: None) -> StaleConnections:
        return self._stack.enter_context(closing(StaleConnections(ran)))

    def conversations(self) -> list[str]:
        """What the kernel remembers of UDP."""
        with closing(Conntrack()) as conntrack:
            return sorted(str(each) for each in conntrack.entries(self.family, UDP))


@pytest.fixture(params=FAMILIES)
def world(new_netns: Callable[[], Netns], request: pytest.FixtureRequest) -> Iterator[World]:
    netns = new_netns()
    with ExitStack() as stack, netns.inside():
        yield World(netns, request.param, stack)


def sent(client: socket.socket) -> None:
    with suppress(ConnectionRefusedError):  # an ICMP error of an earlier one
        client.send(b"n")


def hears(server: socket.socket, client: socket.socket) -> bool:
    """Whether what a client sends now reaches a server."""
    sent(client)
    with suppress(TimeoutError):
        return bool(server.recv(10))
    return False


def reaches(server: socket.socket, client: socket.socket) -> None:
    until("the client reaches the server", lambda: hears(server, client))


def submit(stale: StaleConnections, frontends: Mapping[Frontend, frozenset[Backend]]) -> None:
    """NodePorts answer at every address of the node."""
    stale.submit(frontends, [family.everything for family in FAMILIES])


def compared(stale: StaleConnections) -> None:
    until("everything was compared", lambda: stale.idle)


def test_a_client_that_never_reconnects_goes_on_to_the_new_endpoint(world: World) -> None:
    first, second = world.server(world.a), world.server(world.b)
    stale, client = world.stale(), world.client(world.vip)
    world.lead(world.vip, world.a)
    submit(stale, {world.vip: frozenset({world.a})})
    reaches(first, client)
    world.lead(world.vip, world.b)
    assert hears(first, client)  # as the kernel would have it for ever
    submit(stale, {world.vip: frozenset({world.b})})
    reaches(second, client)
    assert stale.deleted_total == 1


def test_who_talks_to_an_endpoint_that_stays_is_not_disturbed(world: World) -> None:
    first = world.server(world.a)
    world.lead(world.vip, world.a)
    client = world.client(world.vip)
    reaches(first, client)
    before = world.conversations()
    stale = world.stale()
    submit(stale, {world.vip: frozenset({world.a, world.b})})
    compared(stale)
    assert stale.runs == 1
    assert world.conversations() == before


def test_without_endpoints_no_conversation_stays(world: World) -> None:
    first = world.server(world.a)
    stale, client = world.stale(), world.client(world.vip)
    world.lead(world.vip, world.a)
    submit(stale, {world.vip: frozenset({world.a})})
    reaches(first, client)
    world.lead(world.vip)
    submit(stale, {world.vip: frozenset()})
    until("it is forgotten", lambda: world.conversations() == [])


def test_of_a_service_that_is_gone_no_conversation_stays(world: World) -> None:
    first = world.server(world.a)
    stale, client = world.stale(), world.client(world.vip)
    world.lead(world.vip, world.a)
    submit(stale, {world.vip: frozenset({world.a})})
    reaches(first, client)
    world.lead(world.vip)
    submit(stale, {})
    until("it is forgotten", lambda: world.conversations() == [])


@pytest.mark.parametrize("at_node", [False, True], ids=["vip", "nodeport"])
def test_packets_that_came_before_the_endpoints_do_not_keep_the_rest_away(
    world: World, at_node: bool
) -> None:
    frontend = world.nodeport if at_node else world.vip
    server, stale, client = world.server(world.a), world.stale(), world.client(frontend)
    submit(stale, {frontend: frozenset()})
    compared(stale)
    sent(client)
    assert world.conversations()
    world.lead(frontend, world.a)
    assert not hears(server, client)
    submit(stale, {frontend: frozenset({world.a})})
    reaches(server, client)


def test_a_client_of_a_nodeport_goes_on_to_the_new_endpoint(world: World) -> None:
    first, second = world.server(world.a), world.server(world.b)
    stale, client = world.stale(), world.client(world.nodeport)
    world.lead(world.nodeport, world.a)
    submit(stale, {world.nodeport: frozenset({world.a})})
    reaches(first, client)
    world.lead(world.nodeport, world.b)
    submit(stale, {world.nodeport: frozenset({world.b})})
    reaches(second, client)


def test_a_changed_target_port_is_another_endpoint(world: World) -> None:
    moved = world.a._replace(port=5454)
    old, new = world.server(world.a), world.server(moved)
    stale, client = world.stale(), world.client(world.vip)
    world.lead(world.vip, world.a)
    submit(stale, {world.vip: frozenset({world.a})})
    reaches(old, client)
    world.lead(world.vip, moved)
    submit(stale, {world.vip: frozenset({moved})})
    reaches(new, client)


def test_what_was_left_while_no_agent_ran_is_found_at_the_start(world: World) -> None:
    first, second = world.server(world.a), world.server(world.b)
    client = world.client(world.vip)
    world.lead(world.vip, world.a)
    reaches(first, client)
    world.lead(world.vip, world.b)
    world.stale().submit({world.vip: frozenset({world.b})})
    reaches(second, client)


def test_tcp_goes_on_with_an_endpoint_that_is_none_any_more(world: World) -> None:
    stale = world.stale()
    world.lead(world.vip, world.a, protocol="tcp")
    with (
        socket.create_server(world.a, family=AF[world.family]) as listening,
        socket.create_connection((world.vip.address, 53), 5) as client,
        listening.accept()[0] as server,
    ):
        world.lead(world.vip, world.b, protocol="tcp")
        tcp = Frontend(world.family, world.vip.address, Protocol.TCP, 53)
        submit(stale, {world.vip: frozenset({world.b}), tcp: frozenset()})
        compared(stale)
        client.sendall(b"still")
        assert server.recv(10) == b"still"
    assert (stale.runs, stale.deleted_total) == (1, 0)


def test_other_peoples_conversations_stay(world: World) -> None:
    # A pod that listens at the NodePort's number, and is dialled itself.
    direct = Frontend(world.family, FAR_POD[world.family], Protocol.UDP, world.nodeport.port)
    elsewhere = Frontend(world.family, OTHER_VIP[world.family], Protocol.UDP, 53)
    other_port = Frontend(world.family, world.vip.address, Protocol.UDP, 54)
    clients = [world.client(each) for each in (direct, elsewhere, other_port)]
    for each in clients:
        sent(each)
    before = world.conversations()
    stale = world.stale()
    submit(stale, {world.vip: frozenset(), world.nodeport: frozenset({world.b})})
    compared(stale)
    assert len(before) == 3
    assert world.conversations() == before


def test_more_endpoints_are_no_reason_to_read_the_table(world: World) -> None:
    stale = world.stale()
    for serving in ({world.a}, {world.a, world.b}, {world.b}):
        submit(stale, {world.vip: frozenset(serving)})
        compared(stale)
    assert stale.runs == 2


def test_each_reading_is_told(world: World) -> None:
    told: list[Run] = []
    stale = world.stale(told.append)
    submit(stale, {world.vip: frozenset({world.a})})
    compared(stale)
    assert [(each.family, each.deleted) for each in told] == [(world.family, 0)]
    assert stale.last_duration >= told[0].seconds > 0


def test_a_kernel_that_refuses_is_named_once_and_asked_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    stale = world.stale()
    stale._conntrack._list.close()
    with caplog.at_level(logging.INFO):
        submit(stale, {world.vip: frozenset({world.a})})
        until("it was tried three times", lambda: stale._follower.backoff._delay >= 0.8)
        assert [each.levelname for each in caplog.records] == ["WARNING"]
        with world.netns.inside():
            stale._conntrack = Conntrack()
        until("it works again", lambda: stale.idle and stale.runs == 1)
    stale._conntrack.close()
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]


def test_a_hundred_thousand_conversations_take_a_moment_and_no_memory(
    new_netns: Callable[[], Netns],
) -> None:
    netns = new_netns()
    with ExitStack() as stack, netns.inside():
        world = World(netns, V4, stack)
        world.lead(world.vip, world.a)
        fill(world.vip)
        most_memory()
        before = most_memory()
        stale = world.stale()
        submit(stale, {world.vip: frozenset({world.a})})
        until("it was read", lambda: stale.idle, 60)
        reading = stale.last_duration
        submit(stale, {world.vip: frozenset({world.b})})
        until("it was read again", lambda: stale.idle, 60)
        grown = most_memory() - before
        print(f"{reading=:.3f} s, deleting={stale.last_duration:.3f} s, {grown=} KB")
        assert stale.deleted_total == CLIENTS
        assert reading < 10
        assert grown < 4096


def most_memory() -> int:
    """KB that this process held at most since it was last asked."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.split("VmHWM:")[1].split()[0])


def fill(vip: Frontend) -> None:
    """MANY conversations of others, and one of each of CLIENTS with the VIP."""
    for _ in range(MANY // 20_000):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for port in range(1, 20_001):
                sender.sendto(b"n", ("10.9.9.9", port))
    for number in range(CLIENTS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((NODE[V4], 10_000 + number))
            sender.sendto(b"n", (vip.address, vip.port))
