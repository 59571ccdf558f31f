"""What each check says of a node, from files as /proc and /sys have them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from podwire_node.control.errors import ControlError
from podwire_node.doctor import agent, checks, kernel, sockets
from podwire_node.doctor.checks import CHECKS, examine
from podwire_node.doctor.finding import Check, Finding, Health, Patient, ok
from podwire_node.doctor.shown import findings_json, healthy, summary
from podwire_node.doctor.state import AgentState, decode_state
from podwire_node.reports.status import Status
from podwire_node.settings.values import Component

_NET = "proc/sys/net"
FORWARDS = {f"{_NET}/ipv4/ip_forward": "1", f"{_NET}/ipv6/conf/all/forwarding": "1"}
LOOSE = {f"{_NET}/ipv4/conf/all/rp_filter": "0", f"{_NET}/ipv4/conf/default/rp_filter": "2"}
_TRACKED = f"{_NET}/netfilter/nf_conntrack"
_LOSSES = "proc/net/stat/nf_conntrack"
_HEAD = "entries  insert_failed drop early_drop"


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(agent=None, root=tmp_path)


def put(patient: Patient, files: Mapping[str, str]) -> Patient:
    for name, text in files.items():
        path = patient.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return patient


def status(**fields: object) -> Status:
    known: dict[str, object] = {
        **dict.fromkeys(("objects", "routes"), 3),
        **{key: {} for key in ("transactions", "repairs", "failures")},
        **dict.fromkeys(("ready", "in_sync"), True),
        "node": "n1",
        "pid": 7,
        "ready_seconds": 1.0,
        "components": ("proxy", "policy"),
    }
    return Status(**{**known, **fields})  # type: ignore[arg-type]  # as the test says


def knowing(patient: Patient, state: AgentState | ControlError) -> Patient:
    """One whose agent has said this."""
    patient.__dict__["state"] = state
    return patient


@pytest.mark.parametrize(
    ("look", "files", "health", "words"),
    [
        (kernel.forwarding, FORWARDS, Health.OK, "net.ipv4.ip_forward 1"),
        (
            kernel.forwarding,
            {**FORWARDS, f"{_NET}/ipv4/ip_forward": "0"},
            Health.FAIL,
            "sysctl -w net.ipv4.ip_forward=1",
        ),
        (kernel.forwarding, {f"{_NET}/ipv4/ip_forward": "1"}, Health.OK, "ip_forward 1"),
        (kernel.reverse_path, LOOSE, Health.OK, "rp_filter 2"),
        (
            kernel.reverse_path,
            {**LOOSE, f"{_NET}/ipv4/conf/all/rp_filter": "1"},
            Health.WARN,
            "rp_filter=2",
        ),
        (kernel.conntrack_room, {}, Health.UNUSED, "nobody tracks"),
        (
            kernel.conntrack_room,
            {f"{_TRACKED}_count": "100", f"{_TRACKED}_max": "262144"},
            Health.OK,
            "100 of 262,144",
        ),
        (
            kernel.conntrack_room,
            {f"{_TRACKED}_count": "900", f"{_TRACKED}_max": "1000"},
            Health.WARN,
            "conntrackMin",
        ),
        (
            kernel.conntrack_room,
            {f"{_TRACKED}_count": "999", f"{_TRACKED}_max": "1000"},
            Health.FAIL,
            "new connections are lost",
        ),
        (kernel.conntrack_losses, {}, Health.UNUSED, "nobody tracks"),
        (
            kernel.conntrack_losses,
            {_LOSSES: f"{_HEAD}\n00000007 0 0 0\n00000007 0 0 0"},
            Health.OK,
            "insert_failed 0, drop 0",
        ),
        (
            kernel.conntrack_losses,
            {_LOSSES: f"{_HEAD}\n00000007 00000010 0 0\n00000007 00000001 0 0"},
            Health.WARN,
            "insert_failed 17",
        ),
        (
            kernel.conntrack_losses,
            {_LOSSES: f"{_HEAD}\n00000007 0 0 0000000a"},
            Health.WARN,
            "early_drop 10",
        ),
    ],
)
def test_a_check_says_what_is_so_and_what_to_do(
    patient: Patient,
    look: Callable[[Patient], Finding],
    files: Mapping[str, str],
    health: Health,
    words: str,
) -> None:
    found = look(put(patient, files))
    assert found.health is health
    assert words in f"{found.seen} {found.advice}"
    assert bool(found.advice) is (health in {Health.WARN, Health.FAIL}), "advice where it is needed"


@pytest.mark.parametrize(
    ("release", "health"),
    [
        ("5.4.0-150-generic", Health.FAIL),
        ("5.10.0-28-amd64", Health.OK),
        ("6.18.44", Health.OK),
        ("10.0", Health.OK),
        ("strange", Health.FAIL),
    ],
)
def test_a_kernel_is_new_enough_from_5_10_on(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, release: str, health: Health
) -> None:
    told = os.uname_result(("Linux", "n1", release, "", "x86_64"))
    monkeypatch.setattr(kernel.os, "uname", lambda: told)
    found = kernel.version(patient)
    assert found.health is health
    assert ("5.18" in found.seen) is release.startswith("5.10"), "what it lacks, of an old one"


def test_forwarding_is_no_matter_of_policies_alone(patient: Patient) -> None:
    alone = replace(patient, asked=(Component.POLICY,))
    assert kernel.forwarding(alone).health is Health.UNUSED


# ------------------------------------------------------------------------------ the agent


@pytest.mark.parametrize(
    ("state", "health", "words"),
    [
        (AgentState(status()), Health.OK, "n1, process 7, proxy, policy"),
        (AgentState(status(ready=False, waiting=("Pods",))), Health.WARN, "waits for: Pods"),
        (AgentState(status(in_sync=False)), Health.FAIL, "next row"),
        (ControlError("x: no agent listens here"), Health.FAIL, "start the agent"),
    ],
)
def test_the_agent_is_well_when_all_it_wants_is_in_force(
    tmp_path: Path, state: AgentState | ControlError, health: Health, words: str
) -> None:
    from podwire_node.control.client import AgentClient  # noqa: PLC0415 - nowhere else

    patient = knowing(Patient(AgentClient(tmp_path / "none")), state)
    found = agent.answers(patient)
    assert found.health is health
    assert words in f"{found.seen} {found.advice}"


def test_an_agent_that_answers_nobody_by_its_settings_is_no_fault(patient: Patient) -> None:
    assert agent.answers(patient).health is Health.UNUSED


def test_an_agent_of_services_by_nftables_alone_is_not_missed(tmp_path: Path) -> None:
    from podwire_node.control.client import AgentClient  # noqa: PLC0415 - nowhere else

    patient = Patient(AgentClient(tmp_path / "none"), asked=(Component.PROXY,))
    assert agent.answers(patient).health is Health.UNUSED
    assert agent.answers(replace(patient, mode="ebpf")).health is Health.FAIL


def test_the_agents_problems_are_told_up_to_five(patient: Patient) -> None:
    many = tuple(f"Service shop/s{number}: no" for number in range(9))
    found = agent.problems(knowing(patient, AgentState(status(problems=many))))
    assert found.health is Health.FAIL
    assert found.seen.endswith("Service shop/s4: no; and 4 more")


def test_a_fallback_to_nftables_is_a_warning_with_its_reason(patient: Patient) -> None:
    state = AgentState(status(), "auto", "nftables", "bcc cannot be imported")
    found = agent.backend(knowing(patient, state))
    assert (found.health, found.seen) == (Health.WARN, "nftables: bcc cannot be imported")
    assert agent.backend(knowing(patient, AgentState(status()))).health is Health.UNUSED


def test_an_answer_in_other_words_is_an_error_of_one_line() -> None:
    with pytest.raises(ControlError, match="other words"):
        decode_state({"status": {"node": 7}})


# ---------------------------------------------------------------------- programs at sockets


@pytest.mark.parametrize("name", ["bpf(2)", "bpffs", "cgroup", "compiler", "programs"])
def test_nothing_of_ebpf_is_used_with_nftables(patient: Patient, name: str) -> None:
    look = next(check.look for check in CHECKS if check.name == name)
    put(patient, {"proc/self/mountinfo": "22 1 0:5 / /dev rw - devtmpfs udev rw"})
    assert look(replace(patient, folder=patient.root / "none")).health is Health.UNUSED


def test_what_the_agent_says_goes_before_the_settings(patient: Patient) -> None:
    state = AgentState(status(), "ebpf", "ebpf", "", "/cg", "/bpf")
    told = knowing(patient, state)
    assert told.uses_sockets
    assert (str(told.place.cgroup), str(told.place.folder)) == ("/cg", "/bpf")
    assert told.components == (Component.PROXY, Component.POLICY)


def test_a_missing_compiler_is_told_as_the_agent_tells_it(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "/usr/include/linux/bpf.h is missing: install linux-libc-dev"
    monkeypatch.setattr(sockets, "no_compiler", lambda: sentence)
    found = sockets.compiler(replace(patient, mode="ebpf"))
    assert (found.health, found.seen) == (Health.FAIL, sentence)


def test_cgroup2_is_found_where_it_is_mounted(tmp_path: Path) -> None:
    patient = Patient(None, root=tmp_path)
    line = "30 23 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw"
    put(patient, {"proc/self/mountinfo": f"22 1 0:5 / /dev rw - devtmpfs udev rw\n{line}"})
    assert patient.place.cgroup == Path("/sys/fs/cgroup/unified")
    put(patient, {"proc/self/mountinfo": "22 1 0:5 / /dev rw - devtmpfs udev rw"})
    assert replace(patient).place.cgroup == Path("/sys/fs/cgroup")


# ------------------------------------------------------------------------------ the table


def test_a_check_that_cannot_look_is_a_finding_and_the_rest_goes_on(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Patient) -> Finding:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checks, "CHECKS", (Check("one", broken), Check("two", lambda _: ok("x"))))
    one, two = examine(patient)
    assert (one.finding.health, two.finding.health) == (Health.FAIL, Health.OK)
    assert "cannot be looked at" in one.finding.seen
    assert not healthy([one, two])
    assert summary([one, two]) == "1 ok, 1 fail"
    assert '"healthy": false' in findings_json([one, two])


def test_names_of_checks_are_unique() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
