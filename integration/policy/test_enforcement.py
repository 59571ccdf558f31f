"""The kernel enforces what the oracle says, for every pair at once."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from itertools import product

import pytest
from policy_machine import ADDRESSES, Machine, Probe
from policy_model import (
    NodeRules,
    block,
    expression,
    match,
    namespace,
    namespaces,
    node,
    pod,
    pods,
    policy,
    port,
)
from scratch import until

from podwire_core.family import Family
from podwire_core.objects import KubernetesObject, NetworkPolicy, Protocol
from podwire_core.snapshot import Change, Snapshot
from podwire_policy import oracle

SERVED = [(f"serve-{n}", proto, n) for n in (80, 81) for proto in ("TCP", "UDP")]
PODS = {name: ips for name, ips in ADDRESSES.items() if name != "outside"}
WEB, APP, DB, CLIENT = (ips[0] for ips in PODS.values())
DENY_ALL = policy("shop/deny", policyTypes=["Ingress", "Egress"])
OBJECTS = [
    node("n1"),
    *(namespace(name, team=name) for name in ("shop", "data", "other")),
    *(pod(name, *ips, labels={"app": name.split("/")[1]}, ports=SERVED)
      for name, ips in PODS.items()),
]  # fmt: skip

TABLES = {
    "no policy at all": [],
    "default deny of one namespace": [DENY_ALL],
    "pods, namespaces, and both": [
        policy("shop/web", podSelector=match(app="web"), ingress=[
            {"from": [pods(match(app="app")), namespaces(match(team="data"))]}]),
        policy("data/db", ingress=[{"from": [
            {**namespaces(match(team="shop")), **pods(expression("app", "NotIn", "web"))}]}]),
    ],
    "ports, ranges, names and a whole protocol": [
        policy("shop/web", podSelector=match(app="web"), ingress=[
            {"ports": [port(70, end=80), port(1000), port(protocol="UDP")]}]),
        policy("data/db", ingress=[{"ports": [port("serve-81"), port(80, "UDP")]}]),
        policy("other/client", ingress=[{"ports": [port(80, "SCTP")]}]),
    ],
    "egress by name, by block, by selector": [
        policy("shop/out", policyTypes=["Egress"], egress=[
            {"to": [namespaces(match(team="data"))], "ports": [port("serve-80", "UDP")]},
            {"to": [block("203.0.113.0/24"), block("2001:db8::/32", "2001:db8:9::/48")]}]),
        policy("other/out", policyTypes=["Egress"], egress=[
            {"to": [block("0.0.0.0/0", "10.244.1.2/31")]}, {"ports": [port(81)]}]),
    ],
    "egress of one and ingress of the other": [
        policy("shop/out", podSelector=match(app="app"), policyTypes=["Egress"], egress=[
            {"to": [namespaces({})]}]),
        policy("data/in", ingress=[{"from": [namespaces(match(team="shop"))],
                                    "ports": [port(80)]}]),
    ],
}  # fmt: skip


class Enforced:
    """Policies of node n1, in the machine's kernel."""

    def __init__(self, machine: Machine, *policies: NetworkPolicy) -> None:
        self.snapshot = Snapshot()
        self.rules = NodeRules("n1", machine.kernel)
        self.apply(*OBJECTS, *policies)

    def apply(self, *objects: KubernetesObject) -> None:
        self.change(Change(type(each), each.name, each) for each in objects)

    def remove(self, *objects: KubernetesObject) -> None:
        self.change(Change(type(each), each.name, None) for each in objects)

    def change(self, changes: Iterable[Change]) -> None:
        changes = list(changes)
        for each in changes:
            self.snapshot.apply(each)
        self.rules.update(self.snapshot, changes)

    def allows(self, source: str, destination: str, protocol: str, number: int) -> bool:
        way = (Protocol(protocol), number)
        return oracle.judge(self.snapshot, source, destination, *way).allowed


def probes(machine: Machine) -> list[Probe]:
    """Every pair of one family, the node and one outside among them."""
    return [
        Probe(source, destination, protocol, number)
        for family in Family
        for source, destination in product(machine.everyone(family), repeat=2)
        for protocol, number in product(("TCP", "UDP"), (80, 81))
    ]


@pytest.mark.parametrize("policies", TABLES.values(), ids=TABLES)
def test_the_kernel_enforces_what_the_oracle_says(
    machine: Machine, policies: list[NetworkPolicy]
) -> None:
    made = Enforced(machine, *policies)
    wanted = {probe: made.allows(*probe) for probe in probes(machine)}
    answers = machine.ask(wanted)
    assert {probe: answers[probe] for probe in wanted if answers[probe] != wanted[probe]} == {}


# ---------------------------------------------------------------------------- Services

SERVICE = """
    table ip pwt-service {{
        chain prerouting {{
            type nat hook prerouting priority -100;
            ip daddr 10.96.0.1 dnat to {web}
        }}
        chain postrouting {{
            type nat hook postrouting priority 100;
            ip saddr {web} ip daddr {web} masquerade
        }}
    }}
"""
VIP = "10.96.0.1"


def test_policies_see_the_pod_behind_a_service(machine: Machine) -> None:
    machine.node.run("nft", SERVICE.format(web=WEB))
    Enforced(
        machine,
        policy("shop/web", podSelector=match(app="web"), policyTypes=["Ingress", "Egress"],
               ingress=[{"from": [pods(match(app="app"))]}]),
        policy("data/out", policyTypes=["Egress"], egress=[{"to": [block("10.96.0.0/16")]}]),
    )  # fmt: skip
    app, db, client = (Probe(source, VIP, "TCP", 80) for source in (APP, DB, CLIENT))
    assert machine.ask([app, db, client]) == {app: True, db: False, client: False}


def test_a_pod_reaches_itself_through_its_own_service(machine: Machine) -> None:
    machine.node.run("nft", SERVICE.format(web=WEB))
    Enforced(machine, DENY_ALL)
    own, other = Probe(WEB, VIP, "TCP", 80), Probe(APP, VIP, "TCP", 80)
    assert machine.ask([own, other]) == {own: True, other: False}


# ------------------------------------------------------------------------- connections


def test_an_established_connection_survives_a_default_deny(machine: Machine) -> None:
    made = Enforced(machine)
    with machine.connect(CLIENT, WEB, socket.SOCK_STREAM, 80) as connection:
        until("the connection is made", lambda: sent(connection, b"before"))
        until("its echo comes", lambda: received(connection) == b"before")
        made.apply(DENY_ALL)
        new = Probe(CLIENT, WEB, "TCP", 80)
        assert machine.ask([new]) == {new: False}
        connection.send(b"after")
        until("the old connection goes on", lambda: received(connection) == b"after")


def sent(connection: socket.socket, data: bytes) -> bool:
    try:
        return connection.send(data) == len(data)
    except (BlockingIOError, OSError):
        return False


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(64)
    except BlockingIOError:
        return b""


def test_a_deleted_policy_opens_again_at_once(machine: Machine) -> None:
    made = Enforced(machine, DENY_ALL)
    probe = Probe(CLIENT, WEB, "TCP", 80)
    assert machine.ask([probe]) == {probe: False}
    made.remove(DENY_ALL)
    assert machine.ask([probe]) == {probe: True}


def test_a_drop_is_counted_under_the_names_of_the_policies(machine: Machine) -> None:
    Enforced(machine, DENY_ALL)
    machine.ask([Probe(CLIENT, WEB, "TCP", 80)])
    listed = machine.node.run("nft", "list", "table", "ip", "podwire-policy").splitlines()
    counted = [line for line in listed if "counter packets 1 " in line]
    assert len(counted) == 1
    assert "ingress isolated by shop/deny" in counted[0]
