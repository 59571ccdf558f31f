"""`podwire cleanup` of programs at sockets and uplinks: ours go, others' stay."""

from __future__ import annotations

from scratch import Netns
from socket_agent import VIP, SocketAgent

from podwire_core.family import Family

V4 = Family.IPV4


def test_what_is_another_nodes_stays(agent: SocketAgent, namespaces: dict[str, Netns]) -> None:
    agent.start("ebpf")
    agent.stop()
    agent.home = namespaces["node2"]
    agent.start("nftables")
    try:
        assert agent.place.folder.exists()
    finally:
        agent.stop()
        agent.forget_nftables()
        agent.home = namespaces["node"]


def test_cleanup_detaches_what_is_ours(agent: SocketAgent) -> None:
    agent.start("ebpf")
    agent.stop()
    assert ["programs", str(agent.place.folder), "removed"] in agent.cleanup(agent.place.folder)
    assert not agent.place.folder.exists()
    assert agent.hooks() == {0}
    assert len(agent.dial("c", VIP[V4])[0]) == 1, "and nftables' tables went, too"


def test_cleanup_finds_what_is_attached_without_its_folder(agent: SocketAgent) -> None:
    """And at uplinks: filters stay when their folder is removed."""
    agent.start("ebpf", "--ebpf-external")
    agent.stop()
    (link,) = agent.uplinks("outside")
    rows = agent.cleanup(agent.place.folder.with_name("other"))
    cgroup = agent.place.cgroup.stat().st_ino
    assert ["programs", f"of uplink {link}", "removed"] in rows
    assert ["programs", f"9 programs at the cgroup with id {cgroup}", "removed"] in rows
    assert agent.hooks() == {0}
    assert not agent.place.folder.exists()
    assert "pw_outside_in" not in agent.filters(link)


def test_a_filter_of_anothers_with_our_numbers_stays(agent: SocketAgent) -> None:
    (link,) = agent.uplinks("c")
    agent.home.run("tc", "qdisc", "add", "dev", link, "clsact")
    words = "pref 112 handle 112 bpf da bytecode"
    rule = [*f"dev {link} ingress {words}".split(), "1,6 0 0 4294967295,"]
    agent.home.run("tc", "filter", "add", *rule)
    try:
        agent.start("nftables")
        agent.stop()
        assert agent.cleanup(agent.place.folder.with_name("other"))
        assert "pref 112 bpf" in agent.filters(link)
    finally:
        agent.home.run("tc", "qdisc", "del", "dev", link, "clsact")
