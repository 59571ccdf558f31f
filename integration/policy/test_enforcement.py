"""The kernel enforces what the oracle says, for nodes and the world outside as for pods."""

from __future__ import annotations

from itertools import product

import pytest
from cluster_policy_model import (
    accept,
    cluster_policy,
    deny,
    named_port,
    networks,
    nodes,
    of_namespaces,
    of_pods,
    pass_,
    sctp,
    tcp,
    udp,
)
from enforced import Enforced
from nine_pods import SITE
from packet_stage import Probe
from policies.three_by_three import NAME, PORTS, PROTOCOLS, address, addresses, everyone, vip
from policy_model import (
    NODES,
    block,
    expression,
    match,
    namespaces,
    pod,
    pods,
    policy,
    port,
)

from podwire_core.family import FAMILIES, family_of
from podwire_core.objects import KubernetesObject

BOTH = ["Ingress", "Egress"]
DENY_ALL = policy("x/deny", policyTypes=BOTH)
LATE = "2030-01-01T00:00:00Z"

TABLES: dict[str, list[KubernetesObject]] = {
    "no policy at all": [],
    "default deny of one namespace": [DENY_ALL],
    "default deny of everyone": [policy(f"{ns}/deny", policyTypes=BOTH) for ns in "xyz"],
    "pods, namespaces, and both": [
        policy("x/a", podSelector=match(pod="a"), ingress=[
            {"from": [pods(match(pod="b")), namespaces(match(**{NAME: "y"}))]}]),
        policy("y/all", ingress=[{"from": [
            {**namespaces(match(**{NAME: "x"})), **pods(expression("pod", "NotIn", "a"))}]}]),
    ],
    "ports, ranges, names and a whole protocol": [
        policy("x/a", podSelector=match(pod="a"), ingress=[
            {"ports": [port(70, end=80), port(1000), port(protocol="UDP")]}]),
        policy("y/all", ingress=[{"ports": [port("serve-81-tcp"), port(80, "UDP")]}]),
        policy("z/all", ingress=[{"ports": [port(80, "SCTP")]}]),
    ],
    "egress by name, by block, by selector": [
        policy("x/out", policyTypes=["Egress"], egress=[
            {"to": [namespaces(match(**{NAME: "y"}))], "ports": [port("serve-80-udp", "UDP")]},
            {"to": [block("203.0.113.0/24"), block("2001:db8::/32", "2001:db8:9::/48")]}]),
        policy("z/out", policyTypes=["Egress"], egress=[
            {"to": [block("0.0.0.0/0", "10.244.1.2/31")]}, {"ports": [port(81)]}]),
    ],
    "ingress from nodes and from outside": [
        policy("x/in", ingress=[{"from": [block("203.0.113.0/24"), block("fd01::/64")]}]),
        policy("y/in", ingress=[{"from": [block(f"{NODES['n2'][0]}/32")]}]),
    ],
    "egress of one and ingress of the other": [
        policy("x/out", podSelector=match(pod="a"), policyTypes=["Egress"], egress=[
            {"to": [namespaces({})]}]),
        policy("y/in", ingress=[{"from": [namespaces(match(**{NAME: "x"}))], "ports": [port(80)]}]),
    ],
    "administrators before namespaces": [
        cluster_policy("first", priority=1, subject=of_pods(match(pod="a")), ingress=[
            accept(of_namespaces(match(**{NAME: "y"})), on=[tcp(80)]),
            pass_(of_namespaces(match(**{NAME: "z"})), on=[udp(80, 81), sctp()])]),
        cluster_policy("second", priority=2, ingress=[deny(on=[tcp(), udp(80)])]),
        DENY_ALL,
    ],
    "administrators about nodes, networks and names": [
        cluster_policy("out", egress=[
            accept(networks("203.0.113.0/24", "2001:db8::/32"), on=[tcp(81)]),
            deny(networks("203.0.0.0/8", "2001:db8:9::9/128")),
            deny(nodes({}), on=[udp()]),
            deny(of_pods(match(pod="b")), on=[named_port("serve-81-tcp")])]),
    ],
    "a baseline for whom nothing isolates": [
        cluster_policy("base", tier="Baseline", ingress=[deny(of_namespaces({}))],
                       egress=[deny(networks("203.0.113.0/24"), on=[sctp(80)])]),
        policy("x/in", podSelector=match(pod="a"), ingress=[{"ports": [port(80)]}]),
    ],
    "what is not understood": [
        cluster_policy("odd", priority=5, subject=of_namespaces(match(**{NAME: "y"})), ingress=[
            accept({"domainNames": ["*.example.org"]}), accept(on=[tcp(80)]), deny(telepathy=1)]),
    ],
}  # fmt: skip


SOME = ("x/a", "x/b", "y/a", "y/b", "z/c")
OTHERS = (*SITE.outside, *(each for row in NODES.values() for each in row))


def pairs() -> list[Probe]:
    """Some pods, both nodes and the host outside: every pair of one family with a pod in it."""
    homes = SITE.homes()
    ends = [*OTHERS, *(each for name in SOME for each in addresses(name))]
    return [
        Probe(source, destination, protocol, number)
        for source, destination in product(ends, ends)
        if family_of(source) is family_of(destination)
        and homes[source] != homes[destination]
        and (source not in OTHERS or destination not in OTHERS)
        for protocol, number in product(PROTOCOLS, PORTS)
    ]


@pytest.mark.parametrize("policies", TABLES.values(), ids=TABLES)
def test_the_kernel_enforces_what_the_oracle_says(
    nine: Enforced, policies: list[KubernetesObject]
) -> None:
    nine.become([*everyone(), *policies])
    assert nine.differing(pairs()) == {}


# ------------------------------------------------------------------------------- by name


@pytest.mark.parametrize("at", [0, 1], ids=["IPv4", "IPv6"])
def test_a_pod_and_its_own_node_always_reach_each_other(nine: Enforced, at: int) -> None:
    nine.become([*everyone(), DENY_ALL])
    mine, own, other = addresses("x/a")[at], NODES["n1"][at], NODES["n2"][at]
    asked = {
        Probe(mine, own, "TCP", 80): "n1",
        Probe(own, mine, "TCP", 80): "x/a",
        Probe(mine, other, "TCP", 80): "",
        Probe(other, mine, "TCP", 80): "",
    }
    assert nine.stage.ask(asked) == asked


def test_a_cluster_policy_keeps_a_pod_from_its_own_node(nine: Enforced) -> None:
    lock = cluster_policy("lock", egress=[deny(networks("0.0.0.0/0"))])
    nine.become([*everyone(), lock])
    v4, v6 = addresses("x/a")
    asked = {
        Probe(v4, NODES["n1"][0], "TCP", 80): "",
        Probe(v6, NODES["n1"][1], "TCP", 80): "n1",
        **{Probe(own, to, "TCP", 80): "x/a" for own, to in zip(NODES["n1"], (v4, v6), strict=True)},
    }
    assert nine.stage.ask(asked) == asked


def test_policies_see_the_pod_behind_a_service(nine: Enforced) -> None:
    nine.become([
        *everyone(),
        policy("x/in", podSelector=match(pod="a"), ingress=[{"from": [pods(match(pod="b"))]}]),
        policy("y/out", policyTypes=["Egress"], egress=[
            {"to": [block("10.96.0.0/16"), block("fd00:96::/64")]}]),
    ])  # fmt: skip
    asked = {
        Probe(address(source, family), vip(to, family), protocol, 80): reached
        for family, protocol in product(FAMILIES, PROTOCOLS)
        for source, to, reached in (
            ("x/b", "x/a", "x/a"),
            ("z/a", "x/a", ""),
            ("y/a", "z/a", ""),  # the Service's address is allowed, which no packet has any more
        )
    }
    assert nine.stage.ask(asked) == asked


def test_a_pod_reaches_itself_through_its_own_service(nine: Enforced) -> None:
    nine.become([*everyone(), DENY_ALL])
    asked = {
        Probe(address(source, family), vip("x/a", family), protocol, 80): reached
        for family, protocol in product(FAMILIES, PROTOCOLS)
        for source, reached in (("x/a", "x/a"), ("x/c", ""))
    }
    assert nine.stage.ask(asked) == asked


def test_a_cluster_policy_keeps_a_pod_from_itself_through_its_own_service(nine: Enforced) -> None:
    nine.become([*everyone(), cluster_policy("lock", ingress=[deny()])])
    asked = {
        Probe(address("x/a", family), vip("x/a", family), "TCP", 80): "" for family in FAMILIES
    }
    assert nine.stage.ask(asked) == asked


def test_a_deleted_policy_opens_again_at_once(nine: Enforced) -> None:
    probe = Probe(address("z/a"), address("x/a"), "TCP", 80)
    nine.become([*everyone(), DENY_ALL])
    assert nine.stage.ask([probe]) == {probe: ""}
    nine.remove(DENY_ALL)
    assert nine.stage.ask([probe]) == {probe: "x/a"}


def test_an_address_passes_from_a_finished_pod_to_the_next(nine: Enforced) -> None:
    """What the old pod was allowed is not the new one's, in whichever order they are told."""
    nine.become([*everyone(), policy("x/a", podSelector=match(pod="a"), ingress=[
        {"from": [pods(match(pod="c"))]}])])  # fmt: skip
    probe = Probe(address("x/c"), address("x/a"), "TCP", 80)
    assert nine.stage.ask([probe]) == {probe: "x/a"}
    new = pod("y/new", *addresses("x/c"), labels={"pod": "c"}, meta={"creationTimestamp": LATE})
    nine.apply(new)
    assert nine.stage.ask([probe]) == {probe: ""}, "the younger pod has the address"
    nine.remove(new)
    assert nine.stage.ask([probe]) == {probe: "x/a"}
    nine.apply(pod("x/c", *addresses("x/c"), labels={"pod": "c"}, phase="Succeeded"), new)
    assert nine.stage.ask([probe]) == {probe: ""}, "a finished pod has none"


def test_a_drop_is_counted_under_the_names_of_the_policies(nine: Enforced) -> None:
    nine.become(everyone())
    nine.apply(DENY_ALL)
    nine.stage.ask([Probe(address("z/a"), address("x/a"), "TCP", 80)])
    listed = nine.stage.netns["n1"].run("nft", "list", "table", "ip", "podwire-policy")
    counted = [line for line in listed.splitlines() if "counter packets 1 " in line]
    assert len(counted) == 1
    assert "ingress isolated by x/deny" in counted[0]
