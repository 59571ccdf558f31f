"""What is no first packet of TCP, UDP or SCTP: replies, echoes, errors, neighbours.

Packets are made by hand, and each test names what policies may do to one kind of them.
"""

from __future__ import annotations

import socket
import struct
from itertools import count, product

import crafted
import packet_site
import pytest
from cluster_policy_model import cluster_policy, deny, networks
from crafted import ACK, ICMPV6, PSH, SYN, Way
from enforced import Enforced
from nine_pods import SITE
from packet_stage import Probe
from policies.three_by_three import PROTOCOLS, address, everyone
from policies.world import PLACES
from policy_model import OUTSIDE, match, policy, port

from podwire_core.family import FAMILIES, Family
from podwire_core.objects import Attached, KubernetesObject, ObjectName

#: Who sends: on the receiver's node, and on the other one.
SENDERS = ("x/c", "x/b")
A = "x/a"
DENY = policy("x/deny", policyTypes=["Ingress", "Egress"])
#: x/a may be sent anything, and may send nothing of its own.
ONLY_IN = policy("x/in", podSelector=match(pod="a"), policyTypes=["Ingress", "Egress"],
                 ingress=[{}])  # fmt: skip
BOTH_WAYS = tuple(product(SENDERS, FAMILIES))
numbers = count(0x01000001)


@pytest.fixture(params=BOTH_WAYS, ids=lambda each: f"{each[0]} to x/a, {each[1]}")
def way(request: pytest.FixtureRequest, nine: Enforced) -> Way:
    """From a pod to x/a, from a port that no test had; no connection is known."""
    sender, family = request.param
    nine.stage.forget()
    sport = 1024 + next(numbers) % 50000
    return Way(address(sender, family), address(A, family), sport, 80)


def arrived(nine: Enforced, *packets: bytes) -> list[str]:
    """Where they come out, in their order."""
    return [each.place for each in nine.stage.passed(*packets)]


def become(nine: Enforced, *objects: KubernetesObject) -> None:
    nine.become([*everyone(), *objects])


# ------------------------------------------------------------------------------- replies


def test_replies_need_no_rule(nine: Enforced, way: Way) -> None:
    become(nine, ONLY_IN)
    sender = SITE.homes()[way.source]
    mine, theirs = next(numbers), next(numbers)
    assert arrived(nine, crafted.segment(way, mine)) == [A]
    assert arrived(nine, crafted.segment(way.back, theirs, SYN | ACK, mine + 1)) == [sender]
    other = way.back._replace(sport=81)
    assert arrived(nine, crafted.segment(other, next(numbers))) == [], "x/a begins none"


def test_datagrams_are_answered_without_a_rule(nine: Enforced, way: Way) -> None:
    become(nine, ONLY_IN)
    assert arrived(nine, crafted.datagram(way, next(numbers))) == [A]
    assert arrived(nine, crafted.datagram(way.back, next(numbers))) == [SITE.homes()[way.source]]
    assert arrived(nine, crafted.datagram(way.back._replace(sport=81), next(numbers))) == []


def test_an_established_connection_survives_a_default_deny(nine: Enforced, way: Way) -> None:
    """Both ends go on talking; nobody begins anything new."""
    become(nine)
    sender = SITE.homes()[way.source]
    mine, theirs = next(numbers) << 4, next(numbers) << 4
    assert arrived(nine, crafted.segment(way, mine)) == [A]
    assert arrived(nine, crafted.segment(way.back, theirs, SYN | ACK, mine + 1)) == [sender]
    assert arrived(nine, crafted.segment(way, mine + 1, ACK, theirs + 1)) == [A]
    nine.apply(DENY)
    talk = PSH | ACK
    assert arrived(nine, crafted.segment(way, mine + 1, talk, theirs + 1, b"four")) == [A]
    assert arrived(nine, crafted.segment(way.back, theirs + 1, talk, mine + 5, b"five!")) == [
        sender
    ]
    assert arrived(nine, crafted.segment(way._replace(sport=1), next(numbers))) == []


def test_a_conversation_over_udp_survives_a_default_deny(nine: Enforced, way: Way) -> None:
    become(nine)
    assert arrived(nine, crafted.datagram(way, next(numbers))) == [A]
    assert arrived(nine, crafted.datagram(way.back, next(numbers))) == [SITE.homes()[way.source]]
    nine.apply(DENY)
    assert arrived(nine, crafted.datagram(way, next(numbers))) == [A]
    assert arrived(nine, crafted.datagram(way._replace(sport=1), next(numbers))) == []


# --------------------------------------------------------------------------------- ICMP


@pytest.mark.parametrize(
    ("rule", "heard"),
    [
        pytest.param(None, [], id="no rule"),
        pytest.param({}, [A], id="a rule without ports"),
        pytest.param({"ports": [port(), port(protocol="UDP")]}, [], id="a rule with ports"),
    ],
)
def test_an_echo_needs_a_rule_without_ports(
    nine: Enforced, way: Way, rule: dict[str, object] | None, heard: list[str]
) -> None:
    become(nine, policy("x/in", podSelector=match(pod="a"), ingress=[] if rule is None else [rule]))
    assert arrived(nine, crafted.echo(way, next(numbers))) == heard


def test_an_echo_is_answered_without_a_rule(nine: Enforced, way: Way) -> None:
    become(nine, ONLY_IN)
    number = next(numbers)
    assert arrived(nine, crafted.echo(way, number)) == [A]
    assert arrived(nine, crafted.echo_reply(way.back, number)) == [SITE.homes()[way.source]]
    assert arrived(nine, crafted.echo(way.back, next(numbers))) == [], "x/a asks nobody"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_errors_about_a_connection_always_pass(nine: Enforced, way: Way, protocol: str) -> None:
    become(nine, ONLY_IN)
    number = next(numbers)
    opening = crafted.opening(protocol, way, number)
    assert arrived(nine, opening) == [A]
    answer = crafted.unreachable(way.back, opening)
    assert _errors(nine, answer, way) == [SITE.homes()[way.source]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_errors_about_nothing_are_judged(nine: Enforced, way: Way, protocol: str) -> None:
    become(nine, ONLY_IN)
    never_sent = crafted.opening(protocol, way._replace(sport=1), next(numbers))
    assert _errors(nine, crafted.unreachable(way.back, never_sent), way) == []


def test_a_path_too_narrow_is_told(nine: Enforced, way: Way) -> None:
    """What path MTU discovery lives by: "packet too big", "fragmentation needed"."""
    become(nine, ONLY_IN)
    opening = crafted.segment(way, next(numbers))
    assert arrived(nine, opening) == [A]
    v4 = way.family is Family.IPV4
    protocol, head = (crafted.ICMP, b"\3\4\0\0\0\0\5\0") if v4 else (ICMPV6, b"\2\0\0\0\0\0\5\0")
    narrow = crafted.icmp(way.back, protocol, head + opening[:576])
    assert _errors(nine, narrow, way) == [SITE.homes()[way.source]]


def _errors(nine: Enforced, packet: bytes, way: Way) -> list[str]:
    """Where an ICMP error to the way's source comes out; it has no number of its own."""
    protocol = crafted.ICMP if way.family is Family.IPV4 else ICMPV6
    return [
        each.place
        for each in nine.stage.seen(packet)
        if crafted.protocol_of(each.packet) == protocol and packet[-40:] in each.packet
    ]


# --------------------------------------------------------------------------- neighbours

LOCK = cluster_policy("lock", egress=[deny(networks("::/0", "0.0.0.0/0"))], ingress=[deny()])
SOLICITED, ADVERTISED = 135, 136


def node_end(pod: str) -> str:
    """The link-local address of a node's end of a pod's link, which is made of its MAC address."""
    return f"fe80::ff:fe00:{0x100 + packet_site.number_of(SITE, pod):x}"


def solicitation(source: str, target: str) -> bytes:
    """Who has this address? Asked of it alone, as a neighbour that is known already is asked."""
    body = struct.pack(">BBHI", SOLICITED, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, target)
    return crafted.icmp(Way(source, target), ICMPV6, body, hops=255)


def advertisement(source: str, destination: str, mac: str) -> bytes:
    """I have my address, and this is where."""
    mine = socket.inet_pton(socket.AF_INET6, source)
    body = struct.pack(">BBHI", ADVERTISED, 0, 0, 0x60000000) + mine
    body += b"\2\1" + bytes.fromhex(mac.replace(":", ""))
    return crafted.icmp(Way(source, destination), ICMPV6, body, hops=255)


@pytest.mark.parametrize("locked", [DENY, LOCK], ids=["NetworkPolicy", "ClusterNetworkPolicy"])
def test_a_pod_finds_its_node(nine: Enforced, locked: KubernetesObject) -> None:
    become(nine, locked)
    found = nine.stage.seen(solicitation(address(A, Family.IPV6), node_end(A)), place=A)
    assert (A, ADVERTISED) in [(each.place, crafted.kind_of(each.packet)) for each in found]


@pytest.mark.parametrize("locked", [DENY, LOCK], ids=["NetworkPolicy", "ClusterNetworkPolicy"])
def test_a_node_finds_its_pod(nine: Enforced, locked: KubernetesObject) -> None:
    become(nine, locked)
    pod, device = address(A, Family.IPV6), packet_site.pod_device(SITE, A)
    node = nine.stage.netns["n1"]
    node.run("ip", "-6", "neigh", "del", pod, "dev", device)
    try:
        number = next(numbers)
        probe = crafted.segment(Way(SITE.nodes["n1"][1], pod, 7, 80), number)
        heard = nine.stage.seen(probe)
        asked = [each for each in heard if crafted.kind_of(each.packet) == SOLICITED]
        assert {each.place for each in asked} == {A}
        mac = packet_site.mac(2, packet_site.number_of(SITE, A))
        answer = advertisement(pod, crafted.source_of(asked[0].packet), mac)
        assert number in [each.number for each in nine.stage.seen(answer, place=A)]
    finally:
        lladdr = packet_site.mac(2, packet_site.number_of(SITE, A))
        node.ip([f"neigh replace {pod} lladdr {lladdr} dev {device} nud permanent"])


# ---------------------------------------------------------------------- nobody's address

STRANGER = "w/a"  # no object tells of it in three_by_three; its addresses are n1's to give
ELSEWHERE = policy("z/some", podSelector=match(pod="none"), policyTypes=["Ingress"])


def with_stranger() -> dict[Probe, str]:
    """Both ways between it and pods of both nodes, and the world."""
    found = {}
    for family in FAMILIES:
        stranger = PLACES.addresses[STRANGER][family]
        for other in ("y/a", "y/b"):
            found[Probe(stranger, address(other, family), "TCP", 80)] = other
            found[Probe(address(other, family), stranger, "TCP", 80)] = STRANGER
        world = OUTSIDE[list(FAMILIES).index(family)]
        found[Probe(stranger, world, "TCP", 80)] = "outside"
        found[Probe(world, stranger, "TCP", 80)] = STRANGER
    return found


def attached(pod_: str | None) -> Attached:
    name = ObjectName(*pod_.split("/")) if pod_ else None
    return Attached.of("container/eth0", name, tuple(PLACES.addresses[STRANGER].values()), "u1")


@pytest.mark.parametrize(
    ("objects", "open_"),
    [
        pytest.param([], True, id="no policy anywhere"),
        pytest.param([ELSEWHERE], False, id="a policy anywhere"),
        pytest.param([LOCK_NONE := cluster_policy("c", ingress=[])], False, id="a cluster policy"),
        pytest.param([ELSEWHERE, attached(None)], True, id="held by no pod"),
        pytest.param([ELSEWHERE, attached("w/a")], True, id="a pod's whose namespace has none"),
        pytest.param([ELSEWHERE, attached("z/new")], False, id="a pod's whose namespace has one"),
        pytest.param([LOCK_NONE, attached("w/a")], False, id="a pod's under a cluster policy"),
    ],
)
def test_an_address_of_nobody(
    nine: Enforced, objects: list[KubernetesObject], *, open_: bool
) -> None:
    become(nine, *objects)
    asked = with_stranger()
    wanted = asked if open_ else dict.fromkeys(asked, "")
    assert nine.stage.ask(asked) == wanted
    assert nine.wanted(asked) == wanted


def test_a_node_reaches_an_address_of_nobody(nine: Enforced) -> None:
    """A probe of kubelet's comes before the API server tells whose address it is."""
    become(nine, ELSEWHERE)
    own = SITE.nodes["n1"][0]
    probe = Probe(own, PLACES.addresses[STRANGER][Family.IPV4], "TCP", 80)
    assert nine.stage.ask([probe]) == {probe: STRANGER} == nine.wanted([probe])
