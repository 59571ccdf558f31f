"""How compiled rules look: what is shared, what costs nothing, what names say."""

from collections.abc import Callable
from typing import Any

import pytest
from policy_model import Cluster, block, match, namespaces, pod, pods, policy, port
from semantics_model import APP, OLD, WEB, cluster, ingress


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
