"""What goes on without the agent, and what it repairs: programs, links, pins, maps."""

from __future__ import annotations

import signal
import subprocess

import pytest
import socket_agent
from flows.places import ADDRESSES
from scratch import until
from socket_agent import VIP, SocketAgent

from podwire_core.family import Family

V4, V6 = Family


def test_a_restart_writes_nothing_and_keeps_serving(agent: SocketAgent) -> None:
    agent.start()
    agent.stop(signal.SIGKILL)
    assert len(agent.dial("c", VIP[V4])[0]) == 2, "what is attached goes on alone"
    (agent.folder / "agent.log").write_text("")
    agent.start()
    assert "DEBUG sockets:" not in agent.log, "no row is written"
    assert "4 frontends, and 0 left to nftables" in agent.log
    assert agent.status()["transactions"] == {"proxy": 0}
    assert len(agent.dial("c", VIP[V4])[0]) == 2


def test_what_changed_while_nobody_ran_is_the_difference(agent: SocketAgent) -> None:
    agent.start()
    agent.stop()
    agent.endpoints("b")
    agent.start()
    assert agent.served() == {ADDRESSES["b"][V4]}
    assert agent.served(V6) == {ADDRESSES["b"][V6]}


def test_links_that_someone_removed_are_made_again(agent: SocketAgent) -> None:
    agent.start()
    agent.stop()
    for each in (agent.place.folder / "links").iterdir():
        each.unlink()
    until("the kernel has let go", lambda: agent.hooks() == {0})
    agent.forget_nftables()
    assert len(agent.dial("c", VIP[V4])[0]) == 1, "nobody serves"
    agent.start()
    assert agent.metric("podwire_proxy_sockets_attached") == "1.0"
    before = agent.connections()
    assert len(agent.dial("c", VIP[V4])[0]) == 2
    assert agent.connections() == before + 1


@pytest.mark.parametrize("how", ["removed", "unmounted"])
def test_where_pins_are_gone_they_come_again(agent: SocketAgent, how: str) -> None:
    agent.program = ["-c", socket_agent.IMPATIENT]
    agent.start("ebpf")
    folder = agent.place.folder
    if how == "removed":
        subprocess.run(["rm", "-rf", folder], check=False)  # the agent may make it anew meanwhile
    else:
        subprocess.run(["umount", "--lazy", folder.parent], check=True)
        until("it says so", lambda: agent.status()["proxy_backend"] == "nftables")
        until("the kernel has let go", lambda: agent.hooks() == {0})
        assert len(agent.dial("c", VIP[V4])[0]) == 2, "nftables serves"
        subprocess.run(["mount", "-t", "bpf", "bpf", folder.parent], check=True)
    until("it is there again", lambda: folder.exists() and agent.hooks() == {1})
    until("it is told", lambda: agent.status()["proxy_backend"] == "ebpf")
    agent.endpoints("b")
    until("a is gone", lambda: agent.served() == {ADDRESSES["b"][V4]})
    before = agent.connections()
    assert {who for who, _ in agent.dial("c", VIP[V4], times=4)} == {"b"}
    assert agent.connections() == before + 4
