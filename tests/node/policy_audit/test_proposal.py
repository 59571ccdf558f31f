"""What someone means to apply, read and applied to the objects as they are."""

from __future__ import annotations

import pytest
import small_shop

from podwire_core.objects import ClusterNetworkPolicy, NetworkPolicy, ObjectName
from podwire_node.policy_audit.proposal import (
    MAX_POLICIES,
    ProposalError,
    policies_among,
    proposal,
)

DENY_ALL = small_shop.policy("shop/deny", None)
LOCK = small_shop.cluster_policy("lock", 10, ingress=[])


def test_a_policy_replaces_the_one_of_its_name_and_others_are_added() -> None:
    snapshot = small_shop.snapshot()
    changed = small_shop.policy("shop/api", "cron")
    found = proposal([changed, DENY_ALL, LOCK, small_shop.POLICIES[1]], [], "f")
    after = found.applied_to(snapshot)
    assert len(after.all(NetworkPolicy)) == 4
    assert len(after.all(ClusterNetworkPolicy)) == 1
    assert len(snapshot.all(NetworkPolicy)) == 3, "what is stays as it is"
    assert [(row.kind, row.name, row.change, row.selects) for row in found.rows(snapshot)] == [
        ("NetworkPolicy", "shop/api", "changed", 1),
        ("NetworkPolicy", "shop/deny", "new", 4),
        ("ClusterNetworkPolicy", "lock", "new", 5),
        ("NetworkPolicy", "shop/web", "unchanged", 1),
    ]


def test_of_two_documents_of_one_name_the_last_counts_as_kubectl_has_it() -> None:
    found = proposal([DENY_ALL, small_shop.policy("shop/deny", "web")], [], "f")
    assert [row.selects for row in found.rows(small_shop.snapshot())] == [1]


def test_a_policy_can_be_taken_away() -> None:
    found = proposal([], ["shop/web"], "f")
    after = found.applied_to(small_shop.snapshot())
    assert after.get(NetworkPolicy, ObjectName("shop", "web")) is None
    assert [row.change for row in found.rows(small_shop.snapshot())] == ["deleted"]


@pytest.mark.parametrize("name", ["shop/nothing", "nothing"])
def test_what_is_not_there_cannot_be_taken_away(name: str) -> None:
    with pytest.raises(ProposalError, match=f"--delete: there is no policy {name}"):
        proposal([], [name], "f").applied_to(small_shop.snapshot())


@pytest.mark.parametrize("name", ["", "shop/", "/web", "a/b/c"])
def test_what_is_no_name_cannot_be_taken_away(name: str) -> None:
    with pytest.raises(ProposalError, match="write NAMESPACE/NAME"):
        proposal([], [name], "f")


def test_every_mistake_is_told_with_file_object_and_field() -> None:
    bad_port = small_shop.policy("shop/a", None, ingress=[{"ports": [{"port": 70000}]}])
    bad_block = small_shop.policy("b", None, ingress=[{"from": [{"ipBlock": {"cidr": "x"}}]}])
    with pytest.raises(ProposalError) as caught:
        proposal([bad_port, DENY_ALL, bad_block], [], "deny.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("deny.yaml: NetworkPolicy shop/a: spec.ingress[0].ports[0].port: ")
    assert lines[1].startswith(
        "deny.yaml: NetworkPolicy default/b: spec.ingress[0].from[0].ipBlock"
    )


def test_more_policies_than_anyone_has_are_refused() -> None:
    with pytest.raises(ProposalError, match=f"more than {MAX_POLICIES} policies"):
        proposal([DENY_ALL] * (MAX_POLICIES + 1), [], "f")


def test_other_objects_of_a_file_are_counted_and_left_out() -> None:
    others = small_shop.documents(())
    policies, left_out = policies_among([*others, DENY_ALL, LOCK, {"no": "kind"}])
    assert policies == [DENY_ALL, LOCK]
    assert left_out["Pod"] == 5
    assert left_out["object without a kind"] == 1


def test_a_field_that_is_not_known_is_told_because_the_policy_fails_closed() -> None:
    rule = {"action": "Deny", "from": [{"namespaces": {}, "moonPhase": "full"}]}
    row = next(
        iter(
            proposal([small_shop.cluster_policy("odd", 1, ingress=[rule])], [], "f").rows(
                small_shop.snapshot()
            )
        )
    )
    assert any("moonPhase" in path for path in row.unknown)
