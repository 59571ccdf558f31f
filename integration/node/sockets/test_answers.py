"""Who answers at sockets when the agent serves them: programs, or nftables beside them."""

from __future__ import annotations

import pytest
from flows.places import ADDRESSES
from scratch import until
from socket_agent import VIP, SocketAgent

from podwire_core.family import Family
from podwire_proxy import layout

V4 = Family.IPV4


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("source", ["node", "c"])
def test_sockets_are_answered_where_nftables_is_not(
    agent: SocketAgent, source: str, family: Family
) -> None:
    status = agent.start()
    assert (status["proxy_backend"], status["problems"]) == ("ebpf", [])
    assert agent.fetch("/proxyMode") == "ebpf"
    agent.stop()
    agent.forget_nftables()
    heard = agent.dial(source, VIP[family], times=40)
    assert {each for each, _ in heard} == {"a", "b"}
    assert {peer for _, peer in heard} == {VIP[family]}, "it talks to whom it dialled"


def test_nodeports_answer_at_the_nodes_addresses_and_no_others(agent: SocketAgent) -> None:
    agent.start()
    agent.stop()
    agent.forget_nftables()
    for family in Family:
        assert len(agent.dial("c", ADDRESSES["node"][family], 30080)[0]) == 2
        assert len(agent.dial("c", ADDRESSES["node2"][family], 30080)[0]) == 1, "not ours to answer"


def test_nodeports_answer_at_localhost_in_both_families_where_asked_for(agent: SocketAgent) -> None:
    agent.start("ebpf", "--nodeport-addresses", "primary,localhost")
    for loopback in ("127.0.0.1", "127.0.0.2", "::1"):
        ((who, peer),) = agent.dial("node", loopback, 30080)
        assert (who in {"a", "b"}, peer) == (True, loopback)


def test_an_address_of_the_node_that_comes_is_answered(agent: SocketAgent) -> None:
    agent.start("ebpf", "--nodeport-addresses", "all")
    before = agent.connections()
    agent.home.run("ip", "address", "add", "192.0.2.77/32", "dev", "lo")
    try:
        until("it is in the maps", lambda: "192.0.2.77" in agent.addresses())
        assert len(agent.dial("node", "192.0.2.77", 30080)[0]) == 2
        assert agent.connections() == before + 1
    finally:
        agent.home.run("ip", "address", "del", "192.0.2.77/32", "dev", "lo")
    until("it is there no more", lambda: "192.0.2.77" not in agent.addresses())


def test_what_is_left_to_nftables_is_served_by_it(agent: SocketAgent) -> None:
    agent.start("ebpf", "--masquerade-all")
    assert agent.served() == set()
    assert agent.metric("podwire_proxy_sockets_left") == "2.0"
    assert len(agent.dial("c", VIP[V4])[0]) == 2
    assert agent.connections() == 0
    assert len(agent.dial("c", ADDRESSES["node"][V4], 30080)[0]) == 2
    assert agent.connections() == 1, "NodePorts are not left"


def test_an_endpoint_that_goes_is_dialled_no_more_and_none_refuses(agent: SocketAgent) -> None:
    agent.start()
    agent.endpoints("a")
    until("b is gone", lambda: agent.served() == {ADDRESSES["a"][V4]})
    assert {who for who, _ in agent.dial("c", VIP[V4], times=5)} == {"a"}
    agent.endpoints()
    until("all are gone", lambda: agent.served() == set())
    assert agent.dial("c", VIP[V4]) == [["ConnectionRefusedError"]]


def test_an_endpoint_goes_at_once_while_nftables_refuses_everything(agent: SocketAgent) -> None:
    agent.start()
    table = f"table ip {layout.TABLE_NAME}"
    with agent.home.popen("nft", "-i") as other:  # who owns a table alone may change it
        assert other.stdin is not None
        other.stdin.write(f"delete {table}; add {table} {{ flags owner; }}\n")
        other.stdin.flush()
        try:
            until("the kernel refuses", lambda: agent.status()["failures"]["proxy"] > 1)
            agent.endpoints("b")
            until("a is gone", lambda: agent.served() == {ADDRESSES["b"][V4]})
            assert {who for who, _ in agent.dial("c", VIP[V4], times=4)} == {"b"}
        finally:
            other.stdin.close()
            other.wait(10)
    until("nftables serves too", lambda: agent.status()["in_sync"])
