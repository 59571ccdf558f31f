"""Kernel parameters are raised, set or left, in a folder that stands for the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from podwire_core.snapshot import Snapshot
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.sysctls import (
    MAX_CONNECTIONS,
    Parameter,
    Sysctls,
    adjust_oom_score,
    put_in_force,
    wanted,
)

NETFILTER = "proc/sys/net/netfilter/nf_conntrack_"
MAX = f"{NETFILTER}max"
HASHSIZE = "sys/module/nf_conntrack/parameters/hashsize"
ESTABLISHED = f"{NETFILTER}tcp_timeout_established"
LOCALNET = "proc/sys/net/ipv4/conf/all/route_localnet"


def config(**settings: Any) -> AgentConfig:
    return AgentConfig(node="n", feed="x", **settings)


def asked(cores: int = 4, *, localhost: bool = False, **settings: Any) -> dict[str, int]:
    rows = wanted(config(**settings), cores, localhost_nodeports=localhost)
    return {each.path: each.value for each in rows}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with the kernel's own values."""
    for path, value in {MAX: 65536, HASHSIZE: 16384, ESTABLISHED: 432000, LOCALNET: 0}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{value}\n")
    return tmp_path


def holds(root: Path, path: str) -> int:
    return int((root / path).read_text())


def test_nothing_is_asked_for_by_default() -> None:
    assert asked() == {}


@pytest.mark.parametrize(
    ("cores", "per_core", "least", "limit"),
    [
        (1, 32768, 131072, 131072),
        (8, 32768, 131072, 262144),
        (8, 32768, 0, 262144),
        (512, 32768, 131072, MAX_CONNECTIONS),
        (4, 10, 5, 40),
    ],
)
def test_a_limit_grows_with_the_cores(cores: int, per_core: int, least: int, limit: int) -> None:
    found = asked(cores, conntrack_max_per_core=per_core, conntrack_min=least)
    assert found == {MAX: limit, HASHSIZE: limit // 4}


def test_without_a_limit_a_core_the_least_is_nothing() -> None:
    assert asked(conntrack_min=131072) == {}


def test_each_setting_has_its_parameter() -> None:
    assert asked(
        localhost=True,
        conntrack_tcp_timeout_established=1,
        conntrack_tcp_timeout_close_wait=2,
        conntrack_tcp_be_liberal=True,
        conntrack_udp_timeout=3,
        conntrack_udp_timeout_stream=4,
    ) == {
        ESTABLISHED: 1,
        f"{NETFILTER}tcp_timeout_close_wait": 2,
        f"{NETFILTER}tcp_be_liberal": 1,
        f"{NETFILTER}udp_timeout": 3,
        f"{NETFILTER}udp_timeout_stream": 4,
        LOCALNET: 1,
    }


def test_a_limit_is_raised_and_never_lowered(root: Path) -> None:
    put_in_force([Parameter(MAX, 100_000, limit=True)], root)
    assert holds(root, MAX) == 100_000
    put_in_force([Parameter(MAX, 1000, limit=True)], root)
    assert holds(root, MAX) == 100_000


def test_a_timeout_is_what_was_asked_for(root: Path) -> None:
    put_in_force([Parameter(ESTABLISHED, 86400)], root)
    assert holds(root, ESTABLISHED) == 86400


def test_what_is_right_is_not_written(root: Path) -> None:
    before = (root / ESTABLISHED).stat().st_mtime_ns
    assert put_in_force([Parameter(ESTABLISHED, 432000)], root) == ((), ())
    assert (root / ESTABLISHED).stat().st_mtime_ns == before


def test_a_limit_of_the_machine_is_left_to_it_in_another_namespace(root: Path) -> None:
    (root / MAX).chmod(0o444)
    rows = list(wanted(config(conntrack_max_per_core=1 << 16), 4, localhost_nodeports=False))
    assert put_in_force(rows, root) == ((), ())
    assert (holds(root, MAX), holds(root, HASHSIZE)) == (65536, 16384)


def test_what_is_missing_is_waited_for(root: Path) -> None:
    late = root / f"{NETFILTER}udp_timeout"
    udp = config(conntrack_udp_timeout=9)
    part = Sysctls(udp, lambda: True, localhost_nodeports=False, root=root)
    assert not part.in_sync
    part.sync(0.0)
    assert part.settled
    assert part.problems == []
    late.write_text("30\n")
    part.take(Snapshot(), [])
    part.sync(1.0)
    assert holds(root, f"{NETFILTER}udp_timeout") == 9


def test_what_cannot_be_written_is_told_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / ESTABLISHED).unlink()
    (root / ESTABLISHED).mkdir()
    established = config(conntrack_tcp_timeout_established=9)
    part = Sysctls(established, lambda: True, localhost_nodeports=True, root=root)
    for now in range(3):
        part.sync(now)
    (problem,) = part.problems
    assert problem.endswith("cannot be set to 9: Is a directory")
    assert len(caplog.records) == 1
    assert part.in_sync
    assert holds(root, LOCALNET) == 1


def test_localhost_is_opened_when_the_rule_that_guards_it_is_in_force(root: Path) -> None:
    guarded: list[bool] = []
    part = Sysctls(config(), lambda: bool(guarded), localhost_nodeports=True, root=root)
    part.sync(0.0)
    assert part.settled
    assert holds(root, LOCALNET) == 0
    guarded.append(True)
    part.sync(1.0)
    assert holds(root, LOCALNET) == 1


def test_what_is_no_number_is_told(root: Path) -> None:
    (root / ESTABLISHED).write_text("lots\n")
    _, (problem,) = put_in_force([Parameter(ESTABLISHED, 1)], root)
    assert problem.endswith("holds no number")


def test_the_oom_score_is_set_where_one_is_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    score = tmp_path / "proc/self/oom_score_adj"
    adjust_oom_score(0, tmp_path)
    adjust_oom_score(-999, tmp_path)
    assert "oomScoreAdj: -999 cannot be set" in caplog.text
    score.parent.mkdir(parents=True)
    adjust_oom_score(-999, tmp_path)
    assert score.read_text() == "-999"
