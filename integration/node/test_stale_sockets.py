"""Clients that dial once and keep their socket, over the kernel: real sockets, really destroyed.

client 10.0.0.1 ── dials 10.96.0.10:53, and the kernel knows 10.244.0.1:5353 as its peer
                   `reverse` says what it dialled: here a dict, as the test's dial() fills it
                   servers 10.244.0.1, 10.244.0.2; where none is left, packets vanish
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import kernel_features
import pytest
from scratch import Netns, until

from podwire_core.errors import SockDiagError
from podwire_core.family import FAMILIES, Family
from podwire_core.objects import Protocol
from podwire_core.sock_diag import CONNECTED, UDP, SockDiag, Socket
from podwire_ebpf.records import Reverse, ReverseKey
from podwire_node.stale.namespaces import everywhere
from podwire_node.stale.sockets import Run, StaleSockets
from podwire_proxy.frontend import Backend, Frontend

kernel_features.needs("sock_destroy")

V4, V6 = FAMILIES
AF = {V4: socket.AF_INET, V6: socket.AF_INET6}
NODE = {V4: "10.0.0.1", V6: "fd00::1"}
VIP = {V4: "10.96.0.10", V6: "fd00:10:96::a"}
OTHER_VIP = {V4: "10.96.0.11", V6: "fd00:10:96::b"}
PODS = {V4: ("10.244.0.1", "10.244.0.2"), V6: ("fd00:10:244::1", "fd00:10:244::2")}
MANY = 1_000
_SO_COOKIE = 57
_FINE = 30.0  # seconds for what should take a moment

Frontends = Mapping[Frontend, frozenset[Backend]]


class World:
    """A node of one family. rows: what the programs' map `reverse` would hold."""

    def __init__(self, netns: Netns, family: Family, stack: ExitStack) -> None:
        self.netns, self.family, self._stack = netns, family, stack
        self.rows: dict[ReverseKey, Reverse] = {}
        a, b = PODS[family]
        self.a, self.b = Backend(a, 5353), Backend(b, 5353)
        self.vip = Frontend(family, VIP[family], Protocol.UDP, 53)
        self.other = Frontend(family, OTHER_VIP[family], Protocol.UDP, 53)
        self.nodeport = Frontend(family, "", Protocol.UDP, 30053)
        self.tcp = Frontend(family, VIP[family], Protocol.TCP, 80)
        wired(netns, family)

    def dial(
        self, frontend: Frontend, backend: Backend, kind: int = socket.SOCK_DGRAM, **how: bool
    ) -> socket.socket:
        """A client's socket after connect(), as the programs leave it.

        mapped: a dual-stack socket that dials IPv4. direct: it dialled the endpoint itself.
        """
        af = socket.AF_INET6 if how.get("mapped") else AF[self.family]
        prefix = "::ffff:" if how.get("mapped") else ""
        made = self._stack.enter_context(socket.socket(af, kind))
        made.settimeout(_FINE)
        made.bind((prefix + NODE[self.family], 0))
        made.connect((prefix + backend.address, backend.port))
        if not how.get("direct"):
            dialled = Reverse(frontend.address or NODE[self.family], frontend.port)
            self.rows[ReverseKey(cookie(made), *backend)] = dialled
        return made

    def server(self, at: Backend) -> socket.socket:
        """Hears what comes to an address and port."""
        made = self._stack.enter_context(socket.socket(AF[self.family], socket.SOCK_DGRAM))
        made.bind(at)
        made.settimeout(_FINE)
        return made

    def stale(self, ran: Callable[[Run], object] = lambda _: None) -> StaleSockets:
        """The one under test; it knows the world's rows."""
        return self._stack.enter_context(closing(StaleSockets(lambda: dict(self.rows), ran)))


def wired(netns: Netns, family: Family) -> None:
    """The node's and the pods' addresses, and a default route on which packets vanish."""
    nodad = "nodad" if family is V6 else ""
    version = "-6" if family is V6 else "-4"
    netns.ip(f"address add {each} dev lo {nodad}" for each in (NODE[family], *PODS[family]))
    netns.ip(
        [
            "link add away type veth peer name nowhere",
            "link set nowhere up",
            "link set away up arp off",
        ]
    )
    netns.run("ip", version, "route", "add", "default", "dev", "away", "src", NODE[family])


@pytest.fixture(params=FAMILIES)
def world(new_netns: Callable[[], Netns], request: pytest.FixtureRequest) -> Iterator[World]:
    netns = new_netns()
    with ExitStack() as stack, netns.inside():
        yield World(netns, request.param, stack)


@pytest.fixture
def world4(new_netns: Callable[[], Netns]) -> Iterator[World]:
    netns = new_netns()
    with ExitStack() as stack, netns.inside():
        yield World(netns, V4, stack)


def cookie(each: socket.socket) -> int:
    raw = each.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
    return int(struct.unpack("=Q", raw)[0])


def compared(stale: StaleSockets, frontends: Frontends) -> None:
    stale.submit(frontends)
    until("everything was compared", lambda: stale.idle)


def lives(each: socket.socket) -> bool:
    """Whether the socket has its peer still."""
    try:
        each.getpeername()
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        return False
    return True


class Resolver:
    """Asks over one socket for ever, and dials again when that fails, as programs do."""

    def __init__(self, dial: Callable[[], socket.socket]) -> None:
        self._dial = dial
        self._socket = dial()
        self.dialled = 1

    def ask(self, patience: float) -> str:
        """An answer, "" when there is none."""
        self._socket.settimeout(patience)
        try:
            self._socket.send(b"who")
            return self._socket.recv(100).decode()
        except TimeoutError:
            return ""
        except OSError as error:
            if error.errno not in {errno.ECONNABORTED, errno.EDESTADDRREQ}:
                raise
            self._socket, self.dialled = self._dial(), self.dialled + 1
            return ""


def answering(server: socket.socket, resolver: Resolver) -> str:
    """What a resolver hears from a server that answers one question with its address."""
    server.setblocking(False)
    resolver._socket.send(b"who")
    try:
        _, client = server.recvfrom(100)
    except BlockingIOError:
        return ""
    server.sendto(server.getsockname()[0].encode(), client)
    resolver._socket.settimeout(_FINE)
    return resolver._socket.recv(100).decode()


def test_a_resolver_that_never_reconnects_hears_the_new_endpoint(world: World) -> None:
    first, second = world.server(world.a), world.server(world.b)
    led = [world.a]
    resolver = Resolver(lambda: world.dial(world.vip, led[-1]))
    assert answering(first, resolver) == world.a.address

    first.close()  # the pod ends, and its address with it
    led.append(world.b)
    world.netns.run("ip", "address", "del", world.a.address, "dev", "lo")
    for _ in range(3):
        assert not resolver.ask(0.05)  # without us it hangs, however often it asks
    assert resolver.dialled == 1

    stale = world.stale()
    stale.submit({world.vip: frozenset({world.b})})
    until("its socket failed", lambda: resolver.ask(0.05) == "" and resolver.dialled == 2)
    assert answering(second, resolver) == world.b.address
    until("everything was compared", lambda: stale.idle)
    assert stale.destroyed_total == 1


def test_who_waits_in_recv_is_woken(world: World) -> None:
    client, stale = world.dial(world.vip, world.a), world.stale()
    stale.submit({world.vip: frozenset({world.b})})
    with pytest.raises(ConnectionAbortedError):
        client.recv(10)


def test_a_dual_stack_program_that_dialled_ipv4_is_told_too(world4: World) -> None:
    client, stale = world4.dial(world4.vip, world4.a, mapped=True), world4.stale()
    compared(stale, {world4.vip: frozenset({world4.b})})
    assert not lives(client)


def test_who_talks_to_an_endpoint_that_serves_is_not_disturbed(world: World) -> None:
    stays, goes = world.dial(world.vip, world.b), world.dial(world.vip, world.a)
    compared(world.stale(), {world.vip: frozenset({world.b})})
    assert lives(stays)
    assert not lives(goes)


def test_who_dialled_the_endpoint_itself_is_not_touched(world: World) -> None:
    through, direct = world.dial(world.vip, world.a), world.dial(world.vip, world.a, direct=True)
    compared(world.stale(), {world.vip: frozenset()})
    assert lives(direct)
    assert not lives(through)


def test_who_dialled_something_else_since_is_not_touched(world: World) -> None:
    client = world.dial(world.vip, world.a)
    client.connect(world.b)
    compared(world.stale(), {world.vip: frozenset()})
    assert lives(client)


def test_another_service_with_the_same_endpoint_is_not_disturbed(world: World) -> None:
    one, two = world.dial(world.vip, world.a), world.dial(world.other, world.a)
    stale = world.stale()
    both = frozenset({world.a})
    compared(stale, {world.vip: both, world.other: both})
    compared(stale, {world.vip: frozenset({world.b}), world.other: both})
    assert not lives(one)
    assert lives(two)


def test_clients_of_a_nodeport_are_told(world: World) -> None:
    client, stale = world.dial(world.nodeport, world.a), world.stale()
    compared(stale, {world.nodeport: frozenset({world.a})})
    assert lives(client)
    compared(stale, {world.nodeport: frozenset({world.b})})
    assert not lives(client)


def test_without_endpoints_or_service_no_socket_stays(world: World) -> None:
    one, two = world.dial(world.vip, world.a), world.dial(world.other, world.a)
    stale = world.stale()
    compared(stale, {each: frozenset({world.a}) for each in (world.vip, world.other)})
    compared(stale, {world.vip: frozenset()})
    assert not lives(one)
    assert not lives(two)


def test_what_comes_back_at_once_was_never_gone(world: World) -> None:
    client, stale = world.dial(world.vip, world.a), world.stale()
    compared(stale, {world.vip: frozenset({world.a})})
    stale.submit({world.vip: frozenset()})
    compared(stale, {world.vip: frozenset({world.a})})
    assert lives(client)


def test_more_endpoints_are_no_reason_to_look(world: World) -> None:
    stale = world.stale()
    for serving in ({world.a}, {world.a, world.b}):
        compared(stale, {world.vip: frozenset(serving)})
    assert stale.runs == 1


def test_what_went_while_no_agent_ran_is_found_at_the_start(world: World) -> None:
    client = world.dial(world.other, world.a)  # of a Service that nobody knows any more
    compared(world.stale(), {world.vip: frozenset({world.b})})
    assert not lives(client)


@pytest.mark.parametrize("chosen", [False, True], ids=["by default", "by choice"])
def test_tcp_ends_by_choice_alone(world: World, chosen: bool) -> None:
    with socket.create_server((world.a.address, 80), family=AF[world.family]):
        client = world.dial(world.tcp, Backend(world.a.address, 80), socket.SOCK_STREAM)
        stale = world.stale()
        wanted: dict[Frontend, frozenset[Backend]] = {world.vip: frozenset({world.a})}
        if chosen:
            wanted[world.tcp] = frozenset({world.b})
        compared(stale, wanted)
        assert lives(client) is not chosen
        assert stale.destroyed_total == chosen


def test_tcp_that_still_knocks_at_an_endpoint_that_went_is_told(world4: World) -> None:
    gone = Backend("10.244.9.9", 80)  # behind the route on which packets vanish
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with client:
        client.setblocking(False)
        assert client.connect_ex(gone) == errno.EINPROGRESS
        world4.rows[ReverseKey(cookie(client), *gone)] = Reverse(VIP[V4], 80)
        compared(world4.stale(), {world4.tcp: frozenset({world4.b})})
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED


def test_pods_in_namespaces_of_their_own_are_told(
    world: World, new_netns: Callable[[], Netns]
) -> None:
    pods = [new_netns() for _ in range(3)]
    clients = []
    for each in pods:
        wired(each, world.family)
        with each.inside():
            clients.append(world.dial(world.vip, world.a))
    compared(world.stale(), {world.vip: frozenset({world.b})})
    assert not any(map(lives, clients))


def test_a_pod_whose_namespace_has_no_name_is_found_by_its_process(world4: World) -> None:
    program = (
        "import os, socket, sys, subprocess\n"
        "ip = lambda *words: subprocess.run(['ip', *words], check=True)\n"
        "ip('link', 'set', 'lo', 'up')\n"
        "ip('route', 'add', 'local', '10.244.0.0/24', 'dev', 'lo')\n"
        "made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "made.connect(('10.244.0.1', 5353))\n"
        f"print(int.from_bytes(made.getsockopt(1, {_SO_COOKIE}, 8), sys.byteorder), flush=True)\n"
        "try: made.recv(10)\n"
        "except ConnectionAbortedError: print('told', flush=True)\n"
    )
    pod = world4.netns.popen("unshare", "--net", "python3", "-c", program)
    try:
        assert pod.stdout
        world4.rows[ReverseKey(int(pod.stdout.readline()), *world4.a)] = Reverse(VIP[V4], 53)
        compared(world4.stale(), {world4.vip: frozenset({world4.b})})
        assert pod.stdout.readline() == "told\n"
    finally:
        pod.kill()
        pod.communicate()


def test_a_thousand_sockets_are_told_in_a_moment(world: World) -> None:
    told: list[Run] = []
    clients = [world.dial(world.vip, world.a) for _ in range(MANY // 2)]
    stay = [world.dial(world.vip, world.b) for _ in range(MANY // 2)]
    compared(world.stale(told.append), {world.vip: frozenset({world.b})})
    assert not any(map(lives, clients))
    assert all(map(lives, stay))
    assert [each.destroyed for each in told] == [MANY // 2]
    print(f"{MANY} sockets, {MANY // 2} ended: {told[0].seconds:.3f} s")
    assert told[0].seconds < 10


def test_a_namespace_that_cannot_be_entered_does_not_keep_the_others(
    world4: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").touch()
    (tmp_path / "gone").symlink_to("nowhere")
    monkeypatch.setattr("podwire_node.stale.namespaces._NAMED", str(tmp_path))
    client = world4.dial(world4.vip, world4.a)
    stale = StaleSockets(lambda: dict(world4.rows))  # made in here: its thread is, too
    with closing(stale):
        compared(stale, {world4.vip: frozenset()})
    assert not lives(client)


def test_a_kernel_that_refuses_is_named_once_and_asked_again(
    world4: World, caplog: pytest.LogCaptureFixture
) -> None:
    client, refuses = world4.dial(world4.vip, world4.a), [True]

    def rows() -> Mapping[ReverseKey, Reverse]:
        if refuses[0]:
            raise SockDiagError("the kernel does not destroy sockets")
        return world4.rows

    stale = StaleSockets(rows)
    with closing(stale), caplog.at_level(logging.INFO, "podwire_node.stale.follower"):
        stale.submit({world4.vip: frozenset()})
        until("it was tried three times", lambda: stale._follower.backoff._delay >= 0.8)
        refuses[0] = False
        until("it works again", lambda: stale.idle)
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]
    assert not lives(client)


def test_a_row_of_nobody_does_not_send_us_into_every_namespace_for_ever(
    world4: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket without a peer has such rows, and so has one that closed unseen."""
    searches = []

    def counted(*words: Any) -> Iterator[int]:
        searches.append(words)
        return everywhere(*words)

    monkeypatch.setattr("podwire_node.stale.sockets.everywhere", counted)
    world4.rows[ReverseKey(1 << 62, *world4.a)] = Reverse(VIP[V4], 53)
    stale = world4.stale()
    for serving in [{world4.b}, set[Backend]()] * 3:
        compared(stale, {world4.vip: frozenset(serving)})
    before = len(searches)
    assert before == 2

    client = world4.dial(world4.vip, world4.b)
    compared(stale, {world4.vip: frozenset({world4.b})})
    compared(stale, {world4.vip: frozenset()})
    assert not lives(client), "who has one is looked for all the same"
    assert len(searches) == before + 1


def test_a_cookie_finds_one_socket_and_no_other(world4: World) -> None:
    client = world4.dial(world4.vip, world4.a)
    with closing(SockDiag()) as diag:
        found = seen(diag, client)
        another = found._replace(id=found.id[:-1] + b"\xff")
        assert diag.destroy([another]) == 0
        assert lives(client)
        assert [diag.destroy([found]), diag.destroy([found])] == [1, 0]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EOPNOTSUPP, "it was built without CONFIG_INET_DIAG_DESTROY"),
        (errno.EPERM, "needs CAP_NET_ADMIN"),
    ],
)
def test_a_kernel_that_destroys_no_sockets_is_told_in_a_sentence(
    world4: World, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    client = world4.dial(world4.vip, world4.a)
    with closing(SockDiag()) as diag:
        found = seen(diag, client)
        monkeypatch.setattr(diag._conversation, "tell", lambda _: [code])
        with pytest.raises(SockDiagError, match=f"does not destroy sockets: .*: {advice}$"):
            diag.destroy([found])


def seen(diag: SockDiag, each: socket.socket) -> Socket:
    """A socket, as the kernel lists it."""
    known = diag.sockets(V4, UDP, CONNECTED[UDP])
    return next(one for one in list(known) if one.cookie == cookie(each))
