"""`podwire observe`: lines for people, JSON for programs, and what to do when it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from drop_site import (
    CHAIN,
    DB,
    DB6,
    FRONTEND,
    FRONTEND6,
    NODE2,
    WORLD,
    ground,
    logged,
    packet,
    ports,
    tcp,
)
from msgspec.structs import replace

from podwire_node.cli import main
from podwire_node.control.server import Control
from podwire_node.observe.naming import make
from podwire_node.observe.record import Record
from podwire_node.observe.ring import Ring
from podwire_node.observe.shown import lines
from podwire_node.observe.verb import observe_verb


def record(payload: bytes) -> Record:
    found = make(logged(payload, CHAIN), ground())
    assert found is not None
    return found


TCP = record(packet(FRONTEND, DB, 6, tcp(41320, 5432)))
UDP6 = record(packet(FRONTEND6, DB6, 17, ports(4000, 53)))


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    ring = Ring()
    ring.add([TCP, UDP6])
    path = tmp_path / "control/agent.sock"
    with closing(Control(path, {"observe": observe_verb(ring)})):
        yield path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["observe", *words])


def test_a_drop_is_a_line_and_below_it_why() -> None:
    head, why, nearest = map(str, lines(TCP))
    assert head.endswith("shop/frontend:41320 → shop/db:5432 DROPPED ingress (TCP Flags: SYN)")
    assert (
        why.strip()
        == "NetworkPolicy shop/db isolates pod shop/db for ingress and does not allow it"
    )
    assert nearest.strip().startswith(
        "nearest: NetworkPolicy shop/db ingress[0] allows port 5432/TCP from app=api"
    )


@pytest.mark.parametrize(
    ("payload", "ends"),
    [
        (packet(WORLD, DB, 17, ports(1, 2)), "203.0.113.9:1 → shop/db:2"),
        (packet("2001:db8::1", DB6, 17, ports(1, 2)), "[2001:db8::1]:1 → shop/db:2"),
        (packet("2001:db8::1", DB6, 58, b"\x80\x00"), "2001:db8::1 → shop/db"),
        (packet(DB, NODE2, 6, tcp(1, 2)), "shop/db:1 → 192.168.7.2:2 (this node)"),
        (packet("192.168.7.1", DB, 6, tcp(1, 2)), "192.168.7.1:1 (a node) → shop/db:2"),
    ],
)
def test_ends_are_named_as_people_write_them(payload: bytes, ends: str) -> None:
    assert f" {ends} DROPPED" in str(lines(record(payload))[0])


def test_a_rules_name_cannot_drive_a_terminal() -> None:
    wild = msgspec.structs.replace(TCP, reason="rule \x1b[2J denies", nearest_miss="\x1b]0;x\x07")
    assert all(str(row).isprintable() for row in lines(wild))


def test_the_command_shows_what_the_agent_kept(socket: Path) -> None:
    done = run("--socket", str(socket))
    assert done.exit_code == 0
    assert [row[13:40] for row in done.output.splitlines() if "DROPPED" in row] == [
        "shop/frontend:41320 → shop/",
        "shop/frontend:4000 → shop/d",
    ]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    ring = Ring()
    ring.add(
        [replace(TCP, node_name="node1", time=f"{year}-01-01T00:00:00Z") for year in (1999, 2999)]
    )
    path = tmp_path / "other/agent.sock"
    with closing(Control(path, {"observe": observe_verb(ring)})):
        yield path


def test_drops_of_several_agents_are_one_list_by_time_with_their_nodes(
    socket: Path, other: Path
) -> None:
    both = ("--socket", str(socket), "--socket", str(other))
    done = run(*both, "--json")
    flows = [json.loads(line) for line in done.output.splitlines()]
    assert [each["node_name"] for each in flows] == ["node1", "node2", "node2", "node1"]
    done = run(*both, "--last", "3")
    assert [row.split()[1] for row in done.output.splitlines() if "DROPPED" in row] == [
        *("node2", "node2", "node1")
    ]


def test_one_of_several_agents_that_does_not_answer_is_an_error(socket: Path) -> None:
    for follow in ((), ("--follow",)):
        done = run("--socket", str(socket), "--socket", str(socket.with_name("none")), *follow)
        assert done.exit_code == 1
        assert "none: no agent listens here" in done.output


def test_json_is_a_flow_a_line(socket: Path) -> None:
    done = run("--socket", str(socket), "--json", "--protocol", "UDP", "--pod", "shop/db")
    (flow,) = map(json.loads, done.output.splitlines())
    assert flow["l4"] == {"UDP": {"source_port": 4000, "destination_port": 53}}
    assert flow["destination"]["pod_name"] == "db"


def test_a_name_alone_is_one_of_the_namespace_default(socket: Path) -> None:
    done = run("--socket", str(socket), "--pod", "db")
    assert done.exit_code == 0
    assert "no drops that fit" in done.output


def test_the_socket_comes_from_the_agents_own_settings(
    socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(f"controlSocket: {socket}\n")
    assert "DROPPED" in run("--config", str(file)).output
    monkeypatch.setenv("PODWIRE_CONTROL_SOCKET", str(socket))
    assert "DROPPED" in run().output
    monkeypatch.setenv("PODWIRE_CONTROL_SOCKET", "")
    file.write_text('controlSocket: ""\n')
    done = run("--config", str(file))
    assert done.exit_code == 1
    assert "answers nobody" in done.output


def test_where_no_agent_is_it_says_what_to_do(tmp_path: Path) -> None:
    done = run("--socket", str(tmp_path / "agent.sock"))
    assert done.exit_code == 1
    assert "no agent listens here: run one with component policy" in done.output


def test_what_was_let_through_is_not_seen_and_it_says_so() -> None:
    done = run("--verdict", "forwarded")
    assert done.exit_code == 2
    assert "only packets that policies drop" in done.output


def test_the_same_reason_twice_in_a_row_is_told_once() -> None:
    assert len(lines(TCP, None)) == 3
    assert len(lines(TCP, TCP)) == 1
    assert len(lines(UDP6, TCP)) == 3, "another nearest miss"
