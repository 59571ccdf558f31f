"""The packet-flow table over the kernel: real connections, many per row.

The namespaces are those that tests/tables/packet_flows.py draws.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import scratch
from packet_flows import ADDRESSES, FLOWS, NODE, PODS, REJECT, SERVED, Flow, world
from scratch import Netns

import podwire_lab
from podwire_core.family import Family
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.objects import EndpointSlice, ObjectName
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy.services import TABLES, Services

PROGRAMS = Path(podwire_lab.__file__).parent / "programs"
REFUSALS = 4  # the kernel limits ICMP, which refuses UDP, to bursts of 50 for all together
CONNECTIONS = 24  # the chance that one of two endpoints is never picked: 2 in 16 million
V4, V6 = Family.IPV4, Family.IPV6
ONE = next(flow for flow in FLOWS if flow.to == "one" and flow.source == "c")


class World(NamedTuple):
    """Namespaces by name, and the proxy's owner."""

    netns: dict[str, Netns]
    owner: Owner


def wire_pod(node: Netns, pod: Netns, name: str) -> None:
    """A veth pair, host routes, permanent neighbours: the plugin's shape, by hand."""
    host_mac, pod_mac = (f"02:00:00:00:0{side}:{ord(name):02x}" for side in (1, 2))
    device = f"pod-{name}"
    peer = ("peer", "name", "eth0", "address", pod_mac, "netns", pod.name)
    node.run("ip", "link", "add", device, "address", host_mac, "type", "veth", *peer)
    node.run("ip", "link", "set", device, "up")
    pod.run("ip", "link", "set", "eth0", "up")
    for family, gateway in ((V4, "169.254.1.1"), (V6, "fe80::1")):
        address = ADDRESSES[name][family]
        own = f"{address}/{family.bits}"
        pod.run("ip", "address", "add", own, "dev", "eth0", *(["nodad"] if family is V6 else []))
        permanent = ("dev", "eth0", "nud", "permanent")
        pod.run("ip", "neigh", "add", gateway, "lladdr", host_mac, *permanent)
        pod.run("ip", "route", "add", "default", "via", gateway, "dev", "eth0", "onlink")
        node.run("ip", "route", "add", own, "dev", device)
        node.run(
            "ip", "neigh", "add", address, "lladdr", pod_mac, "dev", device, "nud", "permanent"
        )


def wire_outside(node: Netns, outside: Netns) -> None:
    """One link, on which the node is the client's gateway and the other way round."""
    node.run(
        "ip", "link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", outside.name
    )
    for end, device, name, gateway in (
        (node, "uplink", "node", "outside"),
        (outside, "eth0", "outside", "node"),
    ):
        end.run("ip", "address", "add", f"{ADDRESSES[name][V4]}/24", "dev", device)
        end.run("ip", "address", "add", f"{ADDRESSES[name][V6]}/64", "dev", device, "nodad")
        end.run("ip", "link", "set", device, "up")
        for family in Family:
            end.run("ip", "route", "add", "default", "via", ADDRESSES[gateway][family])
    forwarding = ("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1")
    unlimited = ("ipv4.icmp_ratelimit=0", "ipv6.icmp.ratelimit=0")  # refusals of UDP are ICMP
    for setting in (*forwarding, *unlimited):
        node.run("sysctl", "-qw", f"net.{setting}")


def serve(netns: Netns, name: str, port: int) -> subprocess.Popen[str]:
    """An echo server that calls itself "name:port"."""
    return netns.popen(
        *("env", f"POD_NAME={name}:{port}", "POD_NAMESPACE=shop", f"NODE_NAME={NODE}"),
        *(
            sys.executable,
            "-I",
            "-S",
            str(PROGRAMS / "echo.py"),
            "--ports",
            str(port),
            "--ready-fd",
            "1",
        ),
    )


@pytest.fixture(scope="module")
def worlds() -> Iterator[World]:
    netns: dict[str, Netns] = {}
    servers: list[subprocess.Popen[str]] = []
    try:
        for name in ("node", "outside", *PODS):
            netns[name] = scratch.make()
        wire_outside(netns["node"], netns["outside"])
        for name in PODS:
            wire_pod(netns["node"], netns[name], name)
            servers += [serve(netns[name], name, port) for port in SERVED]
        for server in servers:
            assert server.stdout is not None
            assert server.stdout.read(1), "an echo server did not start"
        yield World(netns, program(netns["node"]))
    finally:
        for server in servers:
            server.kill()
            server.communicate()
        for each in netns.values():
            scratch.remove(each)


def program(node: Netns) -> Owner:
    """The world's objects in the node's kernel."""
    objects = world()
    with node.inside():
        owner = Owner(Kernel(), TABLES)
    services = Services(NODE)
    owner.change(services.update(Snapshot(objects), [Change(type(o), o.name, o) for o in objects]))
    return owner


def probe(source: Netns, flow: Flow, family: Family) -> list[list[str]]:
    """[outcome, text] of each connection."""
    targets = [[flow.protocol, flow.address(family), flow.port]] * (
        REFUSALS if flow.ends == REJECT else CONNECTIONS
    )
    done = subprocess.run(
        [
            "nsenter",
            f"--net=/run/netns/{source.name}",
            sys.executable,
            "-I",
            "-S",
            str(PROGRAMS / "probe.py"),
            "--timeout",
            "2",
        ],
        input=json.dumps(targets),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers: list[list[str]] = json.loads(done.stdout)
    return answers


def fields(text: str) -> dict[str, str]:
    """`pod=shop/a:8080 node=node1 client=10.244.1.7:41022` as a dictionary."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.promise)
def test_flow(worlds: World, flow: Flow, family: Family) -> None:
    answers = probe(worlds.netns[flow.source], flow, family)
    if flow.ends == REJECT:
        assert {outcome for outcome, _ in answers} == {"refused"}
        return
    assert {outcome for outcome, _ in answers} == {"answered"}, answers
    seen = [fields(text) for _, text in answers]
    assert {row["pod"].removeprefix("shop/") for row in seen} == set(flow.ends)
    if flow.source == "node":
        return  # its own address either way
    for row in seen:
        client = row["client"].rpartition(":")[0].strip("[]")
        masqueraded = row["pod"].removeprefix("shop/") in flow.masqueraded
        expected = "node" if masqueraded else flow.source
        assert client == ADDRESSES[expected][family], row


def test_the_kernel_holds_what_was_wanted(worlds: World) -> None:
    before = dict(worlds.owner.in_force)
    worlds.owner.adopt()
    assert worlds.owner.in_force == before


def test_connections_spread_evenly(worlds: World) -> None:
    flow = next(flow for flow in FLOWS if flow.promise.startswith("a pod reaches a Service"))
    answers = [text for _ in range(10) for _, text in probe(worlds.netns["c"], flow, V4)]
    to_a = sum("pod=shop/a" in text for text in answers)
    # 240 fair coins: outside 78…162 once in 30 million runs
    assert 78 <= to_a <= 162


_TALK = """
import socket, sys
talk = socket.create_connection(("10.96.0.11", 80))
for line in sys.stdin:
    talk.sendall(line.encode())
    print(talk.recv(4096).decode().strip(), flush=True)
"""


@pytest.fixture
def conversation(worlds: World) -> Iterator[Callable[[], str]]:
    """One connection of pod c to Service `one`; each call says a word and gives the answer."""
    client = worlds.netns["c"].popen(sys.executable, "-I", "-S", "-c", _TALK)
    assert client.stdin is not None
    assert client.stdout is not None
    stdin, stdout = client.stdin, client.stdout

    def say() -> str:
        stdin.write("hello\n")
        stdin.flush()
        return stdout.readline()

    yield say
    client.kill()
    client.communicate()


def test_an_open_connection_outlives_its_endpoint(
    worlds: World, conversation: Callable[[], str]
) -> None:
    assert "pod=shop/a:8080" in conversation()
    objects = world()
    services = Services(NODE, dict(worlds.owner.in_force))
    snapshot = Snapshot(objects)
    services.update(snapshot, [Change(type(o), o.name, o) for o in objects])
    slices = [each for each in objects if isinstance(each, EndpointSlice)]
    doomed = [each for each in slices if each.service == ObjectName("shop", "one")]
    gone = [Change(EndpointSlice, each.name, None) for each in doomed]
    try:
        assert worlds.owner.change(services.update(snapshot, gone))
        assert {outcome for outcome, _ in probe(worlds.netns["c"], ONE, V4)} == {"refused"}
        assert "pod=shop/a:8080" in conversation()
    finally:
        back = [Change(EndpointSlice, each.name, each) for each in doomed]
        worlds.owner.change(services.update(snapshot, back))
    assert {outcome for outcome, _ in probe(worlds.netns["c"], ONE, V4)} == {"answered"}
