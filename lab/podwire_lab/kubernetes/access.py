"""What the agents may do in the cluster: the verbs that they use, and no others.

The policy that keeps an agent of deploy/ to its own Node is not here: it goes by a claim of the
pod's token, and the lab's agents have certificates. Their rules are deploy's (a test compares).
"""

from __future__ import annotations

from typing import Any

from podwire_lab.kubernetes.credentials import AGENT_ACCOUNT

_RBAC = {"apiVersion": "rbac.authorization.k8s.io/v1"}
_READ = ["get", "list", "watch"]


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


_RULES = [
    _rule("", ["nodes", "namespaces", "pods", "services"], _READ),
    _rule("discovery.k8s.io", ["endpointslices"], _READ),
    _rule("networking.k8s.io", ["networkpolicies", "servicecidrs"], _READ),
    _rule("policy.networking.k8s.io", ["clusternetworkpolicies"], _READ),
    _rule("", ["nodes/status"], ["patch"]),  # NetworkUnavailable is cleared by who wires
    _rule("", ["events"], ["create", "get", "patch"]),  # one that is there is counted up
]
_NAMESPACE, _NAME = AGENT_ACCOUNT

AGENT_ACCESS: tuple[dict[str, Any], ...] = (
    {**_RBAC, "kind": "ClusterRole", "metadata": {"name": _NAME}, "rules": _RULES},
    {
        **_RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _NAME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _NAME},
        "subjects": [{"kind": "ServiceAccount", "namespace": _NAMESPACE, "name": _NAME}],
    },
)
