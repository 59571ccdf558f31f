"""hostPorts over the fake and the tracer: who dials which port of the node, and who serves it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from flows.places import ADDRESSES, LINKS, NODE1_ADDRESSES
from host_ports import DIALS, PODS, Dial
from packet_flows import NODE, world

from podwire_cni.attachment import Attachment
from podwire_cni.plan import make_plan
from podwire_cni.ports import PortMapping
from podwire_core.family import FAMILIES, Family
from podwire_core.nft.fake import Fake
from podwire_core.nft.owner import Owner
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate, Ruleset, Trace, trace
from podwire_core.nft.transaction import Transaction
from podwire_core.snapshot import Change, Snapshot
from podwire_node.host_ports import HostPorts
from podwire_proxy.services import Services

V4, V6 = FAMILIES
LOCAL = frozenset(each for name in NODE1_ADDRESSES for each in ADDRESSES[name].values())


def attachment(name: str) -> Attachment:
    return Attachment("podwire", f"container-{name}", "eth0")


class Site:
    """The hostPorts of some pods, and the fake that holds them."""

    def __init__(self, *names: str) -> None:
        self.host_ports = HostPorts()
        self.fake = Fake()
        self.owner = Owner(self.fake, self.host_ports.tables)
        self.update()
        for name in names:
            self.add(name)

    def add(self, name: str, *ports: PortMapping, families: tuple[Family, ...] = FAMILIES) -> None:
        addresses = [ip_address(ADDRESSES[name][family]) for family in families]
        pod, asked = f"shop/{name}", ports or PODS[name]
        changed = self.host_ports.set(attachment(name), addresses, asked, pod)
        assert self.update() == changed

    def remove(self, name: str) -> None:
        changed = self.host_ports.remove(attachment(name))
        assert self.update() == changed

    def update(self) -> object:
        changed = self.host_ports.update(Snapshot(), ())
        self.sent: Transaction = self.owner.change(changed)
        assert self.owner.in_force == {
            key: each.fingerprint for key, each in self.host_ports.wanted.items()
        }
        return changed

    def trace(self, packet: Packet) -> Trace:
        (way,) = trace(Ruleset(self.fake.objects(), LOCAL), packet)
        return way

    def serves(self, port: int, family: Family = V4, protocol: str = "tcp") -> str:
        """Who answers the world at the node's address: a pod's address and port, or no one."""
        outside, node = ADDRESSES["outside"][family], ADDRESSES["node"][family]
        packet = self.trace(Packet(family, outside, node, protocol, port, iif="uplink")).packet
        return f"{NAMES[packet.daddr]}:{packet.dport}" if packet.dnat else ""


NAMES = {address: name for name, row in ADDRESSES.items() for address in row.values()}


def first_packet(dial: Dial) -> Packet:
    """What opens the connection."""
    here = dial.source == "node"
    link = LINKS.get(dial.source, "")
    return Packet(
        dial.family, dial.client, dial.address, dial.protocol, dial.port, from_node=here, iif=link
    )


@pytest.fixture(scope="module")
def site() -> Site:
    return Site(*PODS)


@pytest.mark.parametrize("dial", list(DIALS.values()), ids=list(DIALS))
def test_who_is_served_by_whom(site: Site, dial: Dial) -> None:
    way = site.trace(first_packet(dial))
    name = "node" if way.packet.daddr in LOCAL else NAMES[way.packet.daddr]
    assert way.fate is Fate.ACCEPT
    assert f"{name}:{way.packet.dport}" == dial.end
    assert way.packet.masqueraded == dial.masqueraded


@pytest.mark.parametrize("source", [ADDRESSES["outside"][V4], "127.0.0.9"])
@pytest.mark.parametrize("target", ["127.0.0.1", ADDRESSES["node"][V4]])
def test_localhost_is_for_the_node_itself(site: Site, source: str, target: str) -> None:
    """Who shares a link with the node may send such packets (CVE-2020-8558)."""
    way = site.trace(Packet(V4, source, target, "tcp", 9, iif="uplink"))
    bad = "127." in source + target
    assert way.fate is (Fate.DROP if bad else Fate.ACCEPT)


def test_every_rule_has_a_row(site: Site) -> None:
    met = {step.why for dial in DIALS.values() for step in site.trace(first_packet(dial)).steps}
    chains = Ruleset(site.fake.objects()).chains
    guard = chains.pop(("ip", "podwire-host-ports", "guard-localhost"))  # the test above
    assert guard.rules
    assert {rule.why for chain in chains.values() for rule in chain.rules} == met


def test_a_pod_that_comes_or_goes_is_elements() -> None:
    site = Site("a")
    site.add("c")
    assert {noun for _, noun in site.sent.counts()} == {"element"}
    site.remove("a")
    assert {noun for _, noun in site.sent.counts()} == {"element"}
    assert not site.serves(9000)
    assert site.serves(54323) == "c:8080"


def test_what_changes_nothing_sends_nothing() -> None:
    site = Site("a")
    site.add("a")
    assert not site.sent
    site.remove("b")
    assert not site.sent
    assert not site.owner.sync(site.host_ports.wanted)


def test_all_that_is_wanted_goes_with_the_last_pod() -> None:
    site, before = Site(*PODS), Site()
    for name in PODS:
        site.remove(name)
    assert site.host_ports.wanted == before.host_ports.wanted
    assert site.host_ports.attachments == frozenset()


def test_the_order_in_which_pods_came_decides_nothing() -> None:
    one, other = Site(*PODS), Site(*reversed(PODS))
    assert one.host_ports.wanted == other.host_ports.wanted


def test_a_pod_that_asks_for_other_ports_has_those() -> None:
    site = Site("a")
    site.add("a", PortMapping(9000, 81, "tcp"))
    assert site.serves(9000) == "a:81"
    assert not site.serves(9000, protocol="udp")


def test_a_family_that_the_pod_has_not_leads_nowhere() -> None:
    site = Site()
    site.add("a", PortMapping(8080, 80, "tcp"), families=(V4,))
    assert site.serves(8080, V4) == "a:80"
    assert not site.serves(8080, V6)
    assert not site.host_ports.problems


@pytest.mark.parametrize(
    ("host_ip", "families", "reason"),
    [
        ("fd00:7::1", (V4,), "the pod has no address of its family"),
        ("192.168.7.1", (V6,), "the pod has no address of its family"),
        ("::1", FAMILIES, "nothing is forwarded from there"),
        ("fe80::7", FAMILIES, "nothing is forwarded from there"),
    ],
)
def test_a_host_ip_that_cannot_be_served_is_named(
    host_ip: str, families: tuple[Family, ...], reason: str
) -> None:
    site = Site()
    site.add("a", PortMapping(8080, 80, "tcp", host_ip), families=families)
    (problem,) = site.host_ports.problems
    assert (problem.object, problem.field) == ("Pod shop/a", "hostPort 8080/tcp")
    assert reason in problem.reason
    assert not site.host_ports.forwards(attachment("a"))
    site.remove("a")
    assert not site.host_ports.problems


def test_two_pods_of_one_port_are_told_and_one_has_it() -> None:
    site = Site()
    for name in ("b", "a"):
        site.add(name, PortMapping(8080, 80, "tcp"))
    assert site.serves(8080) == "a:80"
    problems = site.host_ports.problems
    assert {each.object for each in problems} == {"Pod shop/b"}
    assert {each.reason for each in problems} == {"host-ports-tcp 8080 is shop/a's already"}
    site.remove("a")
    assert site.serves(8080) == "b:80"
    assert not site.host_ports.problems


@pytest.mark.parametrize(
    ("host_ip", "routed"),
    [
        ("", True),
        ("0.0.0.0", True),
        ("127.0.0.1", True),
        ("127.0.0.53", True),
        ("192.168.7.1", False),
        ("::", False),
        ("fd00:7::1", False),
    ],
)
def test_links_that_localhost_leads_through(host_ip: str, routed: bool) -> None:
    site = Site()
    mapping = PortMapping(8080, 80, "tcp", host_ip)
    site.add("a", mapping)
    assert mapping.at_localhost is routed, "what the plugin goes by"
    expected = {attachment("a").host_name} if routed else set()
    assert site.host_ports.localnet_links == expected
    site.remove("a")
    assert not site.host_ports.localnet_links


def test_a_pod_without_ipv4_routes_no_localhost() -> None:
    site = Site()
    site.add("a", PortMapping(8080, 80, "tcp"), families=(V6,))
    assert not site.host_ports.localnet_links


@pytest.mark.parametrize("localhost", [False, True])
def test_the_plugin_routes_localhost_through_a_link_that_needs_it_alone(localhost: bool) -> None:
    pod = attachment("a")
    addresses = [ip_address(each) for each in ADDRESSES["a"].values()]
    plan = make_plan(pod, "shop/a", addresses, 1500, localhost=localhost)
    routed = [each.path for each in plan.sysctls if "route_localnet" in each.path]
    assert routed == [f"net/ipv4/conf/{pod.host_name}/route_localnet"] * localhost


def test_many_ports_of_many_pods() -> None:
    host_ports = HostPorts()
    for pod in range(200):
        asked = [PortMapping(1000 + pod * 10 + each, 80, "tcp") for each in range(10)]
        owner = Attachment("podwire", str(pod), "eth0")
        host_ports.set(owner, [ip_address(f"10.244.1.{pod + 1}")], asked)
    owner_ = Owner(Fake(), host_ports.tables)
    assert owner_.sync(host_ports.wanted).counts()["add", "element"] == 200 * (10 + 2)
    assert not owner_.sync(host_ports.wanted)


def test_a_host_ip_is_in_nfts_spelling() -> None:
    site = Site()
    site.add("a", PortMapping(8080, 80, "tcp", str(ip_address("::9.8.7.6"))))
    assert [each.address for each in site.host_ports.forwards(attachment("a"))] == ["::9.8.7.6"]


def test_a_hostile_host_ip_takes_no_one_elses_traffic() -> None:
    """A pod that wants 9.9.9.9 for itself has it only where the node has it."""
    site = Site()
    site.add("a", PortMapping(53, 53, "udp", "9.9.9.9"))
    assert not site.trace(Packet(V4, ADDRESSES["b"][V4], "9.9.9.9", "udp", 53)).packet.dnat


def test_link_local_addresses_stay_the_nodes() -> None:
    site = Site("a")
    packet = Packet(V6, "fe80::9", "fe80::7", "tcp", 9000, iif="uplink")
    (way,) = trace(Ruleset(site.fake.objects(), {"fe80::7"}), packet)
    assert not way.packet.dnat


def test_localhost_as_a_source_is_masqueraded_wherever_it_dials() -> None:
    site = Site("a")
    packet = Packet(V4, "127.0.0.1", ADDRESSES["node"][V4], "tcp", 9000, from_node=True)
    assert site.trace(packet).packet.masqueraded


@pytest.mark.parametrize("family", FAMILIES)
def test_a_service_has_the_port_that_a_host_port_wants_too(family: Family) -> None:
    """A pod takes no NodePort of others on its node (CVE-2019-9946 of another plugin)."""
    services = Services(NODE)
    objects = world()
    services.update(Snapshot(objects), [Change(type(each), each.name, each) for each in objects])
    site = Site()
    site.add("c", PortMapping(30080, 1, "tcp"), PortMapping(30081, 1, "tcp"))
    rules = Ruleset([*site.fake.objects(), *services.wanted.values()], LOCAL)
    outside, node = ADDRESSES["outside"][family], ADDRESSES["node"][family]
    for port, served_by_pod in ((30080, False), (30081, True)):
        ways = trace(rules, Packet(family, outside, node, "tcp", port, iif="uplink"))
        assert {
            way.packet.daddr == ADDRESSES["c"][family] and way.packet.dport == 1 for way in ways
        } == {served_by_pod}
