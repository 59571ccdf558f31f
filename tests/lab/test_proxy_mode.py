"""A lab's way to serve Services: what its agents are told, and where what they start runs."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from podwire_lab import cli, console
from podwire_lab.machine import cgroups, cluster, daemons
from podwire_lab.topology import Lab, Proxy, ProxyMode, plan_lab


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose cgroup2 is there."""
    monkeypatch.setattr(cgroups, "mount", lambda: Path("/cgroup2"))
    return Path("/cgroup2")


def test_a_lab_s_agents_serve_by_nftables_whatever_our_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its own default an agent would attach programs to the machine's root cgroup."""
    monkeypatch.setenv("PODWIRE_PROXY_MODE", "ebpf")
    lab = plan_lab("x", 1)
    argv = " ".join(daemons.agent_argv(lab, lab.nodes[0]))
    assert "--proxy-mode nftables" in argv
    assert "--ebpf" not in argv
    assert cgroups.enter(lab, lab.nodes[0]) == ()
    assert daemons.unheard(lab, lab.nodes[0]) == {"PODWIRE_PROXY_MODE": "nftables"}


def test_the_environment_s_mode_is_that_of_a_new_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` takes it as its own option, so that the lab has cgroups for it."""
    planned: list[Lab] = []

    def up(lab: Lab, *_: object, **__: object) -> None:
        planned.append(lab)
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "up", up)
    monkeypatch.setattr(cgroups, "mount", lambda: Path("/cgroup2"))
    made = CliRunner().invoke(cli.lab, ["up"], env={"PODWIRE_PROXY_MODE": "ebpf"})
    assert [each.proxy_mode for each in planned] == [ProxyMode.EBPF], made.output


def test_what_is_not_heard_of_the_environment_is_named(
    mounted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = plan_lab("x", 1, proxy_mode=ProxyMode.EBPF)
    own = f"{mounted}/pw.x.sockets/node1"
    monkeypatch.setenv("PODWIRE_EBPF_CGROUP", "/sys/fs/cgroup")
    monkeypatch.setenv("PODWIRE_PROXY_MODE", "ebpf")
    console.tell_unheard(lab, lab.nodes)
    assert capsys.readouterr().err == (
        f"node1: PODWIRE_EBPF_CGROUP is not heard, its lab has {own}\n"
    )


@pytest.mark.parametrize("mode", [ProxyMode.EBPF, ProxyMode.AUTO])
def test_each_node_has_a_cgroup_and_a_folder_of_its_own(mounted: Path, mode: ProxyMode) -> None:
    lab = plan_lab("x", 2, proxy_mode=mode)
    for node in lab.nodes:
        argv = " ".join(daemons.agent_argv(lab, node))
        assert f"--proxy-mode {mode} --ebpf-cgroup {mounted}/pw.x.sockets/{node.name}" in argv
        assert f"--ebpf-folder /run/podwire/lab/x/bpf/{node.name} " in argv
        enter = cgroups.enter(lab, node)
        assert enter[0] == sys.executable
        assert enter[-1] == f"{mounted}/pw.x.sockets/{node.name}"


def test_auto_does_without_cgroup2_and_the_agent_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "mount", lambda: None)
    lab = plan_lab("x", 1, proxy_mode=ProxyMode.AUTO)
    argv = daemons.agent_argv(lab, lab.nodes[0])
    assert "--proxy-mode" in argv
    assert "--ebpf-cgroup" not in argv
    assert cgroups.enter(lab, lab.nodes[0]) == ()


def test_ebpf_without_cgroup2_says_what_to_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "mount", lambda: None)
    lab = plan_lab("x", 1, proxy_mode=ProxyMode.EBPF)
    with pytest.raises(FileNotFoundError, match="mount -t cgroup2"):
        cgroups.enter(lab, lab.nodes[0])


def test_a_kube_proxy_has_no_mode_of_ours() -> None:
    with pytest.raises(ValueError, match="leave --proxy kube-proxy away"):
        plan_lab("x", 1, kubernetes=True, proxy=Proxy.KUBE_PROXY, proxy_mode=ProxyMode.EBPF)


def test_a_lab_of_before_is_read_as_one_by_nftables() -> None:
    old = msgspec.to_builtins(plan_lab("x", 1))
    del old["proxy_mode"]
    assert msgspec.convert(old, Lab).proxy_mode is ProxyMode.NFTABLES
