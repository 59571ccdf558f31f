"""A policy that would make more than a node can bear: it fails closed, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cluster_policy_model import accept, cluster_policy, deny, networks, pass_
from policy_model import Cluster, block, match, pods, port
from semantics_model import APP, WEB, cluster, egress, ingress

from podwire_core.errors import ObjectError
from podwire_core.nft.objects import Chain
from podwire_core.objects import KubernetesObject
from podwire_policy import ways

#: Four ways through them: the most that there are.
EVERY_WAY = [port(80), port(53, "UDP"), port(9, "SCTP"), port("http")]


def selectors(number: int) -> list[dict[str, Any]]:
    return [pods(match(app=f"app{n}")) for n in range(number)]


def problems(made: Cluster) -> list[tuple[str, str]]:
    found = made.nodes["n1"].policies.problems
    return [(each.object, each.field) for each in found]


def rules(made: Cluster) -> int:
    wanted = made.nodes["n1"].policies.wanted.values()
    return sum(len(each.rules) for each in wanted if isinstance(each, Chain))


def test_peers_times_ports_is_bounded() -> None:
    bearable = ways.MAX_RULES // len(EVERY_WAY)
    made = cluster(ingress({"from": selectors(bearable), "ports": EVERY_WAY}))
    assert not problems(made)
    assert rules(made) > 2 * ways.MAX_RULES, "in both families"
    made.apply(ingress({"from": selectors(bearable + 1), "ports": EVERY_WAY}))
    assert problems(made) == [("NetworkPolicy shop/p", "spec.ingress")]
    assert rules(made) < 100


def test_rules_of_one_way_each_are_bounded() -> None:
    made = cluster(egress(*[{}] * (ways.MAX_RULES + 1)))
    assert problems(made) == [("NetworkPolicy shop/p", "spec.egress")]
    assert not made.reaches(WEB, APP)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a short policy passes."""
    monkeypatch.setattr(ways, "MAX_RULES", 8)
    monkeypatch.setattr(ways, "MAX_ELEMENTS", 8)


HOLES = [f"10.{n}.0.0/16" for n in range(1, 20, 2)]
LARGE = [
    pytest.param({"from": [block("10.0.0.0/8", *HOLES)]}, id="blocks"),
    pytest.param({"ports": [port(n) for n in range(80, 100, 2)]}, id="ports"),
    pytest.param({"from": [pods({}), *selectors(8)]}, id="peers"),
]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("rule", LARGE)
def test_it_isolates_and_allows_nothing(rule: dict[str, Any]) -> None:
    made = cluster(ingress({"from": [block(f"{APP}/32")]}, rule))
    assert not made.reaches(APP, WEB)
    assert problems(made) == [("NetworkPolicy shop/p", "spec.ingress")]
    assert made.reaches(WEB, APP), "its other direction is not concerned"


@pytest.mark.usefixtures("small")
def test_other_policies_of_the_pod_allow_what_they_allow() -> None:
    large = ingress({"from": selectors(9)}, name="shop/large")
    made = cluster(large, ingress({"ports": [port(80)]}))
    assert made.reaches(APP, WEB)
    assert not made.reaches(APP, WEB, "TCP", 81)
    assert problems(made) == [("NetworkPolicy shop/large", "spec.ingress")]


@pytest.mark.usefixtures("small")
def test_it_counts_again_when_it_is_small_enough() -> None:
    made = cluster(ingress({"from": selectors(9)}))
    assert not made.reaches(APP, WEB)
    made.apply(ingress({"from": [*selectors(8), pods(match(app="app"))][1:]}))
    assert not problems(made)
    made.apply(ingress({"from": [block(f"{APP}/32")]}))
    assert made.reaches(APP, WEB)
    assert not problems(made)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("row", "reaches"), [(accept, True), (deny, False), (pass_, False)], ids=["A", "D", "P"]
)
def test_a_cluster_policy_denies_as_one_that_nobody_understands(
    row: Callable[..., Any], reaches: bool
) -> None:
    made = cluster(cluster_policy("guard", egress=[accept(), row(networks(*HOLES))]))
    assert made.reaches(WEB, APP) is reaches
    assert problems(made) == [("ClusterNetworkPolicy guard", "spec.egress")]
    reasons = [each.rule for each in made.nodes["n1"].policies.reasons.values() if each.rule]
    assert reasons == ([] if reaches else ["ClusterNetworkPolicy guard egress[1]"])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "large",
    [ingress({"from": selectors(9)}), cluster_policy("guard", egress=[deny(networks(*HOLES))])],
    ids=lambda each: type(each).__name__,
)
def test_it_goes_without_a_trace(large: KubernetesObject) -> None:
    made = cluster(large)
    made.remove(large)
    assert dict(made.nodes["n1"].policies.wanted) == dict(cluster().nodes["n1"].policies.wanted)
    assert not problems(made)


@pytest.mark.usefixtures("small")
def test_the_error_says_what_to_do() -> None:
    (said,) = cluster(ingress({"from": selectors(9)})).nodes["n1"].policies.problems
    assert isinstance(said, ObjectError)
    assert "split it" in str(said)
