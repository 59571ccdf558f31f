"""hostPorts with real packets: the table of who dials what, and conversations that must move.

The nodes are those of tests/tables/flows/places.py. node1 listens on every hostPort itself, so
that a packet which no rule takes is seen to reach it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from ipaddress import ip_address

import flow_site
import pytest
import sctp
from flow_servers import Servers
from flows.places import ADDRESSES, LINKS, SERVED
from host_ports import DIALS, PODS, PORTS, Dial
from packet_flows import NODE, world
from scratch import Netns, until

from podwire_cni.attachment import Attachment
from podwire_cni.ports import PortMapping
from podwire_core.family import FAMILIES, Family
from podwire_core.feed.decode import decode
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.owner import Owner
from podwire_core.objects import KubernetesObject, Namespace, NetworkPolicy, Pod
from podwire_core.snapshot import Change, Kind, Snapshot
from podwire_lab.programs import probe
from podwire_node.host_ports import Forward, HostPorts
from podwire_node.host_ports.localhost import route_localhost
from podwire_node.host_ports.stale import forget_stale
from podwire_node.programmer import Programmer
from podwire_policy.policies import Policies
from podwire_proxy.services import Services

V4, V6 = FAMILIES
AF = {V4: socket.AF_INET, V6: socket.AF_INET6}
LISTENERS = {**dict.fromkeys(PODS, SERVED), "node": (*PORTS, 8080), "outside": PORTS}
PATIENCE = 20.0
SILENCE = 0.4  # seconds in which no answer is none


class Site:
    """The places, and hostPorts in force on node1."""

    def __init__(self, netns: dict[str, Netns]) -> None:
        self.netns = netns
        self.node = netns["node"]
        self.host_ports = HostPorts()
        with self.node.inside():
            self.owner = Owner(Kernel(), self.host_ports.tables)
            self.owner.adopt()
        self.owner.sync(self.host_ports.wanted)

    def give(self, name: str, ports: Sequence[PortMapping]) -> Sequence[Forward]:
        """As an ADD does: rules, localhost, and then whoever went somewhere else before."""
        addresses = [ip_address(each) for each in ADDRESSES[name].values()]
        self.owner.change(self.host_ports.set(attachment(name), addresses, ports, f"shop/{name}"))
        come = self.host_ports.forwards(attachment(name))
        with self.node.inside():
            routed = attachment(name).host_name in self.host_ports.localnet_links
            assert route_localhost(LINKS[name], allowed=routed)
            forget_stale(come=come)
        return come

    def take(self, name: str) -> None:
        """As a DEL does."""
        gone = self.host_ports.forwards(attachment(name))
        self.owner.change(self.host_ports.remove(attachment(name)))
        with self.node.inside():
            forget_stale(gone=gone)

    def ask(self, source: str, protocol: str, address: str, port: int) -> tuple[str, str]:
        """What became of it: its outcome, and what was answered."""
        with self.netns[source].inside():
            if protocol == "sctp":
                return sctp.ask([(address, port)], PATIENCE)[0]
            return probe.ask([(protocol, address, port)], PATIENCE)[0]

    def dial(self, dial: Dial) -> tuple[str, str]:
        return self.ask(dial.source, dial.protocol, dial.address, dial.port)


def attachment(name: str) -> Attachment:
    return Attachment("podwire", f"container-{name}", "eth0")


@pytest.fixture(scope="module")
def places() -> Iterator[Site]:
    with flow_site.site() as netns, closing(Servers()) as servers:
        strict = (f"net.ipv4.conf.{LINKS[name]}.rp_filter=1" for name in PODS)  # as pods' links are
        netns["node"].run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=0", *strict)
        servers.start(netns, LISTENERS)
        yield Site(netns)


@pytest.fixture
def site(places: Site) -> Iterator[Site]:
    """No pod has a hostPort."""
    yield places
    for name in PODS:
        places.take(name)


@pytest.fixture(scope="class")
def full(places: Site) -> Iterator[Site]:
    """Every pod of the table has its hostPorts."""
    for name, ports in PODS.items():
        places.give(name, ports)
    yield places
    for name in PODS:
        places.take(name)


class TestTable:
    """The pods of the table have their hostPorts all the time."""

    @pytest.mark.parametrize("dial", list(DIALS.values()), ids=list(DIALS))
    def test_who_is_served_by_whom(self, full: Site, dial: Dial) -> None:
        outcome, text = full.dial(dial)
        assert outcome == "answered", text
        end, client = text.split()
        node = {ADDRESSES[name][dial.family] for name in ("node", "alt")}
        assert end == dial.end
        assert client in node if dial.masqueraded else client == dial.client

    def test_a_restart_sends_no_transaction(self, full: Site) -> None:
        again = HostPorts()
        for name, ports in reversed(PODS.items()):
            again.set(
                attachment(name),
                [ip_address(each) for each in ADDRESSES[name].values()],
                ports,
                f"shop/{name}",
            )
        with full.node.inside():
            owner = Owner(Kernel(), again.tables)
            owner.adopt()
            owner.sync(again.wanted)
        assert owner.commits == 0

    def test_localhost_is_reached_by_the_links_of_its_pods_alone(self, full: Site) -> None:
        for name, routed in (("a", "1"), ("b", "1"), ("c", "0"), ("stray", "0")):
            parameter = f"net.ipv4.conf.{LINKS[name]}.route_localnet"
            assert full.node.run("sysctl", "-n", parameter).strip() == routed

    def test_a_pod_reaches_nothing_at_the_nodes_localhost(self, full: Site) -> None:
        """Even one that may change its own routes, on a link with route_localnet."""
        pod = full.netns["a"]
        with localhost_elsewhere(pod):
            told = heard(full, pod)
            full.node.run("nft", "flush", "chain", "ip", "podwire-host-ports", "guard-localhost")
            try:
                assert heard(full, pod), "the test itself is at fault"
            finally:
                with full.node.inside():
                    full.owner.adopt()
                full.owner.sync(full.host_ports.wanted)
            assert not told


@contextmanager
def localhost_elsewhere(pod: Netns) -> Iterator[None]:
    """A pod that sends what is for 127.0.0.1 to the node."""
    pod.run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
    pod.run("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    source = ("src", ADDRESSES["a"][V4])
    pod.run(
        "ip", "route", "add", "127.0.0.1", "via", "169.254.1.1", "dev", "eth0", "onlink", *source
    )
    try:
        yield
    finally:
        pod.run("ip", "route", "del", "127.0.0.1", "dev", "eth0")
        pod.run("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=0")
        pod.run("ip", "address", "add", "127.0.0.1/8", "dev", "lo")


def heard(site: Site, pod: Netns) -> bool:
    """Whether a datagram of a pod reaches who listens at the node's localhost alone."""
    with site.node.inside():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pod.inside():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind(("127.0.0.1", 0))
        server.settimeout(SILENCE)
        client.sendto(b"x", server.getsockname())
        with suppress(TimeoutError):
            return bool(server.recv(10))
    return False


class Talker:
    """A client with one socket that sends for ever."""

    def __init__(self, site: Site, family: Family, source: str, port: int) -> None:
        with site.netns[source].inside():
            self.socket = socket.socket(AF[family], socket.SOCK_DGRAM)
        self.socket.connect((ADDRESSES["node"][family], port))
        self.socket.settimeout(PATIENCE)

    def end(self) -> str:
        """Who answers it now, "" for no one."""
        with suppress(TimeoutError, ConnectionRefusedError):
            self.socket.send(b"x")
            return self.socket.recv(100).decode().split()[0]
        return ""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("source", ["outside", "node", "stray"])
def test_a_conversation_follows_its_host_port(site: Site, family: Family, source: str) -> None:
    asked = [PortMapping(9000, 5353, "udp")]
    with closing_socket(Talker(site, family, source, 9000)) as talker:
        assert talker.end() == "node:9000", "no one has the hostPort yet"
        site.give("b", asked)
        assert talker.end() == "b:5353"
        site.take("b")
        site.give("c", asked)
        assert talker.end() == "c:5353"
        site.take("c")
        assert talker.end() == "node:9000"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_with_another_address_stays(site: Site, family: Family) -> None:
    """To forget it would be noticed: the kernel would think it new."""
    with closing_socket(Talker(site, family, "outside", 9000)) as talker:
        assert talker.end() == "node:9000"
        here = [PortMapping(9000, 5353, "udp", ADDRESSES["alt"][family])]
        assert not forgotten(site, site.give("b", here))
        assert talker.end() == "node:9000"


def test_a_pod_that_keeps_its_host_port_keeps_its_conversations(site: Site) -> None:
    come = site.give("b", [PortMapping(9000, 5353, "udp")])
    with closing_socket(Talker(site, V4, "outside", 9000)) as talker:
        assert talker.end() == "b:5353"
        assert not forgotten(site, come)


def test_tcp_is_not_looked_for(site: Site) -> None:
    assert not forgotten(site, site.give("b", [PortMapping(9000, 5353, "tcp")]))


def forgotten(site: Site, come: Sequence[Forward]) -> int:
    with site.node.inside():
        return forget_stale(come=come)


@contextmanager
def closing_socket(talker: Talker) -> Iterator[Talker]:
    with talker.socket:
        yield talker


def test_what_others_change_is_repaired(site: Site) -> None:
    """By the Programmer that the agent has."""
    site.take("a")
    with ExitStack() as stack:
        with site.node.inside():
            owner = Owner(Kernel(), site.host_ports.tables)
            monitor = Monitor(site.host_ports.tables)
        programmer = Programmer("host-ports", site.host_ports, owner, monitor)
        stack.callback(programmer.close)
        programmer.sync(time.monotonic())
        assert programmer.transactions == 0, "all was in force already"
        site.host_ports.set(attachment("a"), [ip_address(ADDRESSES["a"][V4])], PODS["a"][:1])
        programmer.take(Snapshot(), ())
        programmer.sync(time.monotonic())
        assert site.ask("outside", "tcp", ADDRESSES["node"][V4], 9000)[1].startswith("a:8080")
        site.node.run("nft", "flush", "map", "ip", "podwire-host-ports", "host-ports-tcp")
        assert site.ask("outside", "tcp", ADDRESSES["node"][V4], 9000)[1].startswith("node:9000")
        until("it is noticed", partial(_noticed, programmer))
        programmer.sync(time.monotonic())
        assert programmer.repairs == 1
        assert site.ask("outside", "tcp", ADDRESSES["node"][V4], 9000)[1].startswith("a:8080")
    with site.node.inside():
        site.owner.adopt()


def test_a_nodeport_that_someone_serves_goes_before_a_host_port(site: Site) -> None:
    services, objects = Services(NODE), world()
    changes = [Change(type(each), each.name, each) for each in objects]
    with site.node.inside():
        Owner(Kernel(), services.tables).change(services.update(Snapshot(objects), changes))
    ports = (30080, 30090, 30081)  # two endpoints, none, no Service
    site.give("c", [PortMapping(port, 5353, "tcp") for port in ports])
    try:
        for address in ADDRESSES["node"].values():
            ends = [site.ask("outside", "tcp", address, port)[1].split()[0] for port in ports]
            assert ends[0] in {"a:8080", "b:8080"}
            assert ends[1:] == ["c:5353", "c:5353"]
    finally:
        for table in services.tables:
            site.node.run("nft", "delete", "table", *table.key)


def _noticed(programmer: Programmer) -> bool:
    programmer.notice_drift()
    return not programmer.in_sync


def made(document: dict[str, object], kind: Kind) -> KubernetesObject:
    return decode(document, kind, "test")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_policy_that_denies_denies_through_a_host_port(site: Site, family: Family) -> None:
    site.give("b", [PortMapping(9000, 8080, "tcp")])
    address = ADDRESSES["node"][family]
    assert site.ask("outside", "tcp", address, 9000)[1].startswith("b:8080")
    with isolated(site):
        for source in ("outside", "c"):
            with site.netns[source].inside():
                assert probe.ask([("tcp", address, 9000)], SILENCE)[0][0] == "silent"
        assert site.ask("node", "tcp", address, 9000)[1].startswith("b:8080"), "the node may"
    assert site.ask("outside", "tcp", address, 9000)[1].startswith("b:8080")


@contextmanager
def isolated(site: Site) -> Iterator[None]:
    """Nobody may dial pod b."""
    metadata = {"name": "b", "namespace": "shop"}
    addresses = [{"ip": each} for each in ADDRESSES["b"].values()]
    status = {"podIP": addresses[0]["ip"], "podIPs": addresses, "phase": "Running"}
    objects = [
        made({"metadata": {"name": "shop"}}, Namespace),
        made({"metadata": metadata, "spec": {"nodeName": "node1"}, "status": status}, Pod),
        made({"metadata": metadata, "spec": {"podSelector": {}}}, NetworkPolicy),
    ]
    policies = Policies("node1")
    with site.node.inside():
        owner = Owner(Kernel(), policies.tables)
    changes = [Change(type(each), each.name, each) for each in objects]
    owner.change(policies.update(Snapshot(objects), changes))
    try:
        yield
    finally:
        for table in policies.tables:
            site.node.run("nft", "delete", "table", *table.key)
