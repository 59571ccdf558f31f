"""The example of two tenants on a real control plane that learns of cluster policies on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import cluster_policy_kind
import pytest
import real_lab
from real_lab import ROOT, kubectl, podwire
from scratch import until

from podwire_lab.topology import Lab

TENANTS = ROOT / "examples/tenants"
#: Of each family (the picture in policies.yaml): red's two ports to two pods of blue, and one of
#: them to the scraper; blue's metrics to three pods of the tenants.
DENIED = 2 * (2 * 2 + 1 + 3)
OWN = 2 * (3 + 1)  # by blue's NetworkPolicy alone: its metrics, to the scraper as well


@pytest.fixture(scope="module")
def tenants() -> Iterator[Lab]:
    manifests = [TENANTS / "namespaces.yaml", TENANTS / "pods.yaml"]
    with real_lab.raised(manifests=manifests) as found:
        yield found


def reached(lab: Lab) -> dict[str, Any]:
    """What `podwire lab reach` finds by dialling."""
    found = json.loads(podwire(lab, "reach", "--json").stdout)
    assert isinstance(found, dict)
    return found


def test_tenants_are_apart_as_soon_as_the_cluster_knows_the_kind(tenants: Lab) -> None:
    definition = cluster_policy_kind.definition()
    assert reached(tenants)["denied"] == 0
    kubectl(tenants, "create", "-f", "-", stdin=json.dumps(definition))
    kubectl(tenants, "wait", "--for=condition=Established", f"crd/{definition['metadata']['name']}")
    kubectl(tenants, "apply", "-f", str(TENANTS / "policies.yaml"))

    def in_force() -> bool:
        found = reached(tenants)
        return found["denied"] == DENIED and found["differences"] == []

    until("all policies are known, and in force", in_force)
    kubectl(tenants, "delete", "-f", "-", stdin=json.dumps(definition))

    def only_the_tenants_own() -> bool:
        found = reached(tenants)
        return found["denied"] == OWN and found["differences"] == []

    until("what the kind brought went with it", only_the_tenants_own)
