"""ClusterNetworkPolicies in a lab: published as written, taken out by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podwire_core.errors import ObjectError
from podwire_core.feed.documents import parse_documents
from podwire_core.objects import ClusterNetworkPolicy, ObjectName
from podwire_lab import applied
from podwire_lab.control.manifests import read_manifest
from podwire_lab.folders import Folders

EXAMPLE = Path(__file__).parents[2] / "examples/tenants"
POLICY = """
    apiVersion: policy.networking.k8s.io/v1alpha2
    kind: ClusterNetworkPolicy
    metadata: {name: guard}
    spec:
      tier: Admin
      priority: 10
      subject: {namespaces: {}}
      egress:
        - {action: Deny, to: [{networks: [169.254.169.254/32]}]}
"""


def test_a_policy_is_published_as_written(cluster):
    (found,) = cluster.apply(POLICY).all(ClusterNetworkPolicy)
    assert found.name == ObjectName("", "guard")
    assert found.spec["egress"] == [
        {"action": "Deny", "to": [{"networks": ["169.254.169.254/32"]}]}
    ]
    assert cluster.apply(POLICY).result.errors == ()


def test_one_that_breaks_the_apis_rules_is_named_with_its_field():
    (document,) = parse_documents(POLICY.replace("10", "5000").encode(), is_json=False)
    with pytest.raises(ObjectError) as caught:
        read_manifest("guard.yaml", document)
    assert caught.value.object == "ClusterNetworkPolicy guard"
    assert caught.value.field == "spec.priority"


def test_it_is_taken_out_by_its_name_whatever_the_namespace(tmp_path):
    folders = Folders(tmp_path)
    folders.manifests.mkdir(parents=True)
    (document,) = parse_documents(POLICY.encode(), is_json=False)
    manifest = read_manifest("guard.yaml", document)
    (folders.manifests / applied.file_name("ClusterNetworkPolicy", manifest.name)).write_text(
        json.dumps(document)
    )
    assert applied.kind_called("cnp") == "ClusterNetworkPolicy"
    name = ObjectName("default", "guard")  # what the command makes of `cnp/guard`
    assert applied.delete_named(folders, "ClusterNetworkPolicy", name) == (
        "ClusterNetworkPolicy guard",
    )


def test_the_example_can_be_used():
    found = applied.read([EXAMPLE])
    assert found.errors == ()
    policies = [each.found for each in found.manifests if each.kind == "ClusterNetworkPolicy"]
    assert [each.unknown for each in policies] == [(), (), (), ()]
