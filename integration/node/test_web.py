"""The web thread over real HTTP: what is answered, to how many, and what happens to listeners."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from scratch import Netns, took, until

from podwire_core.errors import ObjectError
from podwire_core.objects import ObjectName
from podwire_node.metrics import Metrics
from podwire_node.web import conversation, pages
from podwire_node.web.health import HealthState
from podwire_node.web.server import Fixed, Web
from podwire_proxy.health import HealthCheck

HEALTHZ, METRICS, PORT = 10256, 10249, 32000
API = ObjectName("shop", "api")
IN_USE = "Address already in use"
BODY = (
    b'{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "api"\n\t},\n'
    b'\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
)


class Bench:
    """A web thread in a namespace, and clients of it there."""

    def __init__(self, netns: Netns) -> None:
        self.netns = netns
        self.health, self.metrics = HealthState(), Metrics()
        health = pages.health_pages(self.health, self.metrics)
        metrics = pages.metrics_pages(self.metrics, lambda: "nftables", {"proxyMode": "nftables"})
        with netns.inside():
            self.web = Web(
                self.health,
                (
                    Fixed("healthz", "0.0.0.0", HEALTHZ, health),
                    Fixed("metrics", "127.0.0.1", METRICS, metrics),
                ),
            )

    def connect(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        with self.netns.inside():
            return socket.create_connection((host, port), timeout=15)

    def ask(
        self, port: int, path: str = "/", method: str = "GET", host: str = "127.0.0.1"
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(host, port, timeout=10)
        with self.netns.inside(), contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())

    def say(self, port: int, *pieces: bytes) -> bytes:
        """What comes back for these bytes, until the server's end."""
        with self.connect(port) as made:
            for each in pieces:
                made.sendall(each)
            return received(made)

    def open(self, port: int, host: str = "127.0.0.1") -> bool:
        try:
            self.connect(port, host).close()
        except OSError:
            return False
        return True

    def endpoints(self, port: int) -> int | None:
        """What a health check port says; None while it changes hands."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return int(json.loads(self.ask(port)[1])["localEndpoints"])
        return None

    def settled(self, port: int = HEALTHZ) -> None:
        until(f"port {port} is open", lambda: self.open(port))

    def rang(self) -> bool:
        """Whether the agent's loop was woken; it listens then, as the loop does."""
        (descriptor, hear) = next(iter(self.web.watched()))
        ready = bool(select.select([descriptor], [], [], 0)[0])
        if ready:
            hear()
        return ready


def received(made: socket.socket) -> bytes:
    """All until the end; a reset is one too."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := made.recv(65536):
            found += piece
    return found


@pytest.fixture
def bench(new_netns: Callable[[], Netns]) -> Iterator[Bench]:
    made = Bench(new_netns())
    made.settled()
    made.settled(METRICS)
    yield made
    made.web.close()


# -------------------------------------------------------------------------- answers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/any/path?query=1", "*"])
def test_a_services_port_answers_any_path_and_method(bench: Bench, method: str, path: str) -> None:
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)})
    bench.settled(PORT)
    status, body, headers = bench.ask(PORT, path, method)
    assert (status, body) == (200, BODY)
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Load-Balancing-Endpoint-Weight"] == "2"
    assert headers["Content-Length"] == str(len(BODY))


def test_head_has_the_headers_and_no_body(bench: Bench) -> None:
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)})
    bench.settled(PORT)
    status, body, headers = bench.ask(PORT, method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(BODY)))


def test_the_last_local_endpoint_goes_and_the_port_says_503(bench: Bench) -> None:
    bench.web.set_health_checks({API: HealthCheck(PORT, 1)})
    bench.settled(PORT)
    assert bench.ask(PORT)[0] == 200
    bench.web.set_health_checks({API: HealthCheck(PORT, 0)})
    status, body, headers = bench.ask(PORT)  # no listener has changed: it is so at once
    assert (status, json.loads(body)["localEndpoints"]) == (503, 0)
    assert headers["X-Load-Balancing-Endpoint-Weight"] == "0"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_address_is_one_of_both_families(bench: Bench, host: str) -> None:
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)})
    until("the port is open", lambda: bench.open(PORT, host))
    assert bench.ask(PORT, host=host)[0] == 200
    assert bench.ask(HEALTHZ, "/healthz", host=host)[0] == 200


def test_metrics_on_loopback_are_on_that_address_alone(bench: Bench) -> None:
    assert bench.ask(METRICS, "/healthz")[:2] == (200, b"ok")
    assert bench.ask(METRICS, "/proxyMode")[:2] == (200, b"nftables")
    assert bench.ask(METRICS, "/configz")[:2] == (200, b'{"proxyMode":"nftables"}')
    assert b"\npodwire_build_info{" in bench.ask(METRICS, "/metrics")[1]
    assert bench.ask(METRICS, "/metrics", "POST")[0] == 405
    assert bench.ask(METRICS, "/other")[:2] == (404, b"404 page not found\n")
    assert not bench.open(METRICS, "::1")
    assert not bench.open(METRICS, "127.0.0.2")


def test_curl_likes_it(bench: Bench) -> None:
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)})
    bench.settled(PORT)
    url = f"http://127.0.0.1:{PORT}/healthz"
    assert bench.netns.run("curl", "-sf", "--noproxy", "*", url).encode() == BODY
    posted = ("-d", "x" * 10_000, "-H", "Expect:")
    assert bench.netns.run("curl", "-sf", "--noproxy", "*", *posted, url).encode() == BODY
    assert bench.netns.run("curl", "-sf0", "--noproxy", "*", url).encode() == BODY


# ---------------------------------------------------------------------------- bounds


def test_a_head_of_8_kib_is_read_and_a_byte_more_is_not(bench: Bench) -> None:
    def asked(size: int) -> bytes:
        start, end = b"GET /proxyMode HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n\r\n"
        return bench.say(METRICS, start + b"x" * (size - len(start) - len(end)) + end)

    assert asked(8192).startswith(b"HTTP/1.1 200 OK\r\n")
    assert asked(8193).startswith(b"HTTP/1.1 431 ")


def test_a_huge_head_is_told_so_and_not_kept(bench: Bench) -> None:
    before = resident_kb()
    for _ in range(20):
        assert b" 431 " in bench.say(HEALTHZ, b"GET /" + b"a" * 60_000)
    endless = bench.connect(HEALTHZ)
    with endless, contextlib.suppress(OSError):
        for _ in range(1000):
            endless.sendall(b"b" * 65536)  # it hangs up long before these 64 MB
        pytest.fail("it reads for ever")
    assert resident_kb() - before < 4096


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET / HTTP/one\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\nbad header\r\n\r\n",
        b"\xff\xfe /\r\n\r\n",
    ],
    ids=["TLS", "zeros", "version", "no Host", "negative", "two lengths", "header", "letters"],
)
def test_what_is_no_http_is_told_so(bench: Bench, garbage: bytes) -> None:
    assert bench.say(HEALTHZ, garbage).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert bench.ask(HEALTHZ, "/livez")[0] == 200


def test_requests_with_random_faults_break_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(4)
    whole = b"POST /healthz?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: y\r\n\r\nabc"
    for _ in range(500):
        faulty = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            faulty[chance.randrange(len(faulty))] = chance.choice(b"\0\r\n :/\xff%0")
        with bench.connect(HEALTHZ) as made:
            made.sendall(faulty)
            made.shutdown(socket.SHUT_WR)
            answer = received(made)
        assert re.match(rb"HTTP/1.1 (200|400|404|431|501) |$", answer), (faulty, answer)
    assert bench.ask(HEALTHZ, "/livez")[0] == 200
    assert not caplog.records


def test_who_hangs_up_in_the_middle_harms_no_one(bench: Bench) -> None:
    for number in range(50):
        made = bench.connect(HEALTHZ)
        made.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"[: number % 37])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        made.close()  # with a reset
    assert bench.ask(HEALTHZ, "/livez")[0] == 200


def test_a_request_that_trickles_in_is_answered(bench: Bench) -> None:
    with bench.connect(METRICS) as made:
        for each in b"GET /proxyMode HTTP/1.0\r\n\r\n":
            made.sendall(bytes([each]))
            time.sleep(0.002)
        assert received(made).endswith(b"\r\n\r\nnftables")


def test_a_second_request_on_a_connection_is_not_read(bench: Bench) -> None:
    one = b"GET /proxyMode HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = bench.say(METRICS, one * 20)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer


def test_who_says_nothing_is_hung_up_on_at_the_deadline(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "DEADLINE_S", 0.5)
    began = time.monotonic()
    with bench.connect(HEALTHZ) as silent, bench.connect(HEALTHZ) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert received(silent) == received(slow) == b""
        assert 0.3 < time.monotonic() - began < 5


def test_who_does_not_take_his_answer_is_hung_up_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "DEADLINE_S", 0.5)
    with bench.connect(METRICS) as made:
        made.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        until("the answer has come", lambda: bool(made.recv(1, socket.MSG_PEEK)))
        until("no connection of it is left", lambda: not connections(bench, METRICS))


def connections(bench: Bench, port: int) -> list[str]:
    """Established connections to a port, or those of which one end is closed."""
    state = ("state", "established", "state", "close-wait")
    return bench.netns.run("ss", "-Htn", *state, f"sport = :{port}").splitlines()


def test_a_thousand_connections_hold_up_no_one(bench: Bench) -> None:
    raised = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert raised[0] >= 1912  # the clients' ends are ours too
    with contextlib.ExitStack() as held:
        silent = [held.enter_context(bench.connect(HEALTHZ)) for _ in range(1000)]
        until("128 are left", lambda: len(connections(bench, HEALTHZ)) == 128)
        waits = []
        for _ in range(3):
            began = time.monotonic()
            assert bench.ask(HEALTHZ, "/healthz")[0] == 200
            assert bench.ask(METRICS, "/proxyMode")[0] == 200
            waits.append(time.monotonic() - began)
        assert min(waits) < 1, waits
        assert received(silent[0]) == b""


def test_ten_sites_share_512_connections(bench: Bench) -> None:
    checks = {ObjectName("shop", f"s{n}"): HealthCheck(PORT + n, 1) for n in range(10)}
    bench.web.set_health_checks(checks)
    bench.settled(PORT + 9)
    with contextlib.ExitStack() as held:
        for _ in range(100):
            for number in range(10):
                held.enter_context(bench.connect(PORT + number))

        def left() -> list[int]:
            return [len(connections(bench, PORT + number)) for number in range(10)]

        until("512 are left", lambda: sum(left()) == 512)
        assert max(left()) - min(left()) <= 2
        assert bench.ask(HEALTHZ, "/livez")[0] == 200


# -------------------------------------------------------------------------- listeners


def test_a_port_that_moves_is_closed_and_opened(bench: Bench) -> None:
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)})
    bench.settled(PORT)
    bench.web.set_health_checks({API: HealthCheck(PORT + 1, 2)})
    bench.settled(PORT + 1)
    assert not bench.open(PORT)
    bench.web.set_health_checks({})
    until("the port is closed", lambda: not bench.open(PORT + 1))


def test_two_services_swap_their_ports(bench: Bench) -> None:
    shop = ObjectName("shop", "web")
    bench.web.set_health_checks({API: HealthCheck(PORT, 2), shop: HealthCheck(PORT + 1, 7)})
    bench.settled(PORT + 1)
    bench.web.set_health_checks({API: HealthCheck(PORT + 1, 2), shop: HealthCheck(PORT, 7)})
    until("they have swapped", lambda: [bench.endpoints(PORT + n) for n in (0, 1)] == [7, 2])
    assert not bench.web.unusable


def test_a_port_that_closes_hangs_up_on_who_waits_there(bench: Bench) -> None:
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)})
    bench.settled(PORT)
    with bench.connect(PORT) as silent:
        assert bench.ask(PORT)[0] == 200
        bench.web.set_health_checks({})
        assert received(silent) == b""


def test_given_addresses_are_listened_at_alone(bench: Bench) -> None:
    for address in ("192.0.2.1/32", "2001:db8::1/128"):
        bench.netns.run("ip", "address", "add", address, "dev", "lo", "nodad")
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)}, ["192.0.2.1", "2001:db8::1"])
    until("the port is open", lambda: bench.open(PORT, "2001:db8::1"))
    assert bench.open(PORT, "192.0.2.1")
    assert not bench.open(PORT)
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)}, ["127.0.0.1"])
    bench.settled(PORT)
    assert not bench.open(PORT, "192.0.2.1")


def test_an_address_that_comes_later_is_listened_at_then(bench: Bench) -> None:
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)}, ["192.0.2.1"])
    until("it is told", lambda: bool(bench.web.unusable))
    bench.netns.run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    until("the port is open", lambda: bench.open(PORT, "192.0.2.1"))
    until("all is well", lambda: not bench.web.unusable)


def test_a_port_in_use_is_told_once_and_served_when_it_is_free(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with bench.netns.inside():
        other = socket.create_server(("127.0.0.1", PORT))
    bench.rang()
    with other:
        bench.web.set_health_checks({API: HealthCheck(PORT, 2)})
        until("the loop is woken", bench.rang)
        why = f"this node cannot listen at port {PORT}: {IN_USE}"
        field = "spec.healthCheckNodePort"
        assert bench.web.unusable == [ObjectError("", "Service shop/api", field, why)]
        time.sleep(1.2)  # which is long enough for two more tries
        said = [each.getMessage() for each in caplog.records]
        assert said == [f"Service shop/api: {field}: cannot listen: {IN_USE}; trying again"]
    until("the loop is woken", bench.rang)
    assert not bench.web.unusable
    assert bench.ask(PORT)[0] == 200


def test_the_next_change_tries_a_refused_port_at_once(bench: Bench) -> None:
    waits = []
    for port in range(PORT, PORT + 3):
        with bench.netns.inside(), socket.create_server(("127.0.0.1", port)):
            bench.web.set_health_checks({API: HealthCheck(port, 2)})
            until("it is told", lambda: bool(bench.web.unusable))
        other = {ObjectName("a", "b"): HealthCheck(port - PORT + 1, 1)}
        bench.web.set_health_checks({API: HealthCheck(port, 2), **other})
        waits.append(took("the port is open", lambda: bench.open(port)))  # noqa: B023 - waited for here
    assert min(waits) < 0.4, waits


def test_two_services_with_one_port_one_has_it_and_the_other_is_told(bench: Bench) -> None:
    late = ObjectName("shop", "zeta")
    bench.web.set_health_checks({late: HealthCheck(PORT, 5), API: HealthCheck(PORT, 2)})
    bench.settled(PORT)
    assert bench.ask(PORT)[1] == BODY
    (told,) = bench.web.unusable
    assert told.object == "Service shop/zeta"
    assert told.reason == f"port {PORT} is that of Service shop/api already"
    bench.web.set_health_checks({late: HealthCheck(PORT, 5)})
    until("it has it", lambda: bench.endpoints(PORT) == 5)
    assert not bench.web.unusable


def test_our_own_port_in_use_is_a_problem_that_says_what_to_do(
    new_netns: Callable[[], Netns],
) -> None:
    netns = new_netns()
    with netns.inside():
        other = socket.create_server(("127.0.0.1", METRICS))
    bench = Bench(netns)
    try:
        with other:
            until("it is told", lambda: bool(bench.web.problems))
            advice = "free it, or set another --metrics-bind-address"
            (told,) = bench.web.problems
            assert told == f"metrics: cannot listen at 127.0.0.1:10249: {IN_USE}; {advice}"
            bench.settled(HEALTHZ)  # the rest goes on
        until("the problem is over", lambda: not bench.web.problems)
        assert bench.ask(METRICS, "/healthz")[1] == b"ok"
    finally:
        bench.web.close()


def test_a_thousand_ports_are_open_in_seconds(bench: Bench) -> None:
    checks = {
        ObjectName("shop", f"s{number:04}"): HealthCheck(20000 + number, 1)
        for number in range(1000)
    }
    handed_over, opened, closed = [], [], []
    for _ in range(3):
        began = time.monotonic()
        bench.web.set_health_checks(checks)
        handed_over.append(time.monotonic() - began)
        bench.settled(20999)
        opened.append(time.monotonic() - began)
        bench.web.set_health_checks({})
        fact = "they are closed"
        closed.append(took(fact, lambda: not bench.open(20000) and not bench.open(20999)))
    assert min(opened) < 5
    assert min(handed_over) < 0.1  # the agent's loop waits for nothing
    print(f"\n1,000 ports: handed over in {min(handed_over) * 1e3:.1f} ms,")
    print(f"open in {min(opened):.2f} s, closed in {min(closed):.2f} s")


def test_changes_from_the_loop_while_clients_ask(bench: Bench) -> None:
    """Whatever a client hears is one of the states that there were."""
    stop = threading.Event()
    heard: list[list[tuple[int, int]]] = [[] for _ in range(4)]

    def client(mine: list[tuple[int, int]]) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, body, _ = bench.ask(PORT)
                mine.append((status, json.loads(body)["localEndpoints"]))

    def asked_after(counts: Sequence[int]) -> bool:
        return all(len(each) > count + 5 for each, count in zip(heard, counts, strict=True))

    bench.web.set_health_checks({API: HealthCheck(PORT, 1)})
    bench.settled(PORT)
    threads = [threading.Thread(target=client, args=(each,)) for each in heard]
    for each in threads:
        each.start()
    for number in range(501):
        bench.web.set_health_checks({API: HealthCheck(PORT + number % 2, number % 3)})
    counts = [len(each) for each in heard]
    until("all have asked since the last change", lambda: asked_after(counts))
    stop.set()
    for each in threads:
        each.join()
    assert set().union(*heard) <= {(503, 0), (200, 1), (200, 2)}
    assert {each[-1] for each in heard} == {(200, 500 % 3)}


# ---------------------------------------------------------------------------- the end


def test_closing_leaves_no_listener_no_thread_and_no_descriptor(
    new_netns: Callable[[], Netns],
) -> None:
    netns = new_netns()
    before = descriptors(), threading.active_count()
    bench = Bench(netns)
    bench.web.set_health_checks({API: HealthCheck(PORT, 2)})
    bench.settled(PORT)
    with bench.connect(PORT) as silent:
        began = time.monotonic()
        bench.web.close()
        bench.web.close()
        assert time.monotonic() - began < 10
        assert received(silent) == b""
    assert (descriptors(), threading.active_count()) == before
    assert netns.run("ss", "-Hltn") == ""


PROGRAM = """
import signal, sys
from podwire_core.objects import ObjectName
from podwire_node.web.health import HealthState
from podwire_node.web.server import Web
from podwire_proxy.health import HealthCheck

web = Web(HealthState())
web.set_health_checks({ObjectName("shop", "api"): HealthCheck(32000, 2)})
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_agent_that_is_killed_leaves_nothing_and_another_takes_over(
    new_netns: Callable[[], Netns], tmp_path: Path, number: int
) -> None:
    netns = new_netns()
    script = tmp_path / "agent.py"
    script.write_text(PROGRAM)
    bench = Bench(netns)
    try:
        for _ in range(2):
            agent = netns.popen(sys.executable, str(script))
            with agent:
                until("it serves", lambda: bench.open(PORT))
                assert bench.ask(PORT)[1] == BODY
                with bench.connect(PORT):  # which would hold the port but for SO_REUSEADDR
                    agent.send_signal(number)
                    agent.wait(5)
            assert not bench.open(PORT)
    finally:
        bench.web.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024
