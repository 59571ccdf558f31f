"""`status` as a person sees it."""

import io

import msgspec
import pytest
from rich.console import Console

from podwire_lab.console import terminal
from podwire_lab.isolation import PolicyRow
from podwire_lab.overview import AgentStatus, NodeRow, Overview, PodRow, ServiceRow
from podwire_lab.show import tables

LONG = "a-deployment-with-a-rather-long-name-5c8bqd7kz4-x2k9q"
MESSAGE = f"container main exited with 1; starts again after 8 s{' and so on' * 9}"


def overview(pod: str, message: str = "") -> Overview:
    row = PodRow(
        namespace="kube-system",
        name=pod,
        node="node1",
        ips=("10.244.1.12", "fd00:10:244:1::c"),
        phase="Running",
        ready=False,
        restarts=3,
        message=message,
        due=False,
    )
    node = NodeRow("node1", ("192.168.100.11",), ("10.244.1.0/24",), AgentStatus())
    service = ServiceRow("shop", "web", "ClusterIP", ("10.96.0.11",), ("80/TCP",), 0)
    return Overview("lab", (node,), (row,), (service,), ("Service shop/web: is broken",))


def shown(what: Overview, width: int = 80) -> list[str]:
    out = io.StringIO()
    tables.show(what, Console(file=out, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_usual_pod_stands_whole_in_eighty_columns() -> None:
    lines = shown(overview("frontend-5c8bqd7kz4-x2k9q"))
    assert max(map(len, lines)) <= 80
    (row,) = (line.split() for line in lines if "frontend" in line)
    assert row == [
        *("kube-system", "frontend-5c8bqd7kz4-x2k9q", "node1", "10.244.1.12"),
        *("Running", "no", "3"),
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_long_name_is_never_cut(width: int) -> None:
    assert any(LONG in line for line in shown(overview(LONG), width))


def test_policies_have_a_table_where_there_are_any() -> None:
    plain = overview("web")
    assert not any("Policies" in line for line in shown(plain))
    rows = (
        PolicyRow("ClusterNetworkPolicy", "", "lock", ("ingress",), 7, "Admin 10"),
        PolicyRow("NetworkPolicy", "shop", "deny", ("egress", "ingress"), 0),
    )
    lines = shown(msgspec.structs.replace(plain, policies=rows))
    at = next(number for number, line in enumerate(lines) if line == "Policies")
    assert lines[at + 2].split() == ["-", "lock", "Admin", "10", "ingress", "7"]
    assert lines[at + 3].split() == ["shop", "deny", "-", "egress,", "ingress", "0"]


def test_a_balancers_address_has_a_column_where_there_is_one() -> None:
    plain = overview("web")
    assert not any("outer" in line for line in shown(plain, 120))
    (row,) = plain.services
    balanced = msgspec.structs.replace(row, outer_ips=("192.168.101.11",))
    lines = shown(msgspec.structs.replace(plain, services=(balanced,)), 120)
    assert any("outer addresses" in line for line in lines)
    assert any("10.96.0.11" in line and "192.168.101.11" in line for line in lines)


def test_a_message_is_one_problem_line_below_the_tables() -> None:
    assert shown(overview("web", MESSAGE))[-2:] == [
        f"problem pod kube-system/web: {MESSAGE}",
        "problem Service shop/web: is broken",
    ]


def test_no_color_takes_away_every_escape(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    tables.show(overview("web", MESSAGE), terminal())
    assert "\x1b" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    tables.show(overview("web", MESSAGE), terminal())
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ready", "in_sync", "state"),
    [
        (False, False, "not ready"),
        (False, True, "not ready"),
        (True, False, "not in sync"),
        (True, True, "ready"),
    ],
)
def test_an_agent_that_is_behind_is_not_called_ready(
    ready: bool,
    in_sync: bool,
    state: str,
) -> None:
    agent = AgentStatus(pid=1, ready=ready, in_sync=in_sync, ready_seconds=0.5)
    row = NodeRow("node1", ("192.168.100.11",), ("10.244.1.0/24",), agent)
    lines = shown(msgspec.structs.replace(overview("web"), nodes=(row,)))
    (line,) = (line for line in lines if line.startswith("node1"))
    assert line.partition("10.244.1.0/24")[2].split("0.50 s")[0].strip() == state


def test_what_an_agent_waits_for_is_told_once() -> None:
    agent = AgentStatus(
        problems=("https://api/pods: 403 forbidden; going on without Pod objects",),
        waiting=("Pod: https://api/pods: 403 forbidden", "podCIDRs of Node node2"),
    )
    assert agent.sentences == (*agent.problems, "waits for podCIDRs of Node node2")
