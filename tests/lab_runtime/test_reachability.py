"""What counts as reached, and the table that shows it."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from rich.console import Console
from rich.text import Text

from podwire_core.objects import ObjectName, Protocol
from podwire_lab.programs.probe import ask
from podwire_lab.show import reachability
from podwire_lab.show.reach_table import Column, ReachTable
from podwire_lab.show.reachability import Answers, Question

CLIENT, WEB = ObjectName("shop", "client"), ObjectName("shop", "web")
COLUMNS: list[Column] = [
    ("data/database", 5432, Protocol.TCP),
    ("default/visitor", 8080, Protocol.TCP),
    *(("shop/api", port, Protocol.TCP) for port in (8080, 9090)),
    ("shop/api", 8125, Protocol.UDP),
    ("shop/frontend", 8080, Protocol.TCP),
    ("shop/order-processing-service", 8080, Protocol.TCP),
]


def question(port: int) -> Question:
    return Question(CLIENT, WEB, Protocol.TCP, port, "10.244.1.5")


def answers(outcome: str, *, allowed: bool) -> Answers:
    return Answers({question(80): outcome}, {question(80): allowed})


@pytest.mark.parametrize(
    ("outcome", "reached"),
    [
        ("answered", True),
        ("accepted", True),
        ("refused", True),
        ("silent", False),
        ("failed", False),
    ],
)
def test_a_refusal_has_arrived_and_silence_has_not(outcome: str, reached: bool) -> None:
    assert answers(outcome, allowed=reached).differences == []
    wrong = answers(outcome, allowed=not reached)
    assert wrong.differences == [question(80)]
    (sentence,) = reachability.explain_differences(wrong)
    assert sentence.endswith(f"the oracle says: {'denied' if reached else 'allowed'}")


def test_pods_where_nobody_listens_are_told_and_are_no_difference() -> None:
    found = answers("refused", allowed=True)
    assert list(reachability.nobody_listens(found)) == [
        "1 of them reached a pod that answered 'nobody listens': shop/web 80/TCP"
    ]
    summary = reachability.summary(found)
    assert (summary["nobodyListens"], summary["differences"]) == (1, [])
    assert list(reachability.nobody_listens(answers("answered", allowed=True))) == []


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Ports of this machine's loopback, by what a dial of each does."""
    with ExitStack() as stack:
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        closed = socket.create_server(("127.0.0.1", 0))
        talking = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        deaf = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        deaf.bind(("127.0.0.1", 0))
        numbers = {
            "accepted": mute.getsockname()[1],
            "refused": closed.getsockname()[1],
            "answered": talking.getsockname()[1],
            "silent": deaf.getsockname()[1],
        }
        closed.close()
        threading.Thread(target=_answer_once, args=(talking,), daemon=True).start()
        yield numbers


def _answer_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(100)
        connection.sendall(b"pod=shop/web\n")


def test_a_probe_tells_silence_refusal_and_a_mute_server_apart(ports: dict[str, int]) -> None:
    targets = [
        ("tcp", "127.0.0.1", ports["answered"]),
        ("tcp", "127.0.0.1", ports["accepted"]),
        ("tcp", "127.0.0.1", ports["refused"]),
        ("udp", "127.0.0.1", ports["refused"]),
        ("udp", "127.0.0.1", ports["silent"]),
    ]
    outcomes = [outcome for outcome, _ in ask(targets, 2.0)]
    assert outcomes == ["answered", "accepted", "refused", "refused", "silent"]


def shown(width: int, columns: list[Column]) -> list[str]:
    rows = sorted({owner for owner, _, _ in COLUMNS})
    table = ReachTable({(row, each): Text("✔ 12/12") for row in rows for each in columns})
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_word_and_no_cell_is_broken_at_any_width(width: int) -> None:
    lines = shown(width, COLUMNS)
    words = {word for line in lines for word in line.replace("┃", " ").replace("│", " ").split()}
    assert {"database", "frontend", "5432", "TCP", "order-", "service", "12/12"} <= words
    assert sum(line.count("12/12") for line in lines) == len(COLUMNS) * 5
    assert max(map(len, lines)) <= width


def test_columns_without_room_stand_in_a_table_below() -> None:
    assert sum(line.startswith("┏") for line in shown(100, COLUMNS[:6])) == 1
    assert sum(line.startswith("┏") for line in shown(70, COLUMNS[:6])) == 2
    assert shown(80, []) == []
