"""The truth tables of Kubernetes' own e2e suite (test/e2e/network/netpol), TCP and UDP.

Upstream asks from pod to pod; here every pair is asked in both families, the diagonal too
(which upstream leaves undefined and podwire always allows). `blocked` is the table.
"""

# ruff: noqa: ARG005 - every table is asked with the same four columns

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from policy_model import (
    Cluster,
    address,
    block,
    expression,
    match,
    namespace,
    namespaces,
    person,
    pods,
    policy,
    port,
    probes,
    three_by_three,
)

from podwire_core.family import FAMILIES
from podwire_core.objects import NetworkPolicy

Table = Callable[[str, str, str, int], bool]

INGRESS, EGRESS = ["Ingress"], ["Egress"]
NAME_Y = {"kubernetes.io/metadata.name": "y"}


@dataclass(frozen=True)
class Row:
    name: str
    policies: Sequence[NetworkPolicy]
    blocked: Table


def hold(cluster: Cluster, blocked: Table) -> None:
    """Oracle and rules both say what the table says."""
    for source, destination, protocol, number in probes():
        wanted = source == destination or not blocked(source, destination, protocol, number)
        asked = (source, destination, protocol, number)
        assert cluster.judge(*asked).allowed is wanted, asked
        for family in FAMILIES:
            ends = (address(source, family), address(destination, family))
            assert cluster.reaches(*ends, protocol, number) is wanted, (*asked, family)


def to(name: str, **spec: object) -> NetworkPolicy:
    """Ingress policy on x/a."""
    return policy(name, podSelector=match(pod="a"), **spec)


def onto_a(*allowed: str) -> Table:
    """x/a hears only these ("y/" is all of y)."""
    return lambda s, d, *_: d == "x/a" and not s.startswith(allowed or "none")


ROWS = [
    Row("1 default deny ingress", [policy("x/deny", policyTypes=INGRESS)],
        lambda s, d, *_: d[0] == "x"),
    Row("2 default deny all", [policy("x/deny", policyTypes=[*INGRESS, *EGRESS])],
        lambda s, d, *_: "x" in (s[0], d[0])),
    Row("3 from pods of the server's namespace, by podSelector",
        [to("x/p", ingress=[{"from": [pods(match(pod="b"))]}])], onto_a("x/b")),
    Row("4 to one target only", [to("x/p", ingress=[{"from": [pods(match(pod="c"))]}])],
        onto_a("x/c")),
    Row("5 from all namespaces", [to("x/p", ingress=[{"from": [namespaces({})]}])],
        lambda *_: False),
    Row("6 from another namespace only",
        [to("x/p", ingress=[{"from": [namespaces(match(ns="y"))]}])], onto_a("y/")),
    Row("7 pods by matchExpressions",
        [to("x/p", ingress=[{"from": [pods(expression("pod", "In", "b"))]}])], onto_a("x/b")),
    Row("8 namespaces by matchExpressions",
        [to("x/p", ingress=[{"from": [namespaces(expression("ns", "In", "y"))]}])], onto_a("y/")),
    Row("9 pods or namespaces",
        [to("x/p", ingress=[{"from": [namespaces(match(ns="y")), pods(match(pod="b"))]}])],
        onto_a("y/", "x/b")),
    Row("10 pods and namespaces",
        [to("x/p", ingress=[{"from": [{**namespaces(match(ns="y")), **pods(match(pod="b"))}]}])],
        onto_a("y/b")),
    Row("11 several pods of several namespaces",
        [to("x/p", ingress=[{"from": [{**namespaces(expression("ns", "NotIn", "x")),
                                       **pods(expression("pod", "In", "b", "c"))}]}])],
        onto_a("y/b", "y/c", "z/b", "z/c")),
    Row("12 any of several podSelectors",
        [to("x/p", ingress=[{"from": [pods(match(pod="b")), pods(match(pod="c"))]}])],
        onto_a("x/b", "x/c")),
    Row("13 one pod of one other namespace",
        [to("x/p", ingress=[{"from": [{**namespaces(match(ns="y")), **pods(match(pod="a"))}]}])],
        onto_a("y/a")),
    Row("14 by port", [to("x/p", ingress=[{"from": [namespaces(match(ns="y"))],
                                           "ports": [port(81)]}])],
        lambda s, d, proto, n: d == "x/a" and (s[0], proto, n) != ("y", "TCP", 81)),
    Row("15 stacked policies with overlapping podSelectors",
        [to("x/p", ingress=[{"from": [namespaces(match(ns="y"))], "ports": [port(81)]}]),
         to("x/q", ingress=[{"from": [namespaces(match(ns="y"))], "ports": [port(80)]}])],
        lambda s, d, proto, n: d == "x/a" and (s[0], proto) != ("y", "TCP")),
    Row("16 allow all", [policy("x/allow", ingress=[{}])], lambda *_: False),
    Row("17 one named port", [to("x/p", ingress=[{"ports": [port("serve-81-tcp")]}])],
        lambda s, d, proto, n: d == "x/a" and (proto, n) != ("TCP", 81)),
    Row("18 one named port from one namespace",
        [to("x/p", ingress=[{"from": [namespaces(match(ns="y"))],
                             "ports": [port("serve-80-tcp")]}])],
        lambda s, d, proto, n: d == "x/a" and (s[0], proto, n) != ("y", "TCP", 80)),
    Row("19 egress on one named port",
        [to("x/p", policyTypes=EGRESS, egress=[{"ports": [port("serve-80-tcp")]}])],
        lambda s, d, proto, n: s == "x/a" and (proto, n) != ("TCP", 80)),
    Row("23 an empty podSelector is the policy's own namespace",
        [to("x/p", ingress=[{"from": [pods({})]}])], onto_a("x/")),
    Row("25 egress denied from pods by podSelector", [to("x/p", policyTypes=EGRESS)],
        lambda s, d, *_: s == "x/a"),
    Row("26 egress denied from a whole namespace", [policy("x/p", policyTypes=EGRESS)],
        lambda s, d, *_: s[0] == "x"),
    Row("27 ingress and egress together",
        [to("x/p", policyTypes=[*INGRESS, *EGRESS],
            ingress=[{"from": [namespaces(match(ns="y"))]}], egress=[{"ports": [port(80)]}])],
        lambda s, d, proto, n: (d == "x/a" and s[0] != "y")
        or (s == "x/a" and (proto, n) != ("TCP", 80))),
    Row("28 egress denied although the server allows it",
        [to("x/p", policyTypes=EGRESS, egress=[{"to": [namespaces(match(ns="z"))]}]),
         policy("y/p", ingress=[{"from": [namespaces(match(ns="x"))]}])],
        lambda s, d, *_: (s == "x/a" and d[0] != "z") or (d[0] == "y" and s[0] != "x")),
    Row("29 egress to a pod of another namespace",
        [to("x/p", policyTypes=EGRESS,
            egress=[{"to": [{**namespaces(match(ns="y")), **pods(match(pod="b"))}]}])],
        lambda s, d, *_: s == "x/a" and d != "y/b"),
    Row("30 any port of one protocol", [to("x/p", ingress=[{"ports": [port()]}])],
        lambda s, d, proto, n: d == "x/a" and proto == "UDP"),
    Row("31 allow all ingress wins over others",
        [policy("x/deny", policyTypes=INGRESS), policy("x/allow", ingress=[{}])],
        lambda *_: False),
    Row("32 allow all egress wins over others",
        [policy("x/deny", policyTypes=EGRESS), policy("x/allow", policyTypes=EGRESS, egress=[{}])],
        lambda *_: False),
    Row("34 egress to one pod by its CIDR",
        [to("x/p", policyTypes=EGRESS,
            egress=[{"to": [block("10.244.0.5/32"), block("fd00::5/128")]}])],
        lambda s, d, *_: s == "x/a" and d != "y/b"),
    Row("35 except cuts a pod out",
        [to("x/p", policyTypes=EGRESS,
            egress=[{"to": [block("10.0.0.0/8", "10.244.0.5/32"),
                            block("fd00::/16", "fd00::5/128")]}])],
        lambda s, d, *_: s == "x/a" and d == "y/b"),
    Row("36 another block allows what an except cut out",
        [to("x/p", policyTypes=EGRESS,
            egress=[{"to": [block("10.0.0.0/8", "10.244.0.5/32"), block("10.244.0.5/32"),
                            block("fd00::/16", "fd00::5/128"), block("fd00::5/128")]}])],
        lambda *_: False),
    Row("37 ingress and egress are independent",
        [to("x/in", ingress=[{"from": [pods(match(pod="b"))]}]),
         to("x/out", policyTypes=EGRESS, egress=[{"to": [pods(match(pod="b"))]}])],
        lambda s, d, *_: (d == "x/a" and s != "x/b") or (s == "x/a" and d != "x/b")),
    Row("38 and 39 SCTP isolates and is not taken for TCP",
        [to("x/p", ingress=[{"ports": [port(80, "SCTP")]}])], lambda s, d, *_: d == "x/a"),
    Row("40 UDP is not taken for TCP", [to("x/p", ingress=[{"ports": [port(81, "UDP")]}])],
        lambda s, d, proto, n: d == "x/a" and (proto, n) != ("UDP", 81)),
    Row("41 a namespace by its default label",
        [to("x/p", ingress=[{"from": [namespaces(match(**NAME_Y))]}])],
        onto_a("y/")),
    Row("42 egress to namespaces NotIn, by the default label",
        [to("x/p", policyTypes=EGRESS, egress=[{"to": [
            namespaces(expression("kubernetes.io/metadata.name", "NotIn", "y"))]}])],
        lambda s, d, *_: s == "x/a" and d[0] == "y"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_table(row: Row) -> None:
    hold(three_by_three(*row.policies), row.blocked)


def test_20_an_updated_policy_counts() -> None:
    cluster = three_by_three(policy("x/p", ingress=[{}]))
    hold(cluster, lambda *_: False)
    cluster.apply(policy("x/p", policyTypes=INGRESS))
    hold(cluster, lambda s, d, *_: d[0] == "x")


def test_21_an_updated_namespace_counts() -> None:
    cluster = three_by_three(to("x/p", ingress=[{"from": [namespaces(match(trusted="yes"))]}]))
    hold(cluster, onto_a())
    cluster.apply(namespace("y", ns="y", trusted="yes"))
    hold(cluster, onto_a("y/"))


def test_22_an_updated_peer_counts() -> None:
    cluster = three_by_three(to("x/p", ingress=[{"from": [pods(match(trusted="yes"))]}]))
    hold(cluster, onto_a())
    cluster.apply(person("x/b", trusted="yes"))
    hold(cluster, onto_a("x/b"))


def test_24_an_updated_subject_counts() -> None:
    cluster = three_by_three(policy("x/p", podSelector=match(closed="yes"), policyTypes=INGRESS))
    hold(cluster, lambda *_: False)
    cluster.apply(person("x/a", closed="yes"))
    hold(cluster, onto_a())


def test_33_a_deleted_policy_counts_no_more() -> None:
    deny = policy("x/deny", policyTypes=[*INGRESS, *EGRESS])
    cluster = three_by_three(deny)
    hold(cluster, lambda s, d, *_: "x" in (s[0], d[0]))
    cluster.remove(deny)
    hold(cluster, lambda *_: False)
