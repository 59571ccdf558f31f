"""Programs that people run reach a Service by its address, and believe that they talk to it."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from bpf_stage import ENDPOINTS4, ENDPOINTS6, TCP, UDP, Stage
from dnslib import DNSRecord

from podwire_ebpf.records import FrontendKey

PROGRAMS = Path(__file__).with_name("programs")
VIP4, VIP6 = "10.96.0.10", "fd96::10"
BOTH = pytest.mark.parametrize(
    ("vip", "endpoint"), [(VIP4, ENDPOINTS4[1]), (VIP6, ENDPOINTS6[1])], ids=["IPv4", "IPv6"]
)


def serve(on: Stage, vip: str, endpoint: str, port: int = 80) -> None:
    on.serve(FrontendKey(vip, port, TCP), endpoint)
    on.serve(FrontendKey(vip, port, UDP), endpoint)


def found(program: str, package: str) -> str:
    """Where a program is. Where it is not, the test says what would let it run."""
    path = shutil.which(program) or shutil.which(program, path="/usr/local/go/bin")
    if not path:
        pytest.skip(f"there is no {program}: apt-get install {package}")
    return path


def run(on: Stage, *command: str | Path) -> str:
    """A program's output in pod a; no proxy of the machine is in its way."""
    environment = {key: each for key, each in os.environ.items() if "proxy" not in key.lower()}
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{on.a.name}", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def told(output: str) -> dict[str, list[str]]:
    """Of the lines `way who peer port`: by way, with addresses in one spelling."""
    rows = (line.split() for line in output.splitlines())
    return {way: [_spelt(word) for word in words] for way, *words in rows}


def _spelt(word: str) -> str:
    """Java writes fd96:0:0:0:0:0:0:10."""
    if ":" not in word:
        return word
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, word))


@BOTH
def test_curl(on: Stage, vip: str, endpoint: str) -> None:
    serve(on, vip, endpoint)
    url = f"http://{bracketed(vip)}/"
    output = run(on, "curl", "--noproxy", "*", "-s", "-w", " %{remote_ip}", url)
    assert output == f"{endpoint} {vip}"


@BOTH
def test_python(on: Stage, vip: str, endpoint: str) -> None:
    serve(on, vip, endpoint)
    with on.a.inside():
        connection = http.client.HTTPConnection(vip, 80, timeout=20)
        connection.request("GET", "/")
    assert connection.sock
    assert connection.sock.getpeername()[:2] == (vip, 80)
    assert connection.getresponse().read() == endpoint.encode()
    connection.close()


@BOTH
def test_go(on: Stage, vip: str, endpoint: str, go_program: Path) -> None:
    serve(on, vip, endpoint)
    peer = [endpoint, vip, "80"]
    assert told(run(on, go_program, vip, "80")) == {
        "stream": peer,
        "http": peer,
        "connected": peer,
        "datagram": peer,
        "resolver": ["192.0.2.2"],
    }


@pytest.fixture(scope="module")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go") / "dial"
    subprocess.run(
        [found("go", "golang-go"), "build", "-o", program, PROGRAMS / "dial.go"],
        check=True,
        timeout=280,
        env=os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GO111MODULE": "off"},
    )
    return program


@BOTH
def test_java(on: Stage, vip: str, endpoint: str) -> None:
    serve(on, vip, endpoint)
    java = found("java", "default-jdk-headless")
    if not shutil.which("javac"):
        pytest.skip("there is no javac, which runs source files: install default-jdk-headless")
    peer = [endpoint, vip, "80"]
    assert told(run(on, java, "-Xshare:auto", PROGRAMS / "Dial.java", vip, "80")) == dict.fromkeys(
        ("stream", "http", "datagram", "connected"), peer
    )


@pytest.mark.parametrize("protocol", ["stream", "datagram", "connected"])
def test_dual_stack_socket_as_java_has_it(on: Stage, protocol: str) -> None:
    serve(on, VIP4, ENDPOINTS4[1])
    kind = socket.SOCK_STREAM if protocol == "stream" else socket.SOCK_DGRAM
    with on.socket(on.a, socket.AF_INET6, kind) as made:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("::", 0))
        peer = (f"::ffff:{VIP4}", 80)
        if protocol == "datagram":
            made.sendto(b"who?", peer)
        else:
            made.connect(peer)
            made.send(b"who?")
        answer, sender = made.recvfrom(100)
        assert answer.decode() == ENDPOINTS4[1]
        assert (sender or made.getpeername())[:2] == peer


def test_socket_for_ipv6_alone_refuses_a_mapped_address_as_ever(on: Stage) -> None:
    serve(on, VIP4, ENDPOINTS4[1])
    with on.socket(on.a, socket.AF_INET6, socket.SOCK_STREAM) as made:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with pytest.raises(OSError, match="unreachable"):
            made.connect((f"::ffff:{VIP4}", 80))


# ------------------------------------------------------------------------------ resolvers


@BOTH
def test_getaddrinfo_by_resolv_conf(on: Stage, vip: str, endpoint: str, tmp_path: Path) -> None:
    serve(on, vip, endpoint, port=53)
    settings = tmp_path / "resolv.conf"
    settings.write_text(f"nameserver {vip}\noptions timeout:5 attempts:3\n")
    mounts = ["unshare", "--mount", "--propagation", "private"]
    output = run(on, *mounts, sys.executable, PROGRAMS / "resolve.py", settings, "shop.example")
    assert output == "192.0.2.2\n"


@BOTH
def test_resolver_that_connects_once_and_asks_often(on: Stage, vip: str, endpoint: str) -> None:
    serve(on, vip, endpoint, port=53)
    with on.talk(on.a, vip, 53) as made:
        for number in range(3):
            question = DNSRecord.question(f"shop{number}.example")
            made.send(question.pack())
            raw, sender = made.recvfrom(512)
            answer = DNSRecord.parse(raw)
            assert answer.header.id == question.header.id
            assert str(answer.a.rdata) == "192.0.2.2"
            assert sender[:2] == (vip, 53)


@BOTH
def test_resolver_that_does_not_connect_and_checks_who_answers(
    on: Stage, vip: str, endpoint: str
) -> None:
    """As musl's: answers of anybody else are dropped."""
    serve(on, vip, endpoint, port=53)
    with on.socket(
        on.a, socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM
    ) as made:
        made.sendto(DNSRecord.question("shop.example").pack(), (vip, 53))
        raw, sender = made.recvfrom(512)
        assert sender[:2] == (vip, 53)
        assert str(DNSRecord.parse(raw).a.rdata) == "192.0.2.2"
