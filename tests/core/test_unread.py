"""Fields that nobody reads, found in documents as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from podwire_core.objects import NetworkPolicy
from podwire_core.objects.unread import MOST, unread


def found(**spec: Any) -> list[tuple[str, str]]:
    document = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec}
    return [(each.path, each.near) for each in unread(document, NetworkPolicy)]


@pytest.mark.parametrize(
    ("spec", "path", "near"),
    [
        ({"ingres": []}, "spec.ingres", "ingress"),
        ({"egress": [{"too": []}]}, "spec.egress[0].too", "to"),
        (
            {"ingress": [{}, {"from": [{"ipblock": {}}]}]},
            "spec.ingress[1].from[0].ipblock",
            "ipBlock",
        ),
        ({"podSelector": {"matchlabels": {}}}, "spec.podSelector.matchlabels", "matchLabels"),
        ({"zzz": 1}, "spec.zzz", ""),
    ],
)
def test_a_misspelt_field_is_told_with_the_one_that_was_meant(
    spec: dict[str, Any], path: str, near: str
) -> None:
    assert found(**spec) == [(path, near)]


def test_labels_are_free_and_what_fits_is_not_told() -> None:
    peer = {"podSelector": {"matchLabels": {"ingres": "x"}}}
    assert found(ingress=[{"from": [peer], "ports": [{"port": 80, "endPort": 90}]}]) == []


def test_a_field_beside_spec_is_told_and_what_every_object_has_is_not() -> None:
    document = {"metadata": {"generation": 1}, "status": {}, "ingress": []}
    assert [each.path for each in unread(document, NetworkPolicy)] == ["ingress"]


def test_what_is_no_collection_and_what_is_too_much_are_no_trouble() -> None:
    assert len(found(**{f"x{number}": 1 for number in range(99)})) == MOST
    assert found(ingress="x", egress=[None, 1], podSelector=[]) == []
