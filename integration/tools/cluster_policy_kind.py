"""ClusterNetworkPolicy in a test's API server: its definition, given and taken away.

The definition is upstream's, with its experimental fields; `make cluster-policies` puts it where
CLUSTER_POLICIES says.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import ControlPlane
from scratch import until

POLICIES = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_GO_MOD = Path(__file__).parents[1] / "network_policy_api/go.mod"
_FILE = "clusternetworkpolicies.yaml"


def definition() -> dict[str, Any]:
    """Upstream's manifest; skips the test, saying what would make it run."""
    version = re.search(r"network-policy-api (v\S+)$", _GO_MOD.read_text(), re.MULTILINE)
    assert version is not None
    default = Path.home() / ".cache/podwire/network-policy-api" / version.group(1)
    file = Path(os.environ.get("CLUSTER_POLICIES", default)) / _FILE
    if not file.exists():
        lack = f"there is no {file}: `make cluster-policies` fetches it where Go is"
        if os.environ.get("CI") and shutil.which("go"):
            pytest.fail(lack)  # there it could have been fetched, so a skip would rot
        pytest.skip(lack)
    found = yaml.safe_load(file.read_text())
    assert isinstance(found, dict)
    return found


def teach(plane: ControlPlane) -> None:
    """Let the server know the kind."""
    plane.request("POST", _DEFINITIONS, definition())
    until("the kind is served", lambda: _served(plane))


def unteach(plane: ControlPlane) -> None:
    """Take the kind and all its objects away."""
    name = definition()["metadata"]["name"]
    plane.request("DELETE", f"{_DEFINITIONS}/{name}")
    until("the kind is gone", lambda: not _defined(plane, name))


def apply(plane: ControlPlane, name: str, spec: dict[str, Any]) -> None:
    """Create one policy."""
    body = {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }
    plane.request("POST", POLICIES, body)


def _served(plane: ControlPlane) -> bool:
    with suppress(OSError):
        plane.request("GET", POLICIES)
        return True
    return False


def _defined(plane: ControlPlane, name: str) -> bool:
    with suppress(OSError):
        plane.request("GET", f"{_DEFINITIONS}/{name}")
        return True
    return False
