"""Connections from outside, as the client and the endpoint see them."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, closing

import pytest
from flow_stage import Seen
from flows.objects import Port, Svc
from flows.places import ADDRESSES, service_address
from flows.world import FIRST, World
from uplink_stage import (
    LOCAL,
    NODEPORT,
    Stage,
    listening,
    node,
    requests,
    say,
    talk,
    world,
)

from podwire_core.conntrack import Conntrack
from podwire_core.family import FAMILIES, Family
from podwire_ebpf.records import Endpoint, FrontendKey, Scope

pytestmark = pytest.mark.usefixtures("attached")


# ----------------------------------------------------------------------------------- the ways in


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_every_way_in_is_the_programs(stage: Stage, family: Family, protocol: str) -> None:
    stage.program(world("a"))
    ends = [(node(family), NODEPORT)]
    ends += [(service_address(FIRST, family, kind), 80) for kind in ("lb", "ext")]
    seen = stage.ask("outside", [(protocol, *end) for end in ends])
    port = 8080 if protocol == "tcp" else 5353
    assert seen == [Seen(f"a:{port}", node(family))] * 3
    found = {(flow.destination, flow.destination_port) for flow, _ in requests(stage)}
    assert found == set(ends)


def test_conntrack_sees_the_client_and_the_endpoint(stage: Stage) -> None:
    """So policies do: nothing of the Service is left when a packet is routed."""
    stage.program(world("a", **LOCAL))
    with talk(stage, node(Family.IPV4)) as connection:
        assert say(connection) == "a:8080"
        with stage.netns["node"].inside():
            table = Conntrack()
        with closing(table):
            flows = [each for each in table.entries(Family.IPV4) if "8080" in str(each)]
    assert len(flows) == 1
    assert str(NODEPORT) not in str(flows)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_endpoint_on_the_host_network_is_reached(stage: Stage, family: Family) -> None:
    stage.program(world("node"))
    seen = stage.ask("outside", [("tcp", node(family), NODEPORT)] * 3)
    assert seen == [Seen("node:8080", ADDRESSES["outside"][family])] * 3
    assert len(requests(stage)) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_an_endpoint_at_another_nodeports_number_is_reached(stage: Stage, family: Family) -> None:
    """nftables would send it on to that one's endpoint."""
    other = Svc("other", "a", Port(node=30081))
    web = Svc("web", "node", Port(target=30081, node=NODEPORT))
    stage.program(World("two NodePorts", (web, other), ()))
    with stage.netns["node"].inside():
        listener = listening(30081)
    with listener, talk(stage, node(family)) as client:
        served, source = listener.accept()
        with served:
            assert source[0].removeprefix("::ffff:") == ADDRESSES["outside"][family]
            assert source[1] == client.getsockname()[1]


def test_a_clusterip_is_left_to_nftables(stage: Stage) -> None:
    stage.program(world("a"))
    (seen,) = stage.ask("outside", [("tcp", service_address(FIRST, Family.IPV4), 80)])
    assert seen.end == "a:8080"
    assert not stage.connections()


def test_a_pod_of_another_node_is_left_to_nftables(stage: Stage) -> None:
    """Its address says that it is of the cluster, which has another list of endpoints."""
    stage.program(world("a d", **LOCAL))
    target = ("tcp", node(Family.IPV4), NODEPORT)
    # d would answer its neighbour directly, who has asked someone else: docs/decisions/08.
    assert {each.end for each in stage.ask("e", [target] * 24, timeout=5)} == {"a:8080", "DROP"}
    assert not stage.connections()
    assert {each.end for each in stage.ask("outside", [target] * 24)} == {"a:8080"}
    assert len(requests(stage)) == 24


def test_more_endpoints_than_a_frontend_holds(stage: Stage) -> None:
    """From the 17th on they stand in another map."""
    stage.program(world("a"))
    key = FrontendKey(node(Family.IPV4), 81, 6, Scope.OUTSIDE)
    here = Endpoint(ADDRESSES["a"][Family.IPV4], 8080)
    there = Endpoint(ADDRESSES["b"][Family.IPV4], 8080)
    tables = stage.plane.tables
    row = next(row for key, row in tables.frontends.read().items() if key.scope)
    tables.endpoints.update({(7, slot): there for slot in range(16, 32)})  # type: ignore[dict-item]  # a key is its tuple
    tables.frontends.update({key: row._replace(list=7, count=32, first=(here,) * 16)})
    seen = {each.end for each in stage.ask("outside", [("tcp", node(Family.IPV4), 81)] * 30)}
    assert seen == {"a:8080", "b:8080"}


# ------------------------------------------------------------------------------------- much data


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("offloads", ["on", "off"])
def test_megabytes_arrive_whole(stage: Stage, family: Family, offloads: str) -> None:
    """In segments of 64 KB without a checksum yet, or in packets with one."""
    stage.program(world("a d", Port(target=9001, node=NODEPORT)))
    for place in ("outside", "a", "d"):
        settings = [word for each in ("tx", "tso", "gso", "gro") for word in (each, offloads)]
        stage.netns[place].run("ethtool", "-K", "eth0", *settings, check=False)
    blob = bytes(range(256)) * 32_768  # 8 MB
    with ExitStack() as open_:
        for place in ("a", "d"):
            with stage.netns[place].inside():
                listener = listening(9001)
            listener.settimeout(None)  # shutdown() ends it
            open_.callback(serve(listener, blob).join)
            open_.callback(listener.close)
            open_.callback(listener.shutdown, socket.SHUT_RDWR)
        for _ in range(4):
            with talk(stage, node(family)) as client:
                client.settimeout(100)
                sending = threading.Thread(target=client.sendall, args=(blob,))
                sending.start()
                assert received(client, len(blob)) == blob
                sending.join()


def serve(listener: socket.socket, blob: bytes) -> threading.Thread:
    """Every client gets the bytes, and has to have sent the same, until the listener closes."""

    def run() -> None:
        while True:
            try:
                served, _ = listener.accept()
            except OSError:
                return
            with served:
                sending = threading.Thread(target=served.sendall, args=(blob,))
                sending.start()
                if received(served, len(blob)) != blob:
                    served.close()
                sending.join()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def received(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer at the end."""
    found = bytearray()
    while len(found) < size and (data := connection.recv(1 << 20)):
        found += data
    return bytes(found)


# -------------------------------------------------------------------------------- other networks


def test_an_endpoint_behind_vxlan_is_reached(stage: Stage) -> None:
    """The outer packet has the inner one's mark, and must not be masqueraded for it."""
    ends = {each: ADDRESSES[each][Family.IPV4] for each in ("node", "node2", "d")}
    for here, there in (("node", "node2"), ("node2", "node")):
        tunnel = f"remote {ends[there]} local {ends[here]} dstport 8472 dev"
        device = "fabric" if here == "node" else "eth0"
        stage.netns[here].ip(
            [
                f"link add vx0 type vxlan id 7 {tunnel} {device}",
                f"address add 10.9.0.{1 if here == 'node' else 2}/24 dev vx0",
                "link set vx0 up",
            ]
        )
    stage.netns["node"].ip([f"route add {ends['d']} via 10.9.0.2 dev vx0"])
    try:
        stage.program(world("d"))
        for protocol, port in (("tcp", 8080), ("udp", 5353)):
            seen = stage.ask("outside", [(protocol, ends["node"], NODEPORT)] * 3)
            assert seen == [Seen(f"d:{port}", "10.9.0.1")] * 3
        assert len(requests(stage)) == 6
    finally:
        stage.netns["node"].ip([f"route del {ends['d']}", "link del vx0"])
        stage.netns["node2"].ip(["link del vx0"])
