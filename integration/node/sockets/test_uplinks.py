"""--ebpf-external: programs at the uplinks of a running agent."""

from __future__ import annotations

import signal
import sys

import pytest
import socket_agent
from flows.places import ADDRESSES
from scratch import until
from socket_agent import VIP, SocketAgent

from podwire_core.family import Family
from podwire_proxy import layout

V4, V6 = Family

#: Puts the pinned programs at a link, as an agent for which that was an uplink.
_ATTACH = """
import sys
from contextlib import closing
from pathlib import Path
from podwire_ebpf import uplink
from podwire_ebpf.plane import Place, open_plane
folder, cgroup, link = sys.argv[1:]
with closing(open_plane(Place(Path(cgroup), Path(folder)))) as plane:
    uplink.attach(link, plane.external().programs)
"""

#: An agent whose kernel takes the programs at sockets alone.
_WITHOUT_EXTERNAL = """
import runpy
from podwire_ebpf.errors import Unsupported
from podwire_ebpf.plane import Plane
def external(self):
    raise Unsupported("this kernel has no clsact")
Plane.external = external
runpy.run_module("podwire_node", run_name="__main__", alter_sys=True)
"""


def test_what_comes_from_outside_is_answered_at_the_uplink_where_asked_for(
    agent: SocketAgent,
) -> None:
    agent.start("ebpf", "--ebpf-external")
    assert agent.status()["problems"] == []
    (link,) = agent.uplinks("outside")
    until("the programs are at the uplink", lambda: "pw_outside_in" in agent.filters(link))
    before = agent.connections()
    words = ["curl", "--noproxy", "*", "-s", "-m", "5"]
    for family in Family:
        host = ADDRESSES["node"][family]
        address = f"[{host}]" if family is V6 else host
        agent.netns["outside"].run(*words, f"telnet://{address}:30080", check=False)
    assert agent.connections() == before + 2
    rules = agent.home.run("nft", "list", "chain", "ip", layout.TABLE_NAME, "postrouting")
    assert "meta mark & 0x10000000 != 0x00000000" in rules
    agent.stop()
    agent.start("nftables")
    until("they are gone", lambda: "pw_outside_in" not in agent.filters(link))


@pytest.mark.parametrize("mode", ["ebpf", "auto"])
def test_sockets_are_served_where_programs_at_uplinks_cannot_be(
    agent: SocketAgent, mode: str
) -> None:
    """nftables answers what comes from outside, also where an earlier run had programs there."""
    agent.start("ebpf", "--ebpf-external")
    (link,) = agent.uplinks("outside")
    until("the programs are at the uplink", lambda: "pw_outside_in" in agent.filters(link))
    agent.stop(signal.SIGKILL)
    agent.program = ["-c", _WITHOUT_EXTERNAL]
    status = agent.start(mode, "--ebpf-external")
    problem = "what comes from outside is answered by nftables: this kernel has no clsact"
    assert (status["proxy_backend"], status["problems"]) == ("ebpf", [problem])
    assert problem in agent.log
    assert "pw_outside_in" not in agent.filters(link)
    before = agent.connections()
    words = ["curl", "--noproxy", "*", "-s", "-m", "5"]
    agent.netns["outside"].run(*words, f"telnet://{ADDRESSES['node'][V4]}:30080", check=False)
    assert agent.connections() == before, "no program counts it"
    assert len(agent.dial("c", VIP[V4])[0]) == 2
    assert agent.connections() == before + 1


def test_filters_of_an_earlier_run_go_where_no_uplink_is(agent: SocketAgent) -> None:
    """Also where they are not asked for any more: the maps they read are filled by nobody."""
    agent.start("ebpf", "--ebpf-external")
    agent.stop(signal.SIGKILL)
    (link,) = agent.uplinks("outside")
    (before,) = agent.uplinks("c")
    words = [sys.executable, "-c", _ATTACH, str(agent.place.folder), str(agent.place.cgroup)]
    agent.home.run(*words, before)
    assert "pw_outside_in" in agent.filters(before)
    agent.start("ebpf", "--ebpf-external")
    until("they are gone", lambda: "pw_outside_in" not in agent.filters(before))
    assert "pw_outside_in" in agent.filters(link)
    agent.stop(signal.SIGKILL)
    agent.start("ebpf")
    until("they are gone, too", lambda: "pw_outside_in" not in agent.filters(link))


def test_a_filter_that_someone_took_away_comes_again(agent: SocketAgent) -> None:
    agent.program = ["-c", socket_agent.IMPATIENT]
    agent.start("ebpf", "--ebpf-external")
    (link,) = agent.uplinks("outside")
    until("it is there", lambda: "pw_outside_in" in agent.filters(link))
    agent.home.run("tc", "qdisc", "del", "dev", link, "clsact")
    until("it is there again", lambda: "pw_outside_in" in agent.filters(link))
