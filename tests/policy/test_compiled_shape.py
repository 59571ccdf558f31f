"""How compiled rules look: what is shared, what costs nothing, what names say."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from cluster_policy_model import accept, cluster_policy, deny, named_port, of_namespaces, tcp
from policy_model import Cluster, block, match, namespaces, pod, pods, policy, port
from semantics_model import APP, OLD, WEB, allowed, cluster, ingress

from podwire_core.delta import Delta
from podwire_core.family import Family
from podwire_core.nft.objects import Chain
from podwire_core.nft.transaction import transaction


def test_a_drop_names_the_policies_that_isolate() -> None:
    trace = cluster(policy("shop/a"), policy("shop/b")).traces(APP, WEB)[-1]
    assert trace.steps[-1].why == "ingress isolated by shop/a, shop/b"


def test_an_accepted_rule_is_named() -> None:
    trace = cluster(ingress({"ports": [port(80)]})).traces(APP, WEB)[-1]
    assert "shop/p ingress[0]" in [step.why for step in trace.steps]


@pytest.fixture
def names() -> Callable[[Cluster, str], list[str]]:
    """Names of the sets of node 1 that begin so, in the IPv4 table."""

    def find(made: Cluster, prefix: str) -> list[str]:
        keys = made.nodes["n1"].policies.wanted
        return [key[3] for key in keys if key[:3] == ("ip", "podwire-policy", "set")
                and key[3].startswith(prefix)]  # fmt: skip

    return find


def test_policies_that_say_the_same_share_their_sets(
    names: Callable[[Cluster, str], list[str]],
) -> None:
    rule = {"from": [{**namespaces({}), **pods(match(a="1", b="2"))}, block("10.0.0.0/8")],
            "ports": [port(1), port(3), port("http")]}  # fmt: skip
    turned = {"from": [block("10.128.0.0/9"), block("10.0.0.0/9"),
                       {**namespaces({}), **pods(match(b="2", a="1"))}],
              "ports": [port("http"), port(3), port(1)]}  # fmt: skip
    made = cluster(
        policy("shop/one", ingress=[rule]),
        policy("shop/two", policyTypes=["Egress"], egress=[{**turned, "to": turned.pop("from")}]),
    )
    for prefix in ("peers-", "cidrs-", "ports-", "named-"):
        assert len(names(made, prefix)) == 1, prefix


def test_all_names_of_a_rule_are_one_way(names: Callable[[Cluster, str], list[str]]) -> None:
    """Peers times names would end an agent with a policy of a few kilobytes."""
    peers = [pods(match(app=f"app{n}")) for n in range(50)]
    listed = [port(f"p{n}", ("TCP", "UDP")[n % 2]) for n in range(50)]
    made = cluster(ingress({"from": peers, "ports": [*listed, port(80), port(53, "UDP")]}))
    assert len(names(made, "named-")) == 1
    (chain,) = (
        each
        for each in made.nodes["n1"].policies.wanted.values()
        if isinstance(each, Chain) and each.table.family is Family.IPV4
        and each.name.startswith("ingress-") and "isolated by" in each.rules[-1].why
    )  # fmt: skip
    assert len(chain.rules) == 50 * 3 + 2, "a number of TCP, one of UDP, and names; the last words"


def test_a_whole_protocol_needs_no_names_of_it(
    names: Callable[[Cluster, str], list[str]],
) -> None:
    made = cluster(ingress({"ports": [port(), port("http"), port(80)]}))
    assert not names(made, "named-")
    assert allowed(made, APP, WEB, "TCP", 8080)


def test_a_pod_with_two_of_the_names_serves_both() -> None:
    made = cluster(ingress({"ports": [port("http"), port("dns", "UDP"), port("other")]}))
    assert allowed(made, APP, WEB, "TCP", 8080)
    assert allowed(made, APP, WEB, "UDP", 53)
    assert not allowed(made, APP, WEB, "TCP", 5353)
    made.apply(pod("shop/web", WEB, labels={"app": "web"}, ports=[("dns", "UDP", 53)]))
    assert not allowed(made, APP, WEB, "TCP", 8080)
    assert allowed(made, APP, WEB, "UDP", 53)


@pytest.mark.parametrize(
    "strange",
    ["\ud800", 'a" ; }', "a/TCP, b", "ö" * 63],
    ids=["surrogate", "quotes", "slash", "long"],
)
def test_the_name_of_a_port_may_hold_anything(strange: str) -> None:
    """No pod has such a port, and the rest of the policy counts."""
    one = accept(of_namespaces({}), on=[named_port(strange), tcp(80)])
    made = cluster(cluster_policy("guard", ingress=[one, deny()]))
    assert allowed(made, APP, WEB)
    assert not allowed(made, APP, WEB, "TCP", 8080)
    assert '" ; }' not in str(transaction(Delta(added=made.nodes["n1"].policies.wanted)))


@pytest.mark.parametrize(("everything", "bits"), [("0.0.0.0/0", 32), ("::/0", 128)])
def test_excepts_cost_an_interval_each(everything: str, bits: int) -> None:
    start = int(ip_address(everything.partition("/")[0]))
    kind = IPv4Address if bits == 32 else IPv6Address
    holes = [f"{kind(start + 1000 * n)}/{bits}" for n in range(1, 101)]
    made = cluster(ingress({"from": [block(everything, *holes)]}))
    keys = [key for key in made.nodes["n1"].policies.wanted if len(key) == 5]
    assert sum(key[3].startswith("cidrs-") for key in keys) == 101


def test_pods_that_the_same_policies_isolate_share_a_chain() -> None:
    made = cluster(policy("shop/p"))
    chains = _chains(made)
    made.apply(*(pod(f"shop/web{n}", f"10.244.3.{n}") for n in range(1, 9)))
    assert _chains(made) == chains
    assert len(chains) == len(_chains(cluster())) + 2, "one group, in both families"


def _chains(made: Cluster) -> list[tuple[str, ...]]:
    return [key for key in made.nodes["n1"].policies.wanted if key[2:3] == ("chain",)]


def test_a_policy_without_a_subject_on_the_node_costs_nothing_there() -> None:
    made = cluster(ingress({"from": [namespaces({})]}))
    assert made.nodes["n2"].policies.wanted == cluster().nodes["n2"].policies.wanted


@pytest.mark.parametrize(
    "gone",
    [{"phase": "Succeeded"}, {"phase": "Failed"}, {"host_network": True},
     {"host_network": True, "phase": "Pending"}],
    ids=str,
)  # fmt: skip
def test_a_pod_without_a_network_of_its_own_is_nobodys_subject(gone: dict[str, Any]) -> None:
    only = policy("shop/p", podSelector=match(app="job"), policyTypes=["Ingress", "Egress"])
    made = cluster(only, pod("shop/job", OLD, labels={"app": "job"}, **gone))
    assert made.nodes["n1"].policies.wanted == cluster().nodes["n1"].policies.wanted


def test_no_name_is_longer_than_old_tools_take() -> None:
    made = cluster(ingress({"from": [namespaces({})], "ports": [port("http"), port(1, end=9)]}))
    assert max(len(key[3]) for key in made.nodes["n1"].policies.wanted if len(key) > 2) <= 31
