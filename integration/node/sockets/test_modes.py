"""proxyMode ebpf, auto and nftables: what each begins with, and what it leaves of a run before."""

from __future__ import annotations

import signal

import pytest
from flows.places import ADDRESSES
from scratch import until
from socket_agent import VIP, SocketAgent

from podwire_core.family import Family
from podwire_ebpf.place import Place

V4 = Family.IPV4


def test_mode_auto_falls_back_where_programs_cannot_be(agent: SocketAgent) -> None:
    status = agent.start("auto", "--ebpf-folder", str(agent.folder / "no-bpffs"))
    assert status["proxy_backend"] == "nftables"
    assert "is not on bpffs" in status["proxy_fallback"]
    assert agent.fetch("/proxyMode") == "nftables"
    assert agent.metric('podwire_proxy_backend{backend="ebpf"}') == "0.0"
    assert agent.metric("podwire_proxy_backend_fallback{") == "1.0"
    assert "nftables alone answers for Services" in agent.log
    assert len(agent.dial("c", VIP[V4])[0]) == 2


def test_mode_ebpf_ends_where_programs_cannot_be_and_says_what_to_do(agent: SocketAgent) -> None:
    agent.begin("ebpf", "--ebpf-folder", str(agent.folder / "no-bpffs"))
    assert agent.process is not None
    assert agent.process.wait(30) == 1
    agent.process = None
    assert "is not on bpffs: name a folder below /sys/fs/bpf" in agent.log.splitlines()[-1]


def test_mode_nftables_detaches_what_an_earlier_run_left(agent: SocketAgent) -> None:
    agent.start("ebpf")
    agent.stop()
    agent.start("nftables")
    until("its folder is gone", lambda: not agent.place.folder.exists())
    assert "an earlier agent's programs at sockets are detached" in agent.log
    assert len(agent.dial("c", VIP[V4])[0]) == 2


def test_mode_nftables_detaches_what_another_folder_keeps_attached(agent: SocketAgent) -> None:
    """Who drops the mode from the configuration often drops the folder, too."""
    agent.start("ebpf")
    agent.stop(signal.SIGKILL)
    agent.start("nftables", "--ebpf-folder", str(agent.place.folder.with_name("other")))
    until("nothing is attached", lambda: agent.hooks() == {0})
    until("its folder is gone", lambda: not agent.place.folder.exists())
    assert "an earlier agent's programs at sockets are detached: 9 programs" in agent.log
    assert agent.status()["problems"] == []


@pytest.mark.parametrize("mode", ["ebpf", "auto"])
def test_a_folder_that_changed_takes_over(agent: SocketAgent, mode: str) -> None:
    agent.start("ebpf")
    agent.stop(signal.SIGKILL)
    other = agent.place.folder.with_name("other")
    status = agent.start(mode, "--ebpf-folder", str(other))
    assert (status["proxy_backend"], status["problems"]) == ("ebpf", [])
    assert agent.hooks() == {1}
    assert not agent.place.folder.exists()
    agent.place = Place(agent.place.cgroup, other)
    agent.endpoints("b")
    until("a is gone", lambda: agent.served() == {ADDRESSES["b"][V4]})
    assert {who for who, _ in agent.dial("c", VIP[V4], times=6)} == {"b"}


@pytest.mark.parametrize("mode", ["ebpf", "auto"])
def test_where_programs_cannot_be_any_more_nothing_stays_attached(
    agent: SocketAgent, mode: str
) -> None:
    """In mode ebpf the agent ends, and no one would keep the maps of the run before."""
    agent.start("ebpf")
    agent.stop(signal.SIGKILL)
    agent.begin(mode, "--ebpf-folder", str(agent.folder / "no-bpffs"))
    until("nothing is attached", lambda: agent.hooks() == {0})
    agent.endpoints("b")
    if mode == "auto":
        until("nftables serves", lambda: agent.status().get("in_sync", False))
        assert {who for who, _ in agent.dial("c", VIP[V4], times=6)} == {"b"}
    else:
        assert agent.process is not None
        assert agent.process.wait(30) == 1
        agent.process = None


def test_what_another_agent_uses_stays_until_it_ended(agent: SocketAgent) -> None:
    agent.start("ebpf")
    other, status = agent.process, agent.folder / "status.json"
    try:
        agent.start("nftables", "--metrics-bind-address", "")
        until("it is told", lambda: "in use by" in str(agent.status()["problems"]))
        assert agent.hooks() == {1}
    finally:
        assert other is not None
        other.kill()
        other.wait(20)
    assert status.exists()


def test_a_folder_that_is_no_bpffs_is_not_touched(agent: SocketAgent) -> None:
    """A typing error in a setting deletes nobody's files."""
    folder = agent.folder / "home"
    kept = folder / "maps-of-europe" / "alps.pdf"
    kept.parent.mkdir(parents=True)
    folder.chmod(0o755)
    kept.write_text("a map")
    assert agent.cleanup(folder) == []
    agent.start("nftables", "--ebpf-folder", str(folder))
    agent.stop()
    agent.start("auto", "--ebpf-folder", str(folder))
    assert kept.read_text() == "a map"
    assert folder.stat().st_mode & 0o777 == 0o755
