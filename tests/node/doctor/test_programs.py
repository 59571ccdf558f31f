"""What doctor says of programs at sockets: missing, fallen back from, not in effect, unwanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from podwire_ebpf.errors import BpfError
from podwire_ebpf.proof import Proof
from podwire_node.doctor import agent, canaries, finding, kernel, sockets, uplinks
from podwire_node.doctor.finding import Finding, Health, Patient
from podwire_node.doctor.state import AgentState
from podwire_node.reports.status import Status
from podwire_node.settings.values import Component

STATUS = Status(
    node="n1",
    pid=7,
    ready=True,
    ready_seconds=1.0,
    objects=3,
    routes=0,
    transactions={},
    repairs={},
    failures={},
    in_sync=True,
    components=("proxy",),
)
SERVES = AgentState(STATUS, "ebpf", "ebpf", "", "/cg", "/bpf/podwire")
#: An agent that was asked for `auto` and lacks something, and one that lost its programs just now.
FELL_BACK = AgentState(STATUS, "auto", "nftables", "bcc is missing", "/cg", "/bpf/podwire")
LOST = AgentState(STATUS, "auto", "nftables", "not attached: connect4", "/cg", "/bpf/podwire")
WELL = Proof({"connect4": True}, {"IPv4": True, "IPv6": None})
GONE = Proof({"connect4": False}, {"IPv4": False, "IPv6": None})
ELSEWHERE = Proof({"connect4": True}, {"IPv4": False, "IPv6": None})
Look = Callable[[Patient], Finding]


@pytest.fixture(autouse=True)
def lacking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that has nothing but rights and a cgroup."""
    monkeypatch.setattr(sockets, "no_rights", lambda: "bpf(2) is not permitted")
    monkeypatch.setattr(sockets, "no_bpffs", lambda _, mount: f"no bpffs, mount {mount}")
    monkeypatch.setattr(sockets, "is_mounted_by_us", lambda _: False)
    monkeypatch.setattr(sockets, "no_cgroup", lambda _: "no cgroup")
    monkeypatch.setattr(sockets, "no_compiler", lambda: "no bcc")
    monkeypatch.setattr(canaries, "no_rights", lambda: "")
    monkeypatch.setattr(canaries, "no_cgroup", lambda _: "")
    monkeypatch.setattr(canaries, "attached_elsewhere", lambda _: [])
    for module in (canaries, finding):
        monkeypatch.setattr(module, "is_ours", lambda _: False)
    return


def patient(state: AgentState | None = None, **fields: object) -> Patient:
    """One whose agent has said this; None: nobody answers."""
    made = Patient(None, **fields)  # type: ignore[arg-type]  # as the test says
    if state is not None:
        made.__dict__["state"] = state
    return made


def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are maps of this node's in the folder."""
    for module in (canaries, finding):
        monkeypatch.setattr(module, "is_ours", lambda _: True)


NEEDS: tuple[Look, ...] = (
    sockets.kernel_features,
    sockets.bpffs,
    sockets.cgroup,
    sockets.compiler,
)


@pytest.mark.parametrize("look", NEEDS, ids=lambda look: str(look.__name__))
@pytest.mark.parametrize(
    ("state", "mode", "health"),
    [
        (FELL_BACK, "nftables", Health.WARN),
        (SERVES, "nftables", Health.FAIL),
        (None, "auto", Health.WARN),
        (None, "ebpf", Health.FAIL),
        (AgentState(STATUS, "nftables", "nftables"), "ebpf", Health.UNUSED),
        (None, "nftables", Health.UNUSED),
    ],
)
def test_all_that_programs_lack_is_told_where_they_are_wanted(
    look: Look, state: AgentState | None, mode: str, health: Health
) -> None:
    assert look(patient(state, mode=mode)).health is health


def test_a_fallback_points_to_all_that_is_missing() -> None:
    found = agent.backend(patient(FELL_BACK))
    assert (found.health, found.seen) == (Health.WARN, "nftables: bcc is missing")
    assert "the rows below name all" in found.advice
    assert canaries.programs(patient(FELL_BACK)).seen.endswith("see backend")
    assert canaries.ipv4(patient(FELL_BACK)).health is Health.UNUSED


@pytest.mark.parametrize("mode", ["auto", "ebpf"])
def test_bpffs_that_the_agent_mounts_itself_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(sockets, "is_mounted_by_us", lambda _: True)
    found = sockets.bpffs(patient(mode=mode))
    assert found.health is Health.WARN
    assert "an agent mounts one when it starts" in found.seen
    assert "in a container it ends with it" in found.advice


# ---------------------------------------------------------------- programs, and their canaries


@pytest.mark.parametrize("state", [SERVES, LOST])
def test_programs_that_a_running_agent_lost_come_back_within_a_minute(
    monkeypatch: pytest.MonkeyPatch, state: AgentState
) -> None:
    pinned(monkeypatch)
    seen = patient(state, proof=GONE)
    worst = Health.FAIL if state is SERVES else Health.WARN
    found = canaries.programs(seen)
    assert found.health is worst
    assert found.advice.startswith("the agent attaches them again within a minute; only if")
    canary = canaries.ipv4(seen)
    assert (canary.health, canary.advice) == (worst, "see programs")
    assert canaries.ipv6(seen).health is Health.UNUSED


def test_pins_that_are_gone_come_back_too() -> None:
    found = canaries.programs(patient(SERVES, proof=BpfError("no maps are pinned there")))
    assert (found.health, found.seen) == (Health.FAIL, "no maps are pinned there")
    assert "within a minute" in found.advice


def test_without_an_agent_one_has_to_start() -> None:
    found = canaries.programs(patient(mode="ebpf", proof=GONE))
    assert found.advice == "start the agent, which attaches them"


def test_only_programs_in_effect_can_be_attached_elsewhere() -> None:
    found = canaries.ipv4(patient(SERVES, proof=ELSEWHERE))
    assert found.health is Health.FAIL
    assert found.advice.startswith("set ebpfCgroup")


@pytest.mark.parametrize(("name", "row"), [("no_cgroup", "cgroup"), ("no_rights", "bpf(2)")])
def test_what_stands_on_another_row_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, row: str
) -> None:
    monkeypatch.setattr(canaries, name, lambda *_: "/tmp is not on cgroup2")
    found = canaries.programs(patient(SERVES))
    assert (found.health, found.advice) == (Health.FAIL, f"see {row}")
    canary = canaries.ipv4(patient(SERVES))
    assert (canary.health, canary.seen) == (
        Health.UNUSED,
        "there are no programs to call: see programs",
    )


def test_an_agent_that_does_not_know_yet_that_programs_are_back_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert canaries.programs(patient(SERVES, proof=WELL)).health is Health.OK
    pinned(monkeypatch)
    found = canaries.programs(patient(LOST, proof=WELL))
    assert found.health is Health.WARN
    assert "the agent says that nftables serves: not attached" in found.seen


def test_what_an_earlier_agent_left_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned(monkeypatch)
    found = canaries.programs(patient(AgentState(STATUS, "nftables", "nftables")))
    assert found.health is Health.WARN
    assert "podwire cleanup" in found.advice


# -------------------------------------------------------------------------- a node of nobody's


def test_where_nobody_serves_nothing_is_said_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplinks, "uplinks_in_use", list)
    fresh = patient()
    looks = (*NEEDS, canaries.programs, canaries.ipv4, uplinks.uplinks)
    assert not [each for each in looks if "nftables serves" in each(fresh).seen]
    told = sockets.compiler(patient(AgentState(STATUS, "nftables", "nftables")))
    assert told.seen == "nftables serves Services"
    alone = replace(fresh, asked=(Component.POLICY,), mode="ebpf")
    assert sockets.compiler(alone).seen == "component proxy is not this agent's"


def test_forwarding_that_nobody_turned_on_is_nobodys_fault(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/net/ipv4").mkdir(parents=True)
    (tmp_path / "proc/sys/net/ipv4/ip_forward").write_text("0\n")
    found = kernel.forwarding(patient(root=tmp_path))
    assert found.health is Health.FAIL
    assert found.advice.startswith("it is off by default, and an agent turns it on: start one")
    assert "find who turns it off" in kernel.forwarding(patient(SERVES, root=tmp_path)).advice
