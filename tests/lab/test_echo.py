"""The echo server: its answers as values, then over loopback from a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire_lab.programs import echo

WHO = {"pod": "shop/api-1", "node": "node1"}
CLIENT = ("::ffff:10.244.2.3", 41022, 0, 0)
LINE = b"pod=shop/api-1 node=node1 client=10.244.2.3:41022"
PATIENCE = 10.0


def talk(*pieces: bytes) -> tuple[bytes, bool]:
    conversation = echo.Echo(WHO, CLIENT)
    for piece in pieces:
        conversation.receive(piece)
    return bytes(conversation.pending), conversation.closing


# ------------------------------------------------------------------------------ as values


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("10.0.0.1", 80), "10.0.0.1:80"),
        (("::ffff:10.0.0.1", 80, 0, 0), "10.0.0.1:80"),
        (("fd00::3", 80, 0, 0), "[fd00::3]:80"),
        (("fe80::3%eth0", 80, 0, 2), "[fe80::3]:80"),
    ],
)
def test_a_client_is_shown_as_its_packets_name_it(address, text):
    assert echo.client(address) == text


def test_each_line_is_answered_with_who_answers_who_asked_and_the_line():
    assert talk(b"hel", b"lo\r\nagain\n") == (LINE + b" hello\n" + LINE + b" again\n", False)


def test_a_last_line_without_an_end_is_answered_at_the_clients_end():
    assert talk(b"hello", b"") == (LINE + b" hello\n", True)


def test_http_is_answered_as_text_and_the_connection_kept():
    answer, closing = talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain")
    assert (body, closing) == (LINE + b"\n", False)


def test_http_is_answered_as_json_when_asked_for():
    answer, _ = talk(b"GET /a?b HTTP/1.1\r\nAccept: application/json\r\n\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
        **WHO,
        "client": "10.244.2.3:41022",
        "method": "GET",
        "path": "/a?b",
    }


@pytest.mark.parametrize(
    ("request_", "answers", "closing"),
    [
        (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", 2, False),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n", 2, False),
        (b"GET / HTTP/1.0\r\n\r\n", 1, True),
        (b"GET / HTTP/1.0\n\n", 1, True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 1, True),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 1, True),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 1, True),
        (b"GET /", 0, False),
        (b"GET /" + b"x" * 9000, 0, True),
    ],
)
def test_requests_and_connections_end_where_http_says(request_, answers, closing):
    answer, closed = talk(request_)
    assert (answer.count(b"HTTP/1.1 "), closed) == (answers, closing)


def test_head_has_no_body():
    assert talk(b"HEAD / HTTP/1.1\r\n\r\n")[0].endswith(b"\r\n\r\n")


def test_two_echo_servers_do_not_talk_for_ever():
    answer = echo.datagram_answer(WHO, b"hello\n", CLIENT)
    assert answer == LINE + b" hello\n"
    assert echo.datagram_answer(WHO, answer, CLIENT) is None


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_bytes_upset_a_conversation(pieces):
    talk(*pieces, b"")


# ----------------------------------------------------------------------------- as a process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def start(*ports: int) -> subprocess.Popen[str]:
    """The server, once it says that it is ready; it ends before when it cannot be."""
    reads, writes = os.pipe()
    script = [sys.executable, "-I", "-S", str(Path(echo.__file__))]
    options = ["--ports", ",".join(map(str, ports)), "--ready-fd", str(writes)]
    environment = {"POD_NAMESPACE": "shop", "POD_NAME": "api-1", "NODE_NAME": "node1"}
    process = subprocess.Popen(
        script + options, pass_fds=[writes], env=environment, stderr=subprocess.PIPE, text=True
    )
    os.close(writes)
    with os.fdopen(reads, "rb") as ready:
        process.told_ready = ready.read()  # until it closes its end
    return process


@pytest.fixture
def server():
    port = free_port()
    process = start(port)
    with process:
        yield port, process
        process.kill()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_port_speaks_lines_http_and_udp_in_both_families(server, host):
    port, process = server
    assert process.told_ready == b"\n"
    with socket.create_connection((host, port), PATIENCE) as tcp:
        tcp.sendall(b"hello\n")
        assert tcp.makefile().readline().startswith("pod=shop/api-1 node=node1 client=")
        tcp.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert tcp.makefile().readline() == "HTTP/1.1 200 OK\n"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(PATIENCE)
        udp.connect((host, port))
        udp.send(b"hello")
        assert udp.recv(500).endswith(f":{udp.getsockname()[1]} hello\n".encode())


def test_sigterm_ends_it_at_once_with_zero(server):
    _, process = server
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


def test_a_port_that_is_taken_is_one_sentence_and_exit_one():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        with start(port) as process:
            _, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, process.told_ready) == (1, b"")
        assert errors == f"echo: cannot serve TCP port {port}: Address already in use\n"
