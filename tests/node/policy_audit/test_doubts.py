"""What is odd about policies that come: told, and audited all the same."""

from __future__ import annotations

from typing import Any

import pytest
import small_shop

from podwire_node.policy_audit.command import _READ_HERE
from podwire_node.policy_audit.proposal import ProposalError, policies_among, proposal


def doubts(*documents: dict[str, Any]) -> list[str]:
    return proposal(documents, [], "f").doubts(small_shop.snapshot())


def block(cidr: str, *holes: str) -> dict[str, Any]:
    peer = {"ipBlock": {"cidr": cidr, "except": list(holes)}}
    return small_shop.policy("shop/deny", None, ingress=[{"from": [peer]}])


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (
            small_shop.policy("shop/deny", None, ingres=[]),
            "spec.ingres is no field of a NetworkPolicy and is ignored: did you mean ingress?",
        ),
        (small_shop.policy("shopp/deny", None), "there is no namespace shopp now: did you mean"),
        (small_shop.policy("shop/deny", "nobody"), "it selects no pod now"),
        (small_shop.policy("shop/Bad_Name", None), "metadata.name: an API server refuses it"),
        (
            block("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"),
            "spec.ingress[0].from[0].ipBlock.except: 11.0.0.0/8 is no part of 10.0.0.0/8",
        ),
        (block("10.0.0.0/8", "10.0.0.0/8"), "10.0.0.0/8 is no part of 10.0.0.0/8"),
        (
            small_shop.cluster_policy("odd", 1, ingres=[{"action": "Deny"}]),
            "spec.ingres is not known here, and the policy has no rule: it denies nothing",
        ),
        (
            small_shop.cluster_policy(
                "odd", 1, ingress=[{"action": "Deny", "from": [{"vms": {}}]}]
            ),
            "spec.ingress[0].from[0].vms is not known here, so that this rule denies everything",
        ),
    ],
)
def test_what_is_odd_is_told_with_the_policy(document: dict[str, Any], sentence: str) -> None:
    (told,) = doubts(document)
    assert sentence in told
    assert told.startswith(f"{document['kind']} ")


def test_what_is_in_order_is_not_told() -> None:
    assert doubts(*small_shop.POLICIES, block("10.0.0.0/8", "10.1.0.0/16")) == []


def test_a_policy_that_comes_twice_is_told() -> None:
    policy = small_shop.policy("shop/deny", None)
    assert doubts(policy, policy, policy) == [
        "NetworkPolicy shop/deny stands here more than once: the last counts"
    ]


def test_a_field_that_nobody_reads_stands_with_its_policy() -> None:
    found = proposal([small_shop.policy("shop/deny", None, ingres=[])], [], "f")
    assert [row.unknown for row in found.rows(small_shop.snapshot())] == [("spec.ingres",)]


def test_a_file_of_nothing_but_oddities_is_told_in_part() -> None:
    told = doubts(*(small_shop.policy(f"shop/x{number}", "nobody") for number in range(50)))
    assert told[-1] == "and 30 more like these"


@pytest.mark.parametrize(
    ("document", "version"),
    [
        (small_shop.policy("shop/a", None), "networking.k8s.io/v1beta1"),
        (small_shop.cluster_policy("a", 1), "policy.networking.k8s.io/v1alpha1"),
    ],
)
def test_another_version_is_refused_with_the_one_to_write(
    document: dict[str, Any], version: str
) -> None:
    with pytest.raises(ProposalError) as caught:
        proposal([document | {"apiVersion": version}], [], "f")
    assert f"{version} is not read here: use {document['apiVersion']}" in str(caught.value)


def test_policies_of_others_are_counted_with_their_version() -> None:
    theirs = {"apiVersion": "crd.projectcalico.org/v1", "kind": "NetworkPolicy"}
    _, left_out = policies_among([theirs, {"kind": "AdminNetworkPolicy"}])
    assert set(left_out) == {
        "NetworkPolicy of crd.projectcalico.org/v1",
        "AdminNetworkPolicy of no apiVersion",
    }
    assert "took the place of AdminNetworkPolicy" in _READ_HERE
