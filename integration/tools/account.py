"""The agent's account on a real API server, and what the server saw it do.

The server's audit log is the exact list of verbs used; the ClusterRole that of verbs granted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import control_plane
import rendered
from control_plane import ControlPlane

NAME = "system:serviceaccount:kube-system:podwire"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_SYSTEM = "/api/v1/namespaces/kube-system"
_ACCOUNTS = f"{_SYSTEM}/serviceaccounts"
_POLICIES = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}


class Permission(NamedTuple):
    """A verb on a resource, which may be a subresource (nodes/status)."""

    group: str
    resource: str
    verb: str


def granted(rules: Iterable[dict[str, Any]]) -> set[Permission]:
    """What a ClusterRole's rules allow."""
    return {
        Permission(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@contextmanager
def audited(folder: Path, *more: str) -> Iterator[ControlPlane]:
    """A control plane that writes down what the account asks for. more: its options.

    Its admission policy is in force, as in a cluster with the component cni.
    """
    policy = folder / "audit.yaml"
    rules = [{"level": "Metadata", "users": [NAME]}, {"level": "None"}]
    about = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
    policy.write_text(json.dumps({**about, "omitStages": ["RequestReceived"], "rules": rules}))
    options = (
        f"--audit-policy-file={policy}",
        f"--audit-log-path={_log(folder)}",
        "--audit-log-mode=blocking",
        *more,
    )
    with control_plane.control_plane(folder, *options) as plane:
        made = rendered.objects(rendered.kustomized("all"))
        plane.request("POST", _ACCOUNTS, made["ServiceAccount"])
        for kind, plural in _POLICIES.items():
            plane.request("POST", f"{_ADMISSION}/{plural}", made[kind])
        yield plane


def used(plane: ControlPlane) -> list[tuple[Permission, int]]:
    """What the account asked for until now, and the server's status, in order."""
    log = _log(plane.folder)
    lines = log.read_text().splitlines() if log.exists() else []
    found = []
    for event in map(json.loads, lines):
        if (event["stage"], event["verb"]) == ("ResponseComplete", "watch") and _went_well(event):
            continue  # told when it began; its end is told in anybody's time
        at = event.get("objectRef", {})
        resource = "/".join(filter(None, (at.get("resource"), at.get("subresource"))))
        permission = Permission(at.get("apiGroup", ""), resource, event["verb"])
        found.append((permission, event["responseStatus"]["code"]))
    return found


def _went_well(event: dict[str, Any]) -> bool:
    return bool(event["responseStatus"]["code"] == 200)


def grant(plane: ControlPlane, overlay: str, *, without: int | None = None) -> set[Permission]:
    """Give the account an overlay's rules, and no others. without: leave out the rule there."""
    objects = rendered.objects(rendered.kustomized(overlay))
    role, binding = objects["ClusterRole"], objects["ClusterRoleBinding"]
    if without is not None:
        del role["rules"][without]
    for plural, each in (("clusterroles", role), ("clusterrolebindings", binding)):
        if each["metadata"]["name"] in _names(plane, f"{_RBAC}/{plural}"):
            plane.request("DELETE", f"{_RBAC}/{plural}/podwire")
        plane.request("POST", f"{_RBAC}/{plural}", each)
    return granted(role["rules"])


def token(plane: ControlPlane, node: str) -> str:
    """A token as the kubelet of a node asks for it, bound to the agent's pod there; "": to none."""
    spec: dict[str, Any] = {}
    if node:
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": _make_pod(plane, node)}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = plane.request("POST", f"{_ACCOUNTS}/podwire/token", body)
    return str(answer["status"]["token"])


def kubeconfig(plane: ControlPlane, path: Path, node: str) -> Path:
    """A kubeconfig that holds a token of the account for a node, and nothing else."""
    return plane.write_kubeconfig(path, {"token": token(plane, node)})


def _make_pod(plane: ControlPlane, node: str) -> str:
    """The agent's pod on a node, which exists in the API alone; its name."""
    name = f"podwire-{node}"
    if name not in _names(plane, f"{_SYSTEM}/pods"):
        containers = [{"name": "agent", "image": "none"}]
        spec = {"serviceAccountName": "podwire", "nodeName": node, "containers": containers}
        plane.request("POST", f"{_SYSTEM}/pods", {"metadata": {"name": name}, "spec": spec})
    return name


def _names(plane: ControlPlane, path: str) -> set[str]:
    return {each["metadata"]["name"] for each in plane.request("GET", path)["items"]}


def _log(folder: Path) -> Path:
    return folder / "audit.log"
